// Redundancy: the pairs of rows whose gradients point most nearly the same way.

const FIRST_PAIRS = 10; // the rest is folded

function redundancySection() {
  const { model } = state;
  const pairs = model.directions?.pairs ?? [];
  if (pairs.length === 0) return null;
  const save = el("button", { type: "button", class: "quiet", "aria-label": "Download the pairs as CSV", on: { click: () => saveCsv("similar pairs", pairRows(model)) } }, "↓ CSV");
  const rest = pairs.slice(FIRST_PAIRS);
  return section(
    "redundancy",
    "Redundancy: the most similar gradients",
    el("p", { class: "lead" }, "The pairs of examples with the largest cosines of their gradients: a step on one does nearly what a step on the other does. It says nothing of their sizes, nor which of the two to keep."),
    el("div", { class: "count-line" }, el("p", { class: "count" }, pairCount(model.directions)), save),
    pairTable(model, pairs.slice(0, FIRST_PAIRS)),
    rest.length > 0 && el("details", null, el("summary", null, plural(rest.length, "more pair")), pairTable(model, rest)),
    el("p", { class: "caption" }, pairCaption(model.directions)),
  );
}

function pairCount({ pairs, n_alike: n, alike, n_used: rows }) {
  const all = plural((rows * (rows - 1)) / 2, "pair");
  const listed = pairs.length === n ? "" : `; the ${whole(pairs.length)} largest are listed`;
  return `${n === 0 ? "None" : whole(n)} of ${all} above ${alike}${listed}`;
}

function pairCaption({ dimension, n_used: used, n_rows: rows }) {
  const sample = used < rows ? ` Of a random sample of ${whole(used)} of ${plural(rows, "row")}.` : "";
  return `Cosines of sketches of dimension ${whole(dimension)}, over all measured projections: each scatters about the cosine of the two gradients by about 1/√${whole(dimension)} = ${share(1 / Math.sqrt(dimension))}, less near 1.${sample} Select an example to open it.`;
}

function pairTable(model, pairs) {
  const rows = pairs.map(({ first, second, cosine }) => el("tr", null, numberCell(share3(cosine)), ...[first, second].map((row) => el("td", null, listedExample(model, row)))));
  const heads = ["Cosine", "Example", "Most similar example"].map((text, place) => el("th", { scope: "col", class: place === 0 ? "number" : null }, text));
  return tableBox("Pairs of examples with similar gradients", "listed", el("thead", null, el("tr", null, heads)), el("tbody", null, rows));
}

function share3(value) {
  return formatted(value, { minimumFractionDigits: 3, maximumFractionDigits: 3 });
}

function pairRows({ groups, directions }) {
  const named = (row, which) => ({ [`${which}_group`]: groups[row.group].name, [`${which}_example_id`]: row.example_id, [`${which}_row`]: row.row });
  return directions.pairs.map(({ first, second, cosine }) => ({ cosine, ...named(first, "first"), ...named(second, "second") }));
}

/** A row that is listed by name: its id, which opens it where the page has it, its group, and how its texts begin. */
function listedExample(model, row) {
  const place = model.examples.placeOf(row.group, row.row);
  const id = bdi(row.example_id);
  const name = place === undefined ? el("strong", { title: "Not among the examples of this page" }, id) : el("button", { type: "button", class: "link", on: { click: () => openDetail(place, null) } }, id);
  const mark = swatch(groupColour(row.group));
  on("theme", () => mark.style.setProperty("background", groupColour(row.group)));
  const group = el("span", { class: "group soft" }, mark, bdi(model.groups[row.group].name), el("span", null, plural(row.n_response_tokens, "token")));
  return el("div", { class: "listed-example" }, el("div", null, name, group), row.texts.map((text) => el("small", { class: "snippet", dir: "auto" }, text)));
}
