// Steps: how the gradients of the measured rows move along a training.

function stepsSection() {
  const { steps } = state.data;
  if (!steps) return null;
  const count = new Set(steps.projections.map((row) => row.step)).size;
  return section(
    "steps",
    "Along the training",
    el("p", { class: "lead" }, `Means over ${plural(steps.n, "row")} at ${plural(count, "step")} of the training. Bands: 95% over rows at one step; where the rows stay the same, a change from step to step is surer than they show.`),
    ...stepsFigure("By projection, mean over layers", steps.projections, projectionLook),
    ...stepsFigure("By layer, mean over projections", steps.layers, (_, place) => ({ colour: groupColour(place), dash: groupDash(place) })),
  );
}

function projectionLook(name) {
  return name === "mean" ? { colour: cssColour("ink"), dash: [] } : { colour: projectionColour(name), dash: projectionStyle(name).dash };
}

function stepsFigure(heading, rows, look) {
  const [measures, lines] = ["measure", "line"].map((key) => [...new Set(rows.map((row) => row[key]))]);
  const named = lines.filter((name) => name !== "mean");
  const plot = figure(
    `Line plots of ${measures.map(title).join(", ")} over the steps. ${heading}.`,
    `${heading}.`,
    (width) => drawSteps(rows, measures, lines, look, width),
    null,
    { what: () => `steps, ${heading}`, rows: () => rows },
  );
  return [stepsLegend(named, lines, look), plot.holder];
}

function stepsLegend(named, lines, look) {
  const box = el("div", { class: "legend" });
  const follow = () => box.replaceChildren(...named.map((name) => el("span", { class: "group" }, lineSwatch(look(name, lines.indexOf(name)).colour, look(name, lines.indexOf(name)).dash), bdi(name))));
  on("theme", follow);
  follow();
  return box;
}

function drawSteps(rows, measures, lines, look, width) {
  const panels = measures.map((measure) => ({ title: heading(measure), data: lines.flatMap((line, place) => stepTraces(rows.filter((row) => row.measure === measure && row.line === line), line, look(line, place))) }));
  const drawn = grid(width, panels, { text: "step", more: {} }, { text: "", more: {} }, 280, 250);
  panels.forEach((_, place) => {
    const own = drawn.layout[`yaxis${place === 0 ? "" : place + 1}`];
    delete own.matches; // measures have no common scale
    own.showticklabels = true;
  });
  return drawn;
}

function stepTraces(rows, line, { colour, dash }) {
  const column = (name) => rows.map((row) => row[name]);
  const drawn = {
    name: plotText(line), mode: "lines+markers", marker: { color: colour, size: 5 },
    customdata: rows.map((row) => `${plotText(line)}: ${number(row.mean)} ${interval(row.mean_low, row.mean_high)}`), hovertemplate: "step %{x}<br>%{customdata}<extra></extra>",
  };
  return [band(column("step"), column("mean_low"), column("mean_high"), colour, 0.1), gappedLine(column("step"), column("mean"), lineStyle(colour, 2, dash), drawn)];
}
