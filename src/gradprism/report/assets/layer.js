// The chosen layer: how it is chosen without a mouse, and the numbers of its every projection.

function layerBox(model) {
  const body = el("div", { "aria-live": "polite" });
  const heading = el("h3", { id: "layer-title" });
  const fill = () => {
    heading.replaceChildren(`Layer ${state.layer}: `, ...versus(model.contrasts[state.contrast]), el("span", { class: "soft" }, ", "), title(state.measure));
    body.replaceChildren(layerTable(model));
  };
  for (const what of ["layer", "measure", "contrast"]) on(what, fill);
  fill();
  const chooser = layerControl(model, "Layer");
  on("layer", chooser.follow);
  return el("div", { class: "layer-box", id: "layer-box" }, el("div", { class: "layer-head" }, heading, chooser.control), body, lengthNotes());
}

/** A slider and a number; `follow` sets both to the layer that was chosen elsewhere. */
function layerControl(model, label) {
  const { layers } = model;
  const change = (event) => chooseLayer(nearestLayer(layers, Number(event.target.value)));
  const ends = { min: layers[0], max: layers[layers.length - 1], step: 1, value: state.layer };
  const range = el("input", { type: "range", ...ends, "aria-label": `${label}, slider`, on: { input: change } });
  const field = el("input", { type: "number", ...ends, "aria-label": label, on: { change } });
  const follow = () => {
    range.value = state.layer;
    field.value = state.layer;
  };
  return { control: el("div", { class: "layer-control" }, el("span", null, label), range, field), follow };
}

function nearestLayer(layers, wanted) {
  return layers.reduce((best, layer) => (Math.abs(layer - wanted) < Math.abs(best - wanted) ? layer : best), layers[0]);
}

function layerTable(model) {
  const pair = model.contrasts[state.contrast];
  const heads = [
    "Projection", bdi(pair[0]), bdi(pair[1]), "Difference", "AUC", "q",
    "Matched pairs", "Regression", "Partial Spearman",
  ];
  const rows = model.projectionsOf(state.measure).map((name) => layerRow(name, model.effect(pair, state.measure, name, state.layer)));
  return table(`Effects in layer ${state.layer}`, heads, rows);
}

function layerRow(name, row) {
  if (!row) return [name, ...Array(8).fill(MISSING)];
  return [
    name,
    number(row.mean_first),
    number(row.mean_second),
    withInterval(row.difference, row.difference_low, row.difference_high, signed),
    withInterval(row.auc, row.auc_low, row.auc_high, (value) => number(value, 2)),
    probability(row.q),
    control(row, "matched_difference", "matched", plural(row.matched_pairs ?? 0, "pair"), signed),
    regression(row),
    control(row, "partial_spearman", "partial", `raw ${number(row.spearman, 2)}`, (value) => signed(value, 2)),
  ];
}

function control(row, effect, name, also, show) {
  const cell = withInterval(row[effect], row[`${name}_low`], row[`${name}_high`], show);
  cell.append(el("small", null, `q ${probability(row[`${name}_q`])}, ${also}`));
  return cell;
}

/** On the log scale effects are factors. */
function regression(row) {
  if (row.regression_scale !== "log") return control(row, "regression_effect", "regression", `raw ${number(row.raw_effect)}`, signed);
  const times = (value) => (value === null ? MISSING : `×${number(Math.exp(value))}`);
  const ends = [row.regression_low, row.regression_high];
  const range = ends.includes(null) ? "" : `[${ends.map((end) => number(Math.exp(end))).join(", ")}]`;
  return el(
    "span",
    { class: "stacked" },
    times(row.regression_effect),
    range && el("small", null, range),
    el("small", null, `q ${probability(row.regression_q)}, raw ${times(row.raw_effect)}`),
  );
}

function lengthNotes() {
  return el(
    "p",
    { class: "caption" },
    "Brackets are 95% intervals; q is after Benjamini–Hochberg over the measure's layers and projections. Three ways to hold length equal: " +
      "matched pairs (difference over pairs of rows of like response length), regression on group and both lengths " +
      "(× a factor where the measure is taken as its logarithm), and Spearman's correlation with membership given both lengths.",
  );
}
