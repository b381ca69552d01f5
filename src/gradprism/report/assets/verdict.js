// The verdict: ratios in one table, and beneath it the sentences in full and the means of the groups.

function verdictSection() {
  const { model } = state;
  if (model.contrasts.length === 0) return null;
  return section(
    "verdict",
    "Ratios and verdicts",
    el("p", { class: "lead" }, model.paired ? "Ratios of the same rows in two models, of means over layers and projections. Lengths are the same on both sides, so that nothing needs to be said of length." : "Ratios of the first group to the second, of means over layers and projections. A tag says what is left of a raw difference when length is controlled."),
    tagLegend(),
    wordList(),
    ratioTables(model),
    el("details", null, el("summary", null, "In full sentences, with every control"), model.orderedContrasts.map((pair, place) => contrastFindings(model, pair, place < mostHeadlines(model)))),
    model.paired && interactionFindings(model),
    model.paired && madChanges(model),
    groupMeans(model),
  );
}

/** In full sentences: did one group of rows change more than another? */
function interactionFindings(model) {
  const { interactions } = model.paired;
  if (interactions.length === 0) return null;
  return el("details", null, el("summary", null, "Did one group of rows change more than another? In full sentences, with every control"), el("ul", { class: "findings" }, interactions.map(findingItem)));
}

function contrastFindings(model, [first, second], open) {
  const found = model.findings.filter((finding) => finding.first === first && finding.second === second);
  if (found.length === 0) return null;
  const isMain = ({ measure }) => model.main_measures.includes(measure);
  const [main, rest] = [found.filter(isMain), found.filter((finding) => !isMain(finding))];
  const advice = [...new Set(found.map((finding) => finding.advice).filter(Boolean))];
  return el(
    "details",
    { class: "contrast", open },
    el("summary", null, el("h3", null, versus([first, second])), el("span", { class: "soft" }, ` – ${kindCounts(found)}`)),
    el("ul", { class: "findings" }, main.map(findingItem)),
    advice.map((text) => el("p", { class: "caption" }, named(`${text}.`, [first, second]))),
    rest.length > 0 && el("details", null, el("summary", null, furtherMeasures(rest.map(({ measure }) => measure))), el("ul", { class: "findings" }, rest.map(findingItem))),
  );
}

/** The words under which measures beside the main ones are folded. */
function furtherMeasures(measures) {
  return `Further measures of the same singular values: ${measures.map(title).join(", ")}`;
}

function kindName(kind) {
  const { kinds } = state.data;
  return Object.hasOwn(kinds, kind) ? kinds[kind][0] : kind;
}

function kindTag(kind, text = kindName(kind)) {
  return el("span", { class: "tag", "data-kind": kind }, text);
}

function tagLegend() {
  const { kinds, control_rule: rule } = state.data;
  const lines = Object.entries(kinds).map(([kind, [, meaning]]) => el("div", null, el("dt", null, kindTag(kind)), el("dd", null, meaning)));
  return el("details", { class: "tags" }, el("summary", null, "What the tags mean"), el("dl", null, lines), el("p", { class: "caption" }, rule));
}

/** The words of the page that are not everyday ones. */
function wordList() {
  const lines = Object.entries(state.data.words).map(([word, meaning]) => el("div", null, el("dt", null, word), el("dd", null, meaning)));
  return el("details", { class: "words" }, el("summary", null, "Words of this page"), el("dl", null, lines));
}

/** How many measures each kind of finding is about: what a closed contrast holds. */
function kindCounts(found) {
  const counts = new Map();
  for (const { kind } of found) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return [...counts].map(([kind, n]) => `${kindName(kind)} (${n})`).join(", ");
}

function findingItem(finding) {
  const figures = finding.details && el("small", null, `${capital(finding.details)}.`);
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

/** Means of the groups over layers: a row a projection, two columns a measure. */
function groupMeans(model) {
  const body = el("div");
  const fill = () => {
    const pair = model.contrasts[state.contrast];
    body.replaceChildren(meansTable(model, pair), ...[metricRows(model, pair)].filter(Boolean));
  };
  on("contrast", fill);
  fill();
  return el("details", { class: "means" }, el("summary", null, "Means of the groups"), controls(contrastSelect()), body, el("p", { class: "caption" }, "Arithmetic means over examples and layers, raw."));
}

function meansTable(model, pair) {
  const [first, second] = pair;
  const cells = (measure, projection) => {
    const row = model.effect(pair, measure, projection, null);
    return row ? [number(row.mean_first), number(row.mean_second)] : [MISSING, MISSING];
  };
  const rows = [...model.projections, "mean"].map((name) => [el("th", { scope: "row" }, projectionName(name)), ...model.measures.flatMap((measure) => cells(measure, name)).map(numberCell)]);
  const body = el("tbody", null, rows.map((row) => el("tr", null, row)));
  const over = el("tr", null, el("td"), model.measures.map((name) => el("th", { scope: "colgroup", colspan: "2", class: "over" }, heading(name))));
  const parts = el("tr", null, el("th", { scope: "col" }, "Projection"), model.measures.flatMap(() => [first, second].map((name) => el("th", { scope: "col", class: "number" }, bdi(name)))));
  const caption = `Means of ${first} and ${second} for each projection: ${model.measures.map(title).join(", ")}`;
  return tableBox(caption, "paper", el("thead", null, over, parts), body);
}

function numberCell(content) {
  return el("td", { class: "number" }, content);
}

function gap(row) {
  const cell = difference(row.difference, row.difference_low, row.difference_high);
  if (row.q !== null && row.q < state.data.alpha) cell.classList.add("strong");
  return cell;
}

/** The means and differences of metrics, which have no projections. */
function metricRows(model, pair) {
  const rows = metricEffects(model, pair).map((row) => [heading(row.measure), number(row.mean_first), number(row.mean_second), gap(row), share(row.auc), probability(row.q)]);
  if (rows.length === 0) return null;
  const heads = ["Metric", bdi(pair[0]), bdi(pair[1]), "difference", "AUC", P_ADJUSTED];
  return table(`Metrics of ${pair[0]} and ${pair[1]}`, heads, rows);
}
