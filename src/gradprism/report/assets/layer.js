// The chosen layer: how it is chosen without a mouse, and the numbers of its every projection.

function layerBox(model) {
  const body = el("div", { "aria-live": "polite" });
  const heading = el("h3", { id: "layer-title" });
  const fill = () => {
    heading.replaceChildren(`Layer ${state.layer}: `, ...versus(model.contrasts[state.contrast]), el("span", { class: "soft" }, ", "), title(state.measure));
    const rows = model.projectionsOf(state.measure).map((name) => [name, model.effect(model.contrasts[state.contrast], state.measure, name, state.layer)]);
    body.replaceChildren(...supportNote(model, rows.map(([, row]) => row)), layerTable(model, rows));
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

function layerTable(model, effects) {
  const pair = model.contrasts[state.contrast];
  const heads = [
    "Projection", bdi(pair[0]), bdi(pair[1]), "Difference", "AUC", P_ADJUSTED,
    "Matched pairs", "Regression", "Partial Spearman",
  ];
  return table(`Effects in layer ${state.layer}`, heads, effects.map(([name, row]) => layerRow(name, row)));
}

function layerRow(name, row) {
  if (!row) return [name, ...Array(8).fill(MISSING)];
  return [
    name,
    number(row.mean_first),
    number(row.mean_second),
    difference(row.difference, row.difference_low, row.difference_high),
    withInterval(row.auc, row.auc_low, row.auc_high, share),
    probability(row.q),
    control(row, "matched", effectCell(row, "matched"), plural(row.matched_pairs ?? 0, "pair")),
    control(row, "regression", effectCell(row, "regression"), `raw ${effectShown(row)(row.raw_effect)}`),
    control(row, "partial", difference(row.partial_spearman, row.partial_low, row.partial_high, share), `raw ${signed(row.spearman, share)}`),
  ];
}

/** What a control finds; pale where it is no evidence. */
function control(row, name, cell, also) {
  const q = row[`${name}_q`];
  const doubtful = row.no_support === 1 && name !== "matched";
  cell.append(el("small", null, q === null ? also : `p adj. ${probability(q)}, ${also}`), ...(doubtful ? [el("small", null, "no common support")] : []));
  cell.classList.toggle("doubtful", doubtful);
  return cell;
}

/** Pairs and regression take a measure as its logarithm where they can: effects are factors there. */
function effectShown(row) {
  if (row.regression_scale !== "log") return signed;
  return (value) => (value === null ? MISSING : `×${number(Math.exp(value))}`);
}

function effectCell(row, name) {
  const show = effectShown(row);
  return withInterval(row[`${name}_effect`], row[`${name}_low`], row[`${name}_high`], (value) => show(value).replace("×", ""), show);
}

function lengthNotes() {
  return el(
    "p",
    { class: "caption" },
    "Brackets are 95% intervals; p adj. is adjusted (Benjamini–Hochberg) over the measure's layers and projections. Three length controls: " +
      "matched pairs (mean over pairs of rows of like response length), regression on group and both lengths " +
      "(both × a factor where the measure is taken as its logarithm), and Spearman's correlation with membership given both lengths. " +
      "Pale: no evidence, as the groups have no common support in length and the control extrapolates.",
  );
}
