// The plots of one example: its curves among its group's, its singular values beside its group's.

const detailPlot = { measure: "nuclear_norm", pooled: true, figures: new Set(), follow: () => {} };

function detailPlots(place) {
  const { model } = state;
  const group = model.examples.group(place);
  const missing = model.measured_missing[group];
  if (missing !== undefined) return el("p", { class: "notice" }, "Its curves and singular values are not in this report: ", named(missing, model.groupNames));
  const curves = curveFigure(place, group);
  const spectra = spectrumFigure(place, group);
  detailPlot.follow = () => [curves, spectra].forEach((each) => each.follow());
  return el("div", null, curves.holder, spectra.holder);
}

function forgetDetailPlots() {
  detailPlot.figures.forEach((box) => forget(box));
  detailPlot.figures.clear();
  detailPlot.follow = () => {};
}

/** Draw what has to be inflated first; what cannot be had is said where the plot would be. */
function laterFigure(label, caption, read, draw, download) {
  const box = el("div", { class: "later", "aria-busy": "true" });
  const wanted = detail.place;
  let drawn = null;
  const show = async () => {
    const found = await read().catch((error) => error);
    if (detail.place !== wanted) return;
    box.removeAttribute("aria-busy");
    if (detailPlot.figures.delete(drawn)) forget(drawn);
    if (found instanceof Error || found === null) {
      box.replaceChildren(el("p", { class: "notice" }, found === null ? "The run holds none for this example." : found.message));
      return;
    }
    const made = figure(label, caption(), (width) => draw(width, found), null, { what: download.what, rows: () => download.rows(found) });
    drawn = made.box;
    detailPlot.figures.add(drawn);
    box.replaceChildren(made.holder);
    redraw(drawn, true);
  };
  show();
  return { box, show };
}

function curveFigure(place, group) {
  const { model } = state;
  const n = whole(model.groups.find((each) => each.name === group).n);
  const caption = () => ["Thick: this example. Line and band: median and middle half of ", bdi(group), ` (n = ${n}). Vertical line: layer ${state.layer}.`];
  const later = laterFigure(
    `The example's ${title(detailPlot.measure)} over layers, beside the median and quartiles of ${group}`,
    caption,
    () => model.measured.curvesOf(place, detailPlot.measure),
    (width, curves) => drawExampleCurves(width, curves, group),
    { what: () => `${detailPlot.measure} of ${model.examples.id(place)}`, rows: (curves) => exampleCurveRows(model, curves, group) },
  );
  const options = model.measured.measures.map((name) => [name, heading(name)]);
  const choose = select("Curves of", options, detailPlot.measure, (value) => {
    detailPlot.measure = value;
    later.show();
  });
  return { holder: el("div", null, controls(choose), later.box), follow: later.show };
}

function drawExampleCurves(width, curves, group) {
  const { model } = state;
  const panels = model.projections.map((name, place) => {
    const colour = projectionColour(name);
    const rows = model.curve(group, detailPlot.measure, name);
    const layers = rows.map((row) => row.layer);
    return {
      title: plotText(name),
      data: [
        band(layers, rows.map((row) => row.q25), rows.map((row) => row.q75), colour, 0.2),
        exampleLine(layers, rows.map((row) => row.median), colour, 1, "median"),
        exampleLine(model.layers, curves[place], colour, 2.6, "this"),
      ],
    };
  });
  const drawn = grid(width, panels, { text: "Layer", more: {} }, { text: heading(detailPlot.measure), more: {} }, 210, 170);
  drawn.layout.shapes = layerLines(panels.length);
  return { ...drawn, layout: { ...drawn.layout, hovermode: "x" } };
}

/** The example's value beside the median and quartiles of its group, for each projection and layer. */
function exampleCurveRows(model, curves, group) {
  return model.projections.flatMap((projection, which) =>
    model.curve(group, detailPlot.measure, projection).map((row, at) => ({
      projection, layer: row.layer, [detailPlot.measure]: curves[which][at], group_median: row.median, group_q25: row.q25, group_q75: row.q75,
    })),
  );
}

function exampleLine(x, y, colour, width, name, dash = []) {
  return gappedLine(x, y, lineStyle(colour, width, dash), { name, hovertemplate: "%{y:.4~g}" });
}

/** Pooled over layers as the group's band is; of one layer where that is asked for. */
function spectrumFigure(place, group) {
  const { model } = state;
  const later = laterFigure(
    `The example's singular values relative to the largest, beside those of ${group}`,
    () => spectrumCaption(group),
    () => model.measured.spectraOf(place, detailPlot.pooled ? null : model.layers.indexOf(state.layer)),
    (width, spectra) => drawSpectra(width, spectra, group),
    {
      what: () => `singular values of ${model.examples.id(place)}`,
      rows: (spectra) => model.projections.flatMap((projection, which) => model.measured.indices.map((index, at) => ({ projection, index, relative_to_largest: spectra[which][at] }))),
    },
  );
  const chooser = layerControl(model, "Singular values of layer");
  const follow = () => {
    chooser.follow();
    chooser.control.hidden = detailPlot.pooled;
    later.show();
  };
  const ways = [["pooled", "all layers (median)"], ["layer", "one layer"]];
  const choose = select("Singular values of", ways, detailPlot.pooled ? "pooled" : "layer", (value) => {
    detailPlot.pooled = value === "pooled";
    follow();
  });
  chooser.control.hidden = detailPlot.pooled;
  return { holder: el("div", null, controls(choose, chooser.control), later.box), follow };
}

function spectrumCaption(group) {
  const { pooled } = detailPlot;
  const { decay_examples: most } = state.data;
  return [
    `Singular values over the largest. Thick: this example, ${pooled ? "the median over its layers at each index" : `layer ${state.layer} alone`}. Dashed line and band: median and middle half of `,
    bdi(group),
    ` over all layers${pooled ? "" : ", not of this one"}, of at most ${whole(most)} of its rows. What is beyond a gradient's rank counts as 0, ` +
      `which a logarithm cannot show: a line ends where it is 0 or below 10`, el("sup", null, `${MINUS}${state.model.measured.raw.spectra.decades}`),
    ", and the band reaches the lower edge where its lower quartile does.",
  ];
}

/** Values for a logarithmic axis from `floor` on: what is lower is left out, or put below the edge. */
function above(floor, values, otherwise = null) {
  return values.map((value) => (value !== null && value >= floor ? value : otherwise));
}

function drawSpectra(width, spectra, group) {
  const { model } = state;
  const { decades } = model.measured.raw.spectra;
  const floor = 10 ** -decades;
  const panels = model.projections.map((name, place) => {
    const colour = projectionColour(name);
    const decay = model.decays(group, name);
    const xs = decay.map((row) => row.index);
    const highs = above(floor, decay.map((row) => row.q75));
    const lows = above(floor, decay.map((row) => row.q25), floor / 10);
    return {
      title: plotText(name),
      data: [
        band(xs, lows, highs, colour, 0.2),
        exampleLine(xs, above(floor, decay.map((row) => row.median)), colour, 1.4, "median", [5, 2]),
        exampleLine(model.measured.indices, spectra[place], colour, 2.6, "this"),
      ],
    };
  });
  const powers = Array.from({ length: Math.floor(decades / 2) + 1 }, (_, place) => -2 * place);
  const ticks = { tickvals: powers.map((power) => 10 ** power), ticktext: powers.map((power) => (power === 0 ? "1" : `10<sup>${MINUS}${-power}</sup>`)) };
  const [text, more] = logAxis("Index i", model.measured.indices);
  const y = { text: "σᵢ / σ₁ (log scale)", more: { type: "log", range: [-decades, 0.2], ...ticks } };
  const drawn = grid(width, panels, { text, more }, y, 210, 170);
  return { ...drawn, layout: { ...drawn.layout, hovermode: "x" } };
}
