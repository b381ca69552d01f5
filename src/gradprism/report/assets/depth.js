// Depth: how large the main measures of runs without contrasts are from the first layer to the last.

const DEPTH_PANEL = 178; // pixels

/** One panel a main measure, one line a group of each of these models; of several models over relative depth. */
function depthFigure(models) {
  const measures = models[0].main_measures.filter((name) => models.every((model) => model.curved.has(name)));
  if (measures.length === 0) return null;
  const caption = models.length > 1 ? "Means over examples and projections, from the first layer (0%) to the last (100%)" : "Means over examples and projections";
  const plot = figure(depthLabel(models, measures), `${caption}; band: 95% interval of the mean.`, (width) => drawDepth(models, measures, width), null, {
    what: () => "main measures by depth",
    rows: () => depthLines(models).flatMap(({ model, group }) => measures.flatMap((measure) => model.curve(group.name, measure, "mean").map((row) => ({ ...row, model: model.name, group: group.name, measure, projection: "mean" })))),
  });
  const legend = depthLines(models).length > 1 && depthLegend(models);
  return { ...plot, legend };
}

/** The groups of these models, each with a place that its colour goes by. */
function depthLines(models) {
  return models.flatMap((model) => model.groups.map((group) => ({ model, group }))).map((each, place) => ({ ...each, place, label: each.model.groups.length > 1 ? `${each.group.name}, ${each.model.label}` : each.model.label }));
}

function depthLegend(models) {
  const box = el("div", { class: "legend" });
  const follow = () => box.replaceChildren(...depthLines(models).map(({ label, place }) => el("span", { class: "group" }, lineSwatch(groupColour(place), groupDash(place)), bdi(label))));
  on("theme", follow);
  follow();
  return box;
}

function depthLabel(models, measures) {
  return `Line plots of ${measures.map(title).join(" and ")} by depth. The curves below have every projection.`;
}

function drawDepth(models, measures, width) {
  const relative = models.length > 1;
  const panels = measures.map((measure) => ({ title: heading(measure), data: depthLines(models).flatMap((line) => depthTraces(line, measure, relative)) }));
  const layout = { annotations: [], margin: { l: 52, r: 10, t: 24, b: 40 }, hovermode: "x unified" };
  const high = (1 - 0.13 * (panels.length - 1)) / panels.length;
  const data = panels.flatMap((panel, place) => {
    const suffix = place === 0 ? "" : place + 1;
    const last = place === panels.length - 1;
    const top = 1 - place * (high + 0.13);
    layout[`xaxis${suffix}`] = axis(last ? (relative ? "Depth" : "Layer") : "", {
      anchor: `y${suffix}`, showticklabels: last, ...(relative ? { ticksuffix: "%", dtick: 25, hoverformat: ".0f" } : { unifiedhovertitle: { text: "Layer %{x}" } }), ...(place === 0 ? {} : { matches: "x" }),
    });
    layout[`yaxis${suffix}`] = axis("", { anchor: `x${suffix}`, domain: [Math.max(0, top - high), top], rangemode: "tozero", nticks: 5 });
    layout.annotations.push(panelTitle(panel.title, suffix));
    return panel.data.map((trace) => ({ ...trace, xaxis: `x${suffix}`, yaxis: `y${suffix}` }));
  });
  return { data, layout, height: DEPTH_PANEL * panels.length + (width < 420 ? 0 : 10) };
}

function depthTraces({ model, group, place, label }, measure, relative) {
  const rows = model.curve(group.name, measure, "mean");
  const last = Math.max(rows.length - 1, 1);
  const xs = rows.map((row, at) => (relative ? (100 * at) / last : row.layer));
  const column = (name) => rows.map((row) => row[name]);
  const line = gappedLine(xs, column("mean"), lineStyle(groupColour(place), 2, groupDash(place)), {
    name: plotText(label), customdata: rows.map((row) => `${number(row.mean)} ${interval(row.mean_low, row.mean_high)}`), hovertemplate: "%{customdata}",
  });
  return [band(xs, column("mean_low"), column("mean_high"), groupColour(place)), line];
}
