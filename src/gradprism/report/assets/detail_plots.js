// The plots of one example: its curves among its group's, its singular values beside its group's.

const detailPlot = { measure: "nuclear_norm", figures: new Set(), follow: () => {} };

function detailPlots(place) {
  const { model } = state;
  const group = model.examples.group(place);
  const missing = model.measured.missing[group];
  if (missing !== undefined) return el("p", { class: "notice" }, "Its curves and singular values are not in this report: ", bdi(missing));
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
function laterFigure(label, caption, read, draw) {
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
    const made = figure(label, caption(), (width) => draw(width, found));
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
  const caption = () =>
    `Thick: this example. Line and band: median and middle half of ${group} (n = ${whole(model.groups.find((each) => each.name === group).n)}). Dotted: layer ${state.layer}.`;
  const later = laterFigure(
    `The example's ${title(detailPlot.measure)} over layers, beside the median and quartiles of ${group}`,
    caption,
    () => model.measured.curvesOf(place, detailPlot.measure),
    (width, curves) => drawExampleCurves(width, curves, group),
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
    const rows = model.curve(group, detailPlot.measure, name).filter((row) => row.median !== null);
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

function exampleLine(x, y, colour, width, name, dash = "solid") {
  return { x, y, mode: x.length > 1 ? "lines" : "markers", line: { color: colour, width, dash }, marker: { color: colour }, name, hovertemplate: "%{y:.4~g}" };
}

function spectrumFigure(place, group) {
  const { model } = state;
  const { perLayer } = model.measured;
  const caption = () =>
    `Singular values over the largest, ${perLayer ? `layer ${state.layer}` : "geometric mean over layers"}, both axes logarithmic. Thick: this example. ` +
    `Dashed line and band: median and middle half of ${group} over all layers. Below 10⁻⁶ nothing is drawn.`;
  const later = laterFigure(
    `The example's singular values relative to the largest, beside those of ${group}`,
    caption,
    () => model.measured.spectraOf(place, model.layers.indexOf(state.layer)),
    (width, spectra) => drawSpectra(width, spectra, group),
  );
  const chooser = layerControl(model, "Singular values of layer");
  const follow = () => {
    chooser.follow();
    later.show();
  };
  return { holder: el("div", null, controls(perLayer && chooser.control), later.box), follow };
}

function drawSpectra(width, spectra, group) {
  const { model } = state;
  const panels = model.projections.map((name, place) => {
    const colour = projectionColour(name);
    const decay = model.decays(group, name);
    const xs = decay.map((row) => row.index);
    return {
      title: plotText(name),
      data: [
        band(xs, decay.map((row) => row.q25), decay.map((row) => row.q75), colour, 0.2),
        exampleLine(xs, decay.map((row) => row.median), colour, 1.4, "median", "dash"),
        exampleLine(model.measured.indices, spectra[place], colour, 2.6, "this"),
      ],
    };
  });
  const y = { text: "σᵢ / σ₁", more: { type: "log", range: [-6, 0.2], tickvals: [1, 1e-2, 1e-4, 1e-6], ticktext: ["1", "0.01", "10⁻⁴", "10⁻⁶"] } };
  const x = { text: "Index i", more: { type: "log", ...logTicks(model.measured.indices) } };
  const drawn = grid(width, panels, x, y, 210, 170);
  return { ...drawn, layout: { ...drawn.layout, hovermode: "x" } };
}
