// The effects: layer by projection, raw and length-controlled; a click or the slider chooses the layer.

const effectChoice = { show: "both" };
const HEATMAPS = {
  raw: { column: "raw_effect", low: "raw_effect_low", high: "raw_effect_high", q: "q", found: "raw_found", name: "Raw" },
  controlled: {
    column: "weighted_effect", low: "weighted_low", high: "weighted_high", q: "weighted_q", found: "weighted_found", name: "Length-controlled (overlap weights)",
  },
};
const RATIO_ENDS = [1.1, 1.25, 1.5, 2, 3, 5, 10, 30, 100]; // of the colour scale
const WITHIN_SCALE = 0.95; // of the cells

function effectsSection() {
  const { model } = state;
  if (model.contrasts.length === 0) return null;
  const plot = figure("", effectCaption(model), drawEffects, (point) => chooseLayer(Number(point.x)), {
    what: () => `effects on ${state.measure} ${model.contrasts[state.contrast].join(" against ")}`,
    rows: () => effectCells(model).flat().filter(Boolean),
  });
  const doubt = el("div");
  const hidden = el("div");
  const again = () => {
    const pair = model.contrasts[state.contrast];
    hidden.replaceChildren(...hiddenNote(model, pair));
    plot.holder.hidden = !pair.every((name) => isShown(model, name));
    const shown = effectChoice.show === "raw" || plot.holder.hidden ? [] : effectCells(model).flat();
    doubt.replaceChildren(...supportNote(model, shown, "The length-controlled cells are pale for that."));
    plot.label(effectLabel(model));
    plot.caption(effectCaption(model));
    plot.redraw();
  };
  for (const what of ["layer", "measure", "contrast", "groups"]) on(what, again);
  again();
  const shows = [["both", "raw and length-controlled"], ["raw", "raw"], ["controlled", "length-controlled"]];
  const show = select("Show", shows, effectChoice.show, (value) => {
    effectChoice.show = value;
    again();
  });
  return section(
    "effects",
    "Effects by layer",
    controls(contrastSelect(), measureSelect(model), !model.paired && show),
    doubt,
    hidden,
    plot.holder,
    layerBox(model),
  );
}

function effectCaption(model) {
  const [first, second] = model.contrasts[state.contrast];
  const { ratios, end } = effectScale(model);
  const what = ratios ? `. Ratios of geometric means; shades end at ${ratio(Math.exp(end))} and ${ratio(Math.exp(-end))}` : ". Differences of means";
  return [
    "Red: higher in ", bdi(first), "; blue: higher in ", bdi(second), what,
    `. A dot marks a significant difference: ${P_ADJUSTED} (Benjamini–Hochberg) < ${state.data.alpha} and an interval without ${ratios ? "1" : "zero"}. ` +
      (model.paired ? "" : "Pale: no common support. ") + "Grey: not computed. Outlined: the chosen layer.",
  ];
}

function effectLabel(model) {
  const [first, second] = model.contrasts[state.contrast];
  return `Heatmap of ${first} against ${second}, ${title(state.measure)}, by layer and projection. The table below has the numbers of layer ${state.layer}.`;
}

/** The rows of EFFECTS, projection by layer; null where there is none. */
function effectCells(model) {
  const pair = model.contrasts[state.contrast];
  return model.projectionsOf(state.measure).map((name) => model.layers.map((layer) => model.effect(pair, state.measure, name, layer)));
}

/** The end of the colour scale, on the scale of the effects: one for what is raw and what is length-controlled. */
function effectScale(model) {
  const cells = effectCells(model).flat().filter(Boolean);
  const ratios = cells.every((cell) => cell.regression_scale !== "linear");
  const sizes = cells.flatMap((cell) => [cell.raw_effect, cell.no_support ? null : cell.weighted_effect]);
  const most = quantile(sizes.filter((size) => size !== null).map(Math.abs).sort((a, b) => a - b), WITHIN_SCALE) || 0.001;
  const end = ratios ? Math.log(RATIO_ENDS.find((each) => Math.log(each) >= most) ?? Math.exp(most)) : most;
  const ticks = [-end, -end / 2, 0, end / 2, end];
  return { ratios, end, ticks, texts: ticks.map((tick) => (ratios ? ratio(Math.exp(tick)) : number(tick, 2))) };
}

/** Rows whose groups have no common support in length, so that what is length-controlled is no evidence. */
function withoutSupport(cells) {
  return cells.filter((cell) => cell?.no_support && cell.weighted_effect !== null);
}

/** `13 and 8 effective rows`, of cells which may differ. */
function effectiveRowsOf(cells) {
  const most = (side) => countRange(cells.map((cell) => cell[`weighted_n_${side}`]));
  return `${most("first")} and ${most("second")} effective rows`;
}

/** Says where length-controlled effects are no evidence, or that there are none. */
function supportNote(model, cells, ...more) {
  const far = withoutSupport(cells);
  const [first, second] = model.contrasts[state.contrast];
  if (far.length > 0) {
    const words = ` have no common support in length: ${effectiveRowsOf(far)}. What is length-controlled extrapolates here and is no evidence of a difference. `;
    return [el("p", { class: "notice" }, bdi(first), " and ", bdi(second), words, more)];
  }
  if (model.paired) return [];
  const without = cells.some((cell) => cell && cell.raw_effect !== null) && cells.every((cell) => !cell || cell.weighted_n_first === null);
  return without ? [el("p", { class: "notice" }, "Not length-controlled: this comparison is of an earlier version. Compare the runs anew.")] : [];
}

function heatmapTitle(kind, cells, width) {
  const { name, column } = HEATMAPS[kind];
  const there = cells.flat().filter((cell) => cell && cell[column] !== null);
  const far = withoutSupport(there);
  if (state.model.paired) return "In the same rows";
  if (kind === "raw" || far.length === 0) return name;
  const where = far.length < there.length ? ` in ${whole(far.length)} of ${whole(there.length)} cells` : "";
  return `${name}${width < 560 ? "<br>" : " "}(no common support${where}: ${effectiveRowsOf(far)})`;
}

function drawEffects(width) {
  const kinds = state.model.paired ? ["raw"] : effectChoice.show === "both" ? ["raw", "controlled"] : [effectChoice.show];
  const names = state.model.projectionsOf(state.measure);
  const cells = effectCells(state.model);
  const rowHeight = Math.max(30 * names.length, 90);
  const height = kinds.length * (rowHeight + 58) + 44;
  const layout = { annotations: [], shapes: [], margin: { l: 56, r: 66, t: 40, b: 44 }, hovermode: "closest" };
  const inner = height - 84;
  const data = kinds.flatMap((kind, place) => {
    const suffix = place === 0 ? "" : place + 1;
    const top = 1 - (place * (rowHeight + 58)) / inner;
    const domain = [Math.max(0, top - rowHeight / inner), top];
    effectAxes(layout, suffix, domain, names.length, place === kinds.length - 1, heatmapTitle(kind, cells, width));
    return heatmap(kind, names, cells, suffix, domain);
  });
  return { data, layout, height };
}

function effectAxes(layout, suffix, domain, n, last, name) {
  const [first, final] = [Math.min(...state.model.layers), Math.max(...state.model.layers)];
  layout[`xaxis${suffix}`] = axis(last ? "Layer" : "", {
    range: [first - 0.5, final + 0.5],
    anchor: `y${suffix}`, showgrid: false, zeroline: false, ...(suffix === "" ? {} : { matches: "x" }),
  });
  layout[`yaxis${suffix}`] = axis("", {
    anchor: `x${suffix}`, domain, type: "category", range: [n - 0.5, -0.5], showgrid: false, zeroline: false, fixedrange: true,
  });
  layout.annotations.push(panelTitle(name, suffix));
  layout.shapes.push({
    type: "rect", xref: `x${suffix}`, yref: `y${suffix} domain`, x0: state.layer - 0.5, x1: state.layer + 0.5, y0: 0, y1: 1,
    line: { color: cssColour("ink"), width: 2 },
  });
}

function heatmap(kind, names, cells, suffix, [low, high]) {
  const { layers } = state.model;
  const { column, found } = HEATMAPS[kind];
  const { end, ticks, texts } = effectScale(state.model);
  const axes = { xaxis: `x${suffix}`, yaxis: `y${suffix}`, x: layers, y: names.map((name) => plotText(name)) };
  const map = {
    type: "heatmap",
    ...axes,
    z: cells.map((row) => row.map((cell) => cell?.[column] ?? null)),
    text: cells.map((row) => row.map(cellText)),
    hovertemplate: "%{text}<extra></extra>",
    hoverongaps: false,
    zmin: -end, zmid: 0, zmax: end,
    colorscale: divergingScale(),
    xgap: 1, ygap: 1,
    colorbar: { thickness: 9, len: high - low, y: (high + low) / 2, outlinewidth: 0, tickfont: { size: 10, color: cssColour("muted") }, tickvals: ticks, ticktext: texts, x: 1.01 },
  };
  const pale = (cell) => kind === "controlled" && Boolean(cell?.no_support);
  const significant = (cell) => cell && !pale(cell) && cell[column] !== null && ["positive", "negative"].includes(cell[found]);
  return [...supportedAndPale(map, cells, pale), ...greyCells(map), significanceDots(axes, cells, significant)];
}

/** The cells of a map with common support, and those without it, pale. */
function supportedAndPale(map, cells, pale) {
  const part = (wanted) => ({ ...map, z: map.z.map((row, y) => row.map((value, x) => (pale(cells[y][x]) === wanted ? value : null))) });
  const [some, all] = [cells.flat().some(pale), cells.flat().every(pale)];
  return [...(all ? [] : [part(false)]), ...(some ? [{ ...part(true), opacity: 0.35, showscale: all }] : [])];
}

/** A dot in every cell that is significant. */
function significanceDots(axes, cells, significant) {
  const found = cells.flatMap((row, y) => row.map((cell, x) => [significant(cell), axes.x[x], axes.y[y]])).filter(([is]) => is);
  return {
    type: "scatter", mode: "markers", xaxis: axes.xaxis, yaxis: axes.yaxis, x: found.map(([, x]) => x), y: found.map(([, , y]) => y),
    marker: { symbol: "circle", size: 4.5, color: cssColour("ink"), line: { color: cssColour("surface"), width: 0.8 } }, hoverinfo: "skip",
  };
}

function divergingScale() {
  const middle = cssColour("map-middle");
  return isDark()
    ? [[0, "#6fb1ff"], [0.25, "#3a6ea8"], [0.5, middle], [0.75, "#b0503f"], [1, "#ff9b80"]]
    : [[0, "#2166ac"], [0.25, "#8fbcdc"], [0.5, middle], [0.75, "#f0a285"], [1, "#b2182b"]];
}

function cellText(cell) {
  if (!cell) return "not measured";
  const show = effectShown(cell);
  const line = ({ name, column, low, high, q }) => cell[column] !== null && `${name} ${show(cell[column])} ${interval(cell[low], cell[high], show)}, ${adjusted(cell[q])}`;
  return [
    `<b>Layer ${cell.layer}, ${plotText(cell.projection)}${state.model.projections.includes(cell.projection) ? " projection" : ""}</b>`,
    `${plotText(cell.first)} ${number(cell.mean_first)}, ${plotText(cell.second)} ${number(cell.mean_second)}`,
    ...Object.values(HEATMAPS).map(line).filter(Boolean).map((text) => (cell.paired_rows === null ? text : text.replace("Raw", "Ratio"))),
    ...withoutSupport([cell]).map(() => `no common support (${effectiveRowsOf([cell])})`),
    cell.auc !== null && `AUC ${share(cell.auc)} ${interval(cell.auc_low, cell.auc_high, share)}`,
    cell.paired_rows !== null && `higher in ${whole(cell.paired_higher)} of ${whole(cell.paired_rows)} rows`,
  ].filter(Boolean).join("<br>");
}
