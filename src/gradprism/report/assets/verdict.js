// The verdict: what the comparison found, in sentences, and the table that the papers print.

function verdictSection() {
  const { model } = state;
  if (model.contrasts.length === 0) return null;
  const many = model.contrasts.length > 3;
  return section(
    "verdict",
    "Verdict",
    el("p", { class: "lead" }, "Each sentence is about the mean over layers and projections. A tag says what is left of a raw difference when length is controlled."),
    tagLegend(),
    model.contrasts.map((pair, place) => contrastFindings(model, pair, !many || place === 0)),
    levelsTable(model),
  );
}

function contrastFindings(model, [first, second], open) {
  const found = model.findings.filter((finding) => finding.first === first && finding.second === second);
  if (found.length === 0) return null;
  return el(
    "details",
    { class: "contrast", open },
    el("summary", null, el("h3", null, versus([first, second])), el("span", { class: "soft" }, ` – ${kindCounts(found)}`)),
    el("ul", { class: "findings" }, found.map(findingItem)),
  );
}

function kindName(kind) {
  const { kinds } = state.data;
  return Object.hasOwn(kinds, kind) ? kinds[kind][0] : kind;
}

function kindTag(kind) {
  return el("span", { class: "tag", "data-kind": kind }, kindName(kind));
}

function tagLegend() {
  const { kinds, control_rule: rule } = state.data;
  const lines = Object.entries(kinds).map(([kind, [, meaning]]) => el("div", null, el("dt", null, kindTag(kind)), el("dd", null, meaning)));
  return el("details", { class: "tags" }, el("summary", null, "What the tags mean"), el("dl", null, lines), el("p", { class: "caption" }, rule));
}

/** How many measures each kind of finding is about: what a closed contrast holds. */
function kindCounts(found) {
  const counts = new Map();
  for (const { kind } of found) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return [...counts].map(([kind, n]) => `${kindName(kind)} (${n})`).join(", ");
}

function findingItem(finding) {
  const figures = finding.details && el("small", null, `Length-controlled: ${finding.details}.`);
  return el("li", null, kindTag(finding.kind), el("p", null, named(finding.sentence, [finding.first, finding.second]), figures));
}

function versus([first, second]) {
  return [bdi(first), el("span", { class: "soft" }, " against "), bdi(second)];
}

function contrastSelect() {
  const { contrasts } = state.model;
  if (contrasts.length < 2) return null;
  const options = contrasts.map(([first, second], place) => [place, `${first} against ${second}`]);
  const field = select("Contrast", options, state.contrast, (value) => {
    state.contrast = Number(value);
    tell("contrast");
  });
  on("contrast", () => {
    field.querySelector("select").value = state.contrast;
  });
  return field;
}

/** Projection by measure: the first group, the second, and the gap; means over layers. */
function levelsTable(model) {
  const body = el("div");
  const fill = () => body.replaceChildren(paperTable(model, model.contrasts[state.contrast]));
  on("contrast", fill);
  fill();
  return el("div", null, el("h3", null, "Mean over layers"), controls(contrastSelect()), body);
}

/** The measures that papers print first; all five do not fit beside each other. */
const MAIN_MEASURES = ["nuclear_norm", "effective_rank", "stable_rank"];

function paperTable(model, pair) {
  const main = MAIN_MEASURES.filter((measure) => model.measures.includes(measure));
  const more = model.measures.filter((measure) => !main.includes(measure));
  return el(
    "div",
    null,
    main.length > 0 && measureTable(model, pair, main),
    more.length > 0 && el("details", { class: "more" }, el("summary", null, `More measures: ${more.map(title).join(", ")}`), measureTable(model, pair, more)),
    metricRows(model, pair),
    el("p", { class: "caption" },
      `Gap: first minus second, with a 95% bootstrap interval over examples. Bold where p adjusted (BH) < ${state.data.alpha}. These are raw; Effects has them length-controlled.`),
  );
}

function measureTable(model, pair, measures) {
  const [first, second] = pair;
  const names = [...model.projections, "mean"];
  const cells = (measure, projection) => {
    const row = model.effect(pair, measure, projection, null);
    return row ? [number(row.mean_first), number(row.mean_second), gap(row)] : [MISSING, MISSING, MISSING];
  };
  const head = el("thead", null, groupedHead(measures), partsHead(measures.length, first, second));
  const rows = names.map((name) => [el("th", { scope: "row" }, name), ...measures.flatMap((m) => cells(m, name)).map(numberCell)]);
  const body = el("tbody", null, rows.map((row) => el("tr", null, row)));
  const caption = `Means of ${first} and ${second} and their gap, with its 95% interval, for each projection: ${measures.map(title).join(", ")}`;
  return tableBox(caption, "paper", head, body);
}

function groupedHead(measures) {
  return el("tr", null, el("td"), measures.map((name) => el("th", { scope: "colgroup", colspan: "3", class: "over" }, heading(name))));
}

function partsHead(n, first, second) {
  const parts = () => [bdi(first), bdi(second), "gap"].map((part) => el("th", { scope: "col", class: "number" }, part));
  return el("tr", null, el("th", { scope: "col" }, "Projection"), Array.from({ length: n }, parts));
}

function numberCell(content) {
  return el("td", { class: "number" }, content);
}

function gap(row) {
  const cell = difference(row.difference, row.difference_low, row.difference_high);
  if (row.q !== null && row.q < state.data.alpha) cell.classList.add("strong");
  return cell;
}

/** The means and gaps of metrics, which have no projections. */
function metricRows(model, pair) {
  const rows = model.tables.effects
    .rows()
    .filter((row) => row.projection === null && row.layer === null && row.first === pair[0] && row.second === pair[1] && row.n_first !== null)
    .map((row) => [heading(row.measure), number(row.mean_first), number(row.mean_second), gap(row), share(row.auc), probability(row.q)]);
  if (rows.length === 0) return null;
  const heads = ["Metric", bdi(pair[0]), bdi(pair[1]), "gap", "AUC", P_ADJUSTED];
  return table(`Metrics of ${pair[0]} and ${pair[1]}`, heads, rows);
}
