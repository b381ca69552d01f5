// The chosen layer: how it is chosen without a mouse, and the numbers of its every projection.

function layerBox(model) {
  const body = el("div", { "aria-live": "polite" });
  const further = el("div");
  const heading = el("h3", { id: "layer-title" });
  const fill = () => {
    heading.replaceChildren(`Layer ${state.layer}: `, ...versus(model.contrasts[state.contrast]), el("span", { class: "soft" }, ", "), title(state.measure));
    const rows = model.projectionsOf(state.measure).map((name) => [projectionName(name), model.effect(model.contrasts[state.contrast], state.measure, name, state.layer)]);
    body.replaceChildren(...supportNote(model, rows.map(([, row]) => row)), layerTable(rows));
    further.replaceChildren(furtherTable(model, rows), furtherNotes());
  };
  for (const what of ["layer", "measure", "contrast"]) on(what, fill);
  fill();
  const chooser = layerControl(model, "Layer");
  on("layer", chooser.follow);
  const more = el("details", null, el("summary", null, "Means and further length controls"), further);
  return el("div", { class: "layer-box", id: "layer-box" }, el("div", { class: "layer-head" }, heading, chooser.control), body, layerNotes(), !model.paired && more);
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

function layerTable(effects) {
  if (state.model.paired) return pairedLayerTable(effects);
  const heads = ["Projection", "Raw", P_ADJUSTED, "Length-controlled", P_ADJUSTED, "AUC"];
  const rows = effects.map(([name, row]) => [name, ...(row ? layerCells(row) : Array(5).fill(MISSING))]);
  return table(`Effects in layer ${state.layer}`, heads, rows);
}

function pairedLayerTable(effects) {
  const [first, second] = state.model.contrasts[state.contrast];
  const cells = (row) => [
    number(row.mean_first), number(row.mean_second), withInterval(row.raw_effect, row.raw_effect_low, row.raw_effect_high, effectShown(row)), probability(row.q),
    `${whole(row.paired_higher)} of ${whole(row.paired_rows)}`,
  ];
  const rows = effects.map(([name, row]) => [name, ...(row ? cells(row) : Array(5).fill(MISSING))]);
  return table(`Changes in layer ${state.layer}`, ["Projection", bdi(first), bdi(second), "Change", P_ADJUSTED, "Higher in"], rows);
}

function layerCells(row) {
  const controlled = effectCell(row, "weighted");
  if (withoutSupport([row]).length > 0) markDoubtful(controlled, "no common support");
  const raw = withInterval(row.raw_effect, row.raw_effect_low, row.raw_effect_high, effectShown(row));
  return [raw, probability(row.q), controlled, probability(row.weighted_q), withInterval(row.auc, row.auc_low, row.auc_high, share)];
}

function furtherTable(model, effects) {
  const [first, second] = model.contrasts[state.contrast];
  const windows = effects.find(([, row]) => row && row.window_effect !== null)?.[1].window_tokens;
  const heads = ["Projection", bdi(first), bdi(second), "Matched pairs", ...(windows ? [`First ${plural(windows, "token")}`] : []), "Regression", "Partial Spearman"];
  const rows = effects.map(([name, row]) => [name, ...(row ? furtherCells(row, windows) : Array(heads.length - 1).fill(MISSING))]);
  return table(`Means and further length controls in layer ${state.layer}`, heads, rows);
}

function furtherCells(row, windows) {
  return [
    number(row.mean_first),
    number(row.mean_second),
    furtherControl(row, "matched", effectCell(row, "matched"), plural(row.matched_pairs ?? 0, "pair")),
    ...(windows ? [furtherControl(row, "window", effectCell(row, "window"), `${whole(row.window_n_first)} and ${whole(row.window_n_second)} rows`)] : []),
    furtherControl(row, "regression", effectCell(row, "regression")),
    furtherControl(row, "partial", difference(row.partial_spearman, row.partial_low, row.partial_high, share), `raw ${signed(row.spearman, share)}`),
  ];
}

/** What a control finds; pale where it is no evidence. */
function furtherControl(row, name, cell, also) {
  const q = row[`${name}_q`];
  const words = [q !== null && `${P_ADJUSTED} ${probability(q)}`, also].filter(Boolean).join(", ");
  if (words) cell.append(el("small", null, words));
  if (row.few_pairs && ["regression", "partial"].includes(name)) markDoubtful(cell, "few matched pairs");
  return cell;
}

function markDoubtful(cell, why) {
  cell.append(el("small", null, why));
  cell.classList.add("doubtful");
}

/** How an effect is read: a ratio where the measure is taken as its logarithm, else a difference. */
function effectShown(row) {
  if (row.regression_scale !== "log") return signed;
  return (value) => (value === null ? MISSING : ratio(Math.exp(value)));
}

function effectCell(row, name) {
  return withInterval(row[`${name}_effect`], row[`${name}_low`], row[`${name}_high`], effectShown(row));
}

function layerNotes() {
  return el(
    "p",
    { class: "caption" },
    `Ratios of the first group to the second (of cosines differences), with 95% intervals; ${P_ADJUSTED} is adjusted (Benjamini–Hochberg) over the measure's layers and projections. ` +
      (state.model.paired ? "The rows are the same on both sides." : "Length-controlled: overlap weights with regression on the lengths of prompt and response. AUC: the probability that an example of the first exceeds one of the second."),
  );
}

function furtherNotes() {
  return el(
    "p",
    { class: "caption" },
    "Matched pairs: pairs of rows of like response length. Regression: on group and both lengths, which extrapolates where few rows can be matched. " +
      "Partial Spearman: the correlation with being in the first group, given both lengths. Verdicts do not rest on regression and partial Spearman.",
  );
}
