// The curves over layers: a panel for each group, as the papers draw them, or for each projection with all groups in it.

const curveChoice = { panels: "groups", log: null, bands: true }; // log: null is where a group is far above another
const FAR_ABOVE = 3; // times another group's largest mean, on a linear axis, flattens that group

function curvesSection() {
  const { model } = state;
  if (model.curvedMeasures.length === 0) return null;
  const caption = () => curveCaption(model);
  const plot = figure("", caption(), drawCurves, (point) => chooseLayer(Number(point.x)), {
    what: () => `${state.measure} by layer`,
    rows: () => curveRows(model),
  });
  const toggles = el("div", { class: "toggles", role: "group", "aria-label": "Projections" });
  const legend = groupLegend(model, (place) => overlaid(model) && lineSwatch(groupColour(place), groupDash(place)));
  const log = checkbox("Logarithmic", false, (checked) => again({ log: checked }));
  const details = el("div");
  const again = (change = {}) => {
    Object.assign(curveChoice, change);
    Object.assign(log.firstChild, { checked: curvesOnLog(model), disabled: !mayBeLog() });
    toggles.replaceChildren(...projectionToggles(model));
    plot.label(curveLabel(model));
    legend.follow();
    plot.caption(caption());
    plot.redraw();
  };
  const measured = () => {
    details.replaceChildren(...[roughness(model), relative(model)].filter(Boolean));
    again();
  };
  on("measure", measured);
  for (const what of ["projections", "groups", "layer"]) on(what, again);
  measured();
  return section("curves", "Curves over layers", controls(curveControls(model, again, log)), toggles, model.groups.length > 1 && legend.box, plot.holder, details);
}

function curveControls(model, again, log) {
  const change = (name) => (value) => again({ [name]: value });
  const panels = [["groups", "one for each group"], ["projections", "one for each projection, groups overlaid"]];
  return [
    measureSelect(model),
    model.groups.length > 1 && select("Panels", panels, curveChoice.panels, change("panels")),
    log,
    checkbox("95% bands", curveChoice.bands, change("bands")),
  ];
}

/** The measure of curves and effects: one choice, wherever it is made. */
function measureSelect(model) {
  const options = model.curvedMeasures.map((name) => [name, heading(name)]);
  const field = select("Measure", options, state.measure, (value) => {
    state.measure = value;
    tell("measure");
  });
  on("measure", () => {
    field.querySelector("select").value = state.measure;
  });
  return field;
}

/** Buttons that are the legend too; where colour means group they carry none. */
function projectionToggles(model) {
  return model.projectionsOf(state.measure).map((name) => {
    const shown = !state.hidden.has(name);
    return el(
      "button",
      { type: "button", class: "toggle", "aria-pressed": String(shown), "data-projection": name, on: { click: () => toggleProjection(name) } },
      !overlaid(model) && lineSwatch(projectionColour(name), projectionStyle(name).dash),
      name,
    );
  });
}

function toggleProjection(name) {
  if (state.hidden.has(name)) state.hidden.delete(name);
  else state.hidden.add(name);
  tell("projections");
  document.querySelector(`.toggle[data-projection="${CSS.escape(name)}"]`)?.focus();
}

function shownProjections(model) {
  return model.projectionsOf(state.measure).filter((name) => !state.hidden.has(name));
}

function curveCaption(model) {
  const counts = shownGroups(model).flatMap((group, place) => [place > 0 ? ", " : "", bdi(group.name), ` n = ${whole(group.n)}`]);
  return [
    `Mean ${title(state.measure)} of every layer over examples (`, ...counts, "). Band: 95% bootstrap interval of the mean over examples. ",
    `A gap is a layer without a value. Vertical line: layer ${state.layer}, the chosen one; click a layer to choose it.`,
    ...farAboveCaption(model),
  ];
}

function mayBeLog() {
  return !state.measure.endsWith("cosine");
}

/** Whether the axis is logarithmic: as was chosen, else where one group would flatten another. */
function curvesOnLog(model) {
  return mayBeLog() && (curveChoice.log ?? farAbove(model) !== null);
}

/** The group whose curves reach highest and the lowest of the others, where one is far above; else null. */
function farAbove(model) {
  if (!isRatioScaled(state.measure)) return null;
  const means = (name) => model.projectionsOf(state.measure).flatMap((projection) => model.curve(name, state.measure, projection).map((row) => row.mean ?? 0));
  const peaks = model.groups.map(({ name }) => ({ name, peak: Math.max(...means(name)) })).filter(({ peak }) => peak > 0).sort((a, b) => b.peak - a.peak);
  const ratio = peaks.length > 1 ? peaks[0].peak / peaks[peaks.length - 1].peak : 1;
  return ratio > FAR_ABOVE ? { ratio, high: peaks[0].name, low: peaks[peaks.length - 1].name } : null;
}

function farAboveCaption(model) {
  const found = farAbove(model);
  if (found === null || !curvesOnLog(model)) return [];
  return [" Logarithmic, as ", bdi(found.high), ` reaches ${number(found.ratio, 2)} times as high as `, bdi(found.low), "; a click on a group's name hides it in every chart."];
}

/** The rows of LEVELS that the chart draws. */
function curveRows(model) {
  return shownGroups(model).flatMap(({ name }) =>
    shownProjections(model).flatMap((projection) =>
      model.curve(name, state.measure, projection).map((row) => ({ ...row, group: name, measure: state.measure, projection })),
    ),
  );
}

function curveLabel(model) {
  const ends = shownProjections(model).flatMap((projection) =>
    shownGroups(model).map((group) => {
      const row = model.level(group.name, state.measure, projection, state.layer);
      return row !== null && row.mean !== null ? `${group.name} ${projection} ${number(row.mean)}` : "";
    }),
  );
  return `Line plot of the mean ${title(state.measure)} over layers. At layer ${state.layer}: ${ends.filter(Boolean).join("; ")}.`;
}

function drawCurves(width) {
  const { model } = state;
  const panels = overlaid(model) ? projectionPanels(model) : groupPanels(model);
  const drawnValues = panels.flatMap((panel) => panel.data.flatMap((trace) => trace.y));
  const isLog = curvesOnLog(model);
  const [text, more] = isLog ? logAxis(heading(state.measure), drawnValues) : [heading(state.measure), { type: "linear" }];
  const y = { text, more };
  const x = { text: "Layer", more: { unifiedhovertitle: { text: "Layer %{x}" } } };
  const drawn = grid(width, panels, x, y, panels.length > 2 ? 250 : 300, 300);
  drawn.layout.shapes = layerLines(panels.length);
  drawn.layout.hovermode = "x unified";
  return drawn;
}

/** Whether panels are of projections, with the groups in their own colours. */
function overlaid(model) {
  return curveChoice.panels === "projections" && model.groups.length > 1;
}

function groupPanels(model) {
  return shownGroups(model).map((group) => ({
    title: plotText(group.name),
    data: shownProjections(model).flatMap((name) =>
      curveTraces(model.curve(group.name, state.measure, name), projectionColour(name), projectionStyle(name).dash, name),
    ),
  }));
}

function projectionPanels(model) {
  return shownProjections(model).map((name) => ({
    title: plotText(name),
    data: shownGroups(model).flatMap((group) =>
      curveTraces(model.curve(group.name, state.measure, name), groupColour(group.place), groupDash(group.place), group.name),
    ),
  }));
}

function curveTraces(rows, colour, dash, name) {
  const column = (key) => rows.map((row) => row[key]);
  const xs = column("layer");
  const line = gappedLine(xs, column("mean"), lineStyle(colour, 2, dash), {
    customdata: rows.map((row) => `${number(row.mean)} ${interval(row.mean_low, row.mean_high)}`),
    name: plotText(name),
    hovertemplate: "%{customdata}",
  });
  return curveChoice.bands ? [band(xs, column("mean_low"), column("mean_high"), colour), line] : [line];
}

/** Mean absolute difference of neighbouring layers, of each group's mean curve. */
function roughness(model) {
  const rows = model.tables.mad.rows().filter((row) => row.measure === state.measure);
  if (rows.length === 0) return null;
  const cell = (group, projection) => {
    const row = rows.find((each) => each.group === group.name && each.projection === projection);
    return row ? withInterval(row.mad, row.mad_low, row.mad_high) : MISSING;
  };
  const names = model.projectionsOf(state.measure).filter((name) => rows.some((row) => row.projection === name));
  const body = names.map((name) => [name, ...model.groups.map((group) => cell(group, name))]);
  return el(
    "details",
    null,
    el("summary", null, "How rough the mean curves are (MAD)"),
    table("Mean absolute difference of neighbouring layers", ["Projection", ...model.groups.map((group) => bdi(group.name))], body),
    el("p", { class: "caption" }, "Mean absolute difference of neighbouring layers of the mean curve, with a 95% interval."),
  );
}

/** Mean relative difference of two mean curves, and where it is largest. */
function relative(model) {
  const rows = model.tables.rd.rows().filter((row) => row.measure === state.measure);
  if (rows.length === 0) return null;
  const largest = (row) => (row.largest_layers ?? []).map((layer, place) => `${layer} (${signed(row.largest[place], (value) => number(value, 2))})`).join(", ");
  const body = rows.map((row) => [
    el("span", null, versus([row.first, row.second])),
    row.projection,
    difference(row.rd, row.rd_low, row.rd_high),
    number(row.rd_absolute),
    largest(row),
  ]);
  return el(
    "details",
    null,
    el("summary", null, "How far the mean curves are apart (RD)"),
    table("Relative difference of mean curves", ["Contrast", "Projection", "RD", "Mean |RD|", "Largest at layer"], body, { texts: 2 }),
    el("p", { class: "caption" }, "(first − second) / second of the mean curves, averaged over layers, with a 95% interval; then where it is largest."),
  );
}
