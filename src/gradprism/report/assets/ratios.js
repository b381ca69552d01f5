// The table of ratios: one row a contrast and measure, raw beside length-controlled; projections and more measures folded.

const RATIO_HEADS = ["Measure", "Verdict", "Raw", P_ADJUSTED, "Length-controlled", P_ADJUSTED, "Effective rows"];

/** The contrasts of the headlines in one table, those beyond them in a second one, folded. */
function ratioTables(model) {
  const pairs = model.orderedContrasts;
  const rest = pairs.slice(mostHeadlines(model));
  return el(
    "div",
    { class: "ratios" },
    ratioTable(model, pairs.slice(0, mostHeadlines(model))),
    rest.length > 0 && el("details", null, el("summary", null, plural(rest.length, "more contrast")), ratioTable(model, rest)),
    el("p", { class: "caption" },
      model.paired ? `Geometric means over the same rows of each row's ratio, with 95% intervals (BCa bootstrap over rows). ${P_ADJUSTED}: sign flips, Benjamini–Hochberg; bold below ${state.data.alpha}.` :
      "Ratios of geometric means with 95% intervals; length-controlled by overlap weights with regression on the lengths of prompt and response. " +
        `${P_ADJUSTED}: Benjamini–Hochberg; bold below ${state.data.alpha}. Effective rows: how many rows of each group the weights leave. No common support: the groups hardly overlap in length.`),
  );
}

function ratioTable(model, pairs) {
  const heads = ratioHeads(model);
  const head = el("thead", null, el("tr", null, heads.map((text, place) => el("th", { scope: "col", class: place > 1 ? "number" : null }, text))));
  return tableBox(model.paired ? "Ratios in the same rows" : "Ratios of groups, raw and length-controlled", "ratio-table", head, ...pairs.flatMap((pair) => contrastBodies(model, pair)));
}

function ratioHeads(model) {
  return model.paired ? PAIRED_HEADS : RATIO_HEADS;
}

/** A heading, a body for each main measure, and the further measures and metrics, folded. */
function contrastBodies(model, pair) {
  const further = model.measures.filter((name) => !model.main_measures.includes(name) && isRatio(model.effect(pair, name, "mean", null)));
  const metrics = metricEffects(model, pair).filter(isRatio).map((row) => row.measure);
  return [
    el("tbody", null, el("tr", { class: "contrast" }, el("th", { scope: "rowgroup", colspan: ratioHeads(model).length }, versus(pair)))),
    ...model.main_measures.filter((name) => isRatio(model.effect(pair, name, "mean", null))).map((measure) => measureBody(model, pair, measure)),
    ...foldedBodies(furtherMeasures(further), further, (measure) => measureBody(model, pair, measure)),
    ...foldedBodies(`Metrics: ${metrics.map(title).join(", ")}`, metrics, (metric) => el("tbody", null, ratioRow(heading(metric), model.effect(pair, metric, null, null), null))),
  ];
}

function isRatio(row) {
  return row?.regression_scale === "log" && row.raw_effect !== null;
}

/** The mean over projections, with a button that shows the row of each projection. */
function measureBody(model, pair, measure) {
  const finding = model.findings.find((each) => each.first === pair[0] && each.second === pair[1] && each.measure === measure);
  const each = model.projections.map((name) => [name, model.effect(pair, measure, name, null)]).filter(([, row]) => isRatio(row));
  const rows = each.map(([name, row]) => ratioRow(projectionName(name), row, null, "projection"));
  const name = rows.length > 0 ? unfolding(heading(measure), rows) : heading(measure);
  return el("tbody", null, ratioRow(name, model.effect(pair, measure, "mean", null), finding), rows);
}

function foldedBodies(words, names, body) {
  if (names.length === 0) return [];
  const bodies = names.map(body);
  const button = unfolding(words, bodies);
  return [el("tbody", null, el("tr", { class: "more" }, el("th", { scope: "row", colspan: ratioHeads(state.model).length }, button))), ...bodies];
}

/** A button that shows rows, which it hides at first, and hides them again. */
function unfolding(words, rows) {
  const show = (open) => {
    rows.forEach((row) => row.toggleAttribute("hidden", !open));
    button.setAttribute("aria-expanded", String(open));
  };
  const button = el("button", { type: "button", class: "unfold", on: { click: () => show(button.getAttribute("aria-expanded") !== "true") } }, words);
  show(false);
  return button;
}

function ratioRow(name, row, finding, kind = null) {
  if (row.paired_rows !== null) return pairedRow(name, row, finding, kind);
  return el(
    "tr",
    { class: kind },
    el("th", { scope: "row" }, name),
    el("td", null, finding ? kindTag(finding.kind) : ""),
    numberCell(ratioCell(row, "raw_effect", "raw_effect_low", "raw_effect_high", row.q)),
    numberCell(probability(row.q)),
    numberCell(controlledRatio(row)),
    numberCell(row.no_support ? MISSING : probability(row.weighted_q)),
    numberCell(effectiveRows(row)),
  );
}

/** A ratio over its interval; bold where p adjusted is small. */
function ratioCell(row, effect, low, high, q) {
  if (row[effect] === null) return MISSING;
  const cell = withInterval(Math.exp(row[effect]), exponential(row[low]), exponential(row[high]), ratio);
  cell.classList.toggle("strong", q !== null && q < state.data.alpha);
  return cell;
}

function exponential(value) {
  return value === null ? null : Math.exp(value);
}

/** The length-controlled ratio; none where the groups have no common support in length. */
function controlledRatio(row) {
  const cell = row.no_support ? el("small", null, "no common support") : ratioCell(row, "weighted_effect", "weighted_low", "weighted_high", row.weighted_q);
  return row.window_effect === null ? cell : el("span", { class: "stacked" }, cell, windowLine(row));
}

/** The ratio in windows of equally many tokens, on one line. */
function windowLine(row) {
  const shown = effectShown(row);
  const rows = `${whole(row.window_n_first)} and ${whole(row.window_n_second)} rows`;
  return el("small", null, `first ${plural(row.window_tokens, "token")}: ${shown(row.window_effect)} ${interval(row.window_low, row.window_high, shown)}, ${P_ADJUSTED} ${probability(row.window_q)}, ${rows}`);
}

function effectiveRows(row) {
  const shown = (size) => (size !== null && size < 1 ? "<1" : whole(size));
  return row.weighted_n_first === null || row.no_support ? MISSING : `${shown(row.weighted_n_first)} and ${shown(row.weighted_n_second)}`;
}

/** The rows of EFFECTS of metrics that were compared. */
function metricEffects(model, [first, second]) {
  return model.tables.effects.rows().filter((row) => row.projection === null && row.layer === null && row.first === first && row.second === second && row.n_first !== null);
}
