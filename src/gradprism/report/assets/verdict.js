// The verdict: what the comparison found, in sentences, and the table that the papers print.

const KINDS = {
  survives: "survives",
  partly: "survives in part",
  reversed: "reversed",
  hidden: "hidden by length",
  length: "length alone",
  mixed: "mixed",
  unclear: "unclear",
  none: "no difference",
  missing: "not computed",
};

function verdictSection() {
  const { model } = state;
  if (model.contrasts.length === 0) return null;
  const many = model.contrasts.length > 3;
  return section(
    "verdict",
    "Verdict",
    el("p", { class: "lead" }, "Each sentence is about the mean over layers and projections. A tag says what is left of a raw difference once response lengths are equal."),
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
  return Object.hasOwn(KINDS, kind) ? KINDS[kind] : kind;
}

/** How many measures each kind of finding is about: what a closed contrast holds. */
function kindCounts(found) {
  const counts = new Map();
  for (const { kind } of found) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return [...counts].map(([kind, n]) => `${kindName(kind)} (${n})`).join(", ");
}

function findingItem(finding) {
  const figures = finding.details && el("small", null, `At equal length: ${finding.details}.`);
  const tag = el("span", { class: "tag", "data-kind": finding.kind }, kindName(finding.kind));
  return el("li", null, tag, el("p", null, bdi(finding.sentence), figures));
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

function paperTable(model, pair) {
  const [first, second] = pair;
  const measures = ["nuclear_norm", "effective_rank", "stable_rank", "frobenius_norm", "spectral_norm"].filter((m) => model.measures.includes(m));
  const names = [...model.projections, "mean"];
  const cells = (measure, projection) => {
    const row = model.effect(pair, measure, projection, null);
    return row ? [number(row.mean_first), number(row.mean_second), gap(row)] : [MISSING, MISSING, MISSING];
  };
  const head = el("thead", null, groupedHead(measures.map(title)), partsHead(measures.length, first, second));
  const rows = names.map((name) => [el("th", { scope: "row" }, name), ...measures.flatMap((m) => cells(m, name)).map(numberCell)]);
  const body = el("tbody", null, rows.map((row) => el("tr", null, row)));
  const caption = `Means of ${first} and ${second} and their gap, with its 95% interval, for each projection`;
  return el(
    "div",
    null,
    tableBox(caption, head, body),
    metricRows(model, pair),
    el("p", { class: "caption" }, "Gap: first minus second, with a 95% bootstrap interval over examples. Bold where q < 0.05. These are raw; see Effects for equal length."),
  );
}

function tableBox(caption, head, body) {
  return el(
    "div",
    { class: "table-box", tabindex: "0", role: "region", "aria-label": caption },
    el("table", { class: "paper" }, el("caption", { class: "unseen" }, caption), head, body),
  );
}

function groupedHead(names) {
  return el("tr", null, el("td"), names.map((name) => el("th", { scope: "colgroup", colspan: "3", class: "over" }, capital(name))));
}

function partsHead(n, first, second) {
  const parts = () => [bdi(first), bdi(second), "gap"].map((part) => el("th", { scope: "col", class: "number" }, part));
  return el("tr", null, el("th", { scope: "col" }, "Projection"), Array.from({ length: n }, parts));
}

function numberCell(content) {
  return el("td", { class: "number" }, content);
}

function gap(row) {
  const cell = withInterval(row.difference, row.difference_low, row.difference_high, signed);
  if (row.q !== null && row.q < 0.05) cell.classList.add("strong");
  return cell;
}

/** The same of metrics, which have no projections. */
function metricRows(model, pair) {
  const rows = model.tables.effects
    .rows()
    .filter((row) => row.projection === null && row.layer === null && row.first === pair[0] && row.second === pair[1] && row.n_first !== null)
    .map((row) => [heading(row.measure), number(row.mean_first), number(row.mean_second), gap(row), number(row.auc, 2), probability(row.q)]);
  if (rows.length === 0) return null;
  const heads = ["Metric", bdi(pair[0]), bdi(pair[1]), "gap", "AUC", "q"];
  return table(`Metrics of ${pair[0]} and ${pair[1]}`, heads, rows);
}
