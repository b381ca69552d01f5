// Distributions: every example of each group as a point with the group's box, or the groups' cumulative shares.

const distributionChoice = { column: null, drawn: "points", log: null }; // log: null is as the measure's scale has it
const BOX_ENDS = [1 / 20, 1 / 4, 1 / 2, 3 / 4, 19 / 20];
const GOLDEN = 0.618034; // its multiples spread points evenly

/** Columns of the examples that hold a number of each: means over projections and metrics first. */
function exampleMeasures({ examples }) {
  const names = ["loss", ...examples.columns.filter((name) => name !== "loss")];
  const known = names.filter((name) => allPlaces().some((place) => Number.isFinite(examples.value(name, place))));
  const order = (name) => (name.endsWith(":mean") ? 0 : meanOver(name) === "" ? 1 : 2);
  return known.sort((a, b) => order(a) - order(b));
}

function distributionsSection() {
  const { model } = state;
  const columns = exampleMeasures(model);
  if (columns.length === 0) return null;
  if (!columns.includes(distributionChoice.column)) distributionChoice.column = columns.find((name) => name === "nuclear_norm:mean") ?? columns[0];
  const plot = figure(distributionLabel(), distributionCaption(model), drawDistribution, openPoint, {
    what: () => `distribution of ${distributionChoice.column}`,
    rows: () => distributionRows(model),
  });
  const log = checkbox("Log scale", false, (checked) => again({ log: checked }));
  const again = (change = {}) => {
    Object.assign(distributionChoice, change);
    Object.assign(log.firstChild, { checked: distributionOnLog(model), disabled: !mayBeLogarithmic(model) });
    plot.label(distributionLabel());
    plot.caption(distributionCaption(model));
    plot.redraw();
  };
  on("groups", again);
  again();
  const choose = select("Measure", columns.map((name) => [name, columnHeading(name)]), distributionChoice.column, (column) => again({ column, log: null }));
  const ways = [["points", "points and boxes"], ["ecdf", "cumulative shares (ECDF)"]];
  const way = select("Drawn as", ways, distributionChoice.drawn, (drawn) => again({ drawn }));
  const legend = groupLegend(model, (place) => markerSwatch(groupColour(place), groupSymbol(place)));
  return section("distributions", "Distributions", controls(choose, way, log), legend.box, plot.holder);
}

function mayBeLogarithmic(model) {
  return model.length_moments[distributionChoice.column]?.scale === "log";
}

/** Whether the axis is logarithmic: as was chosen, else where groups are compared by ratios. */
function distributionOnLog(model) {
  const { column, log } = distributionChoice;
  return mayBeLogarithmic(model) && (log ?? isRatioScaled(column));
}

function distributionLabel() {
  const { column, drawn } = distributionChoice;
  const way = drawn === "ecdf" ? "Cumulative shares of examples by" : "Points and boxes of";
  return `${way} ${title(column)}, by group. The table of examples has the same numbers.`;
}

function distributionCaption(model) {
  const { column, drawn } = distributionChoice;
  const over = meanOver(column);
  const way = drawn === "ecdf" ? "A line is the share of its group's examples up to a value." : "Box: quartiles and median of the group; line: from its 5% to its 95% quantile.";
  return `${shownExamples(model)}${over && `, ${over}`}. ${way} Click a point to open the example.`;
}

/** The shown groups with their examples that have a value, in its order. */
function distributionGroups(model, column = distributionChoice.column) {
  const { examples } = model;
  const value = (place) => examples.value(column, place);
  return shownGroups(model).map((group) => ({
    ...group,
    places: allPlaces()
      .filter((place) => examples.groupPlace(place) === group.place && Number.isFinite(value(place)))
      .sort((a, b) => value(a) - value(b)),
    value,
  }));
}

function distributionRows(model, column = distributionChoice.column) {
  const { examples } = model;
  const row = (place) => ({ example_id: examples.id(place), row: examples.value("row", place), [column]: examples.value(column, place) });
  return distributionGroups(model, column).flatMap(({ name, places }) => places.map((place) => ({ group: name, ...row(place) })));
}

function drawDistribution(width) {
  const { model } = state;
  const groups = distributionGroups(model);
  const values = groups.flatMap(({ places, value }) => places.map(value));
  const name = heading(distributionChoice.column);
  const xaxis = axis(...(distributionOnLog(model) ? logAxis(name, values) : [name]));
  const drawn = distributionChoice.drawn === "ecdf" ? cumulative(model, groups) : pointsAndBoxes(model, groups, width);
  return { ...drawn, layout: { ...drawn.layout, xaxis, hovermode: "closest" } };
}

function pointsAndBoxes(model, groups, width) {
  const narrow = width < 560;
  const labels = groups.map(({ name, places, value }) => {
    const middle = number(quantile(places.map(value), 0.5));
    return `${plotText(name, narrow ? 12 : 26)}<br>n ${whole(places.length)}${narrow ? "<br>" : ", "}median ${middle}`;
  });
  const rows = { tickvals: groups.map((_, row) => row), ticktext: labels, range: [groups.length - 0.5, -0.5], showgrid: false, zeroline: false, fixedrange: true };
  return {
    data: groups.flatMap((group, row) => [boxTrace(group, row), stripTrace(model, group, row)]),
    layout: { yaxis: axis("", rows), margin: { l: narrow ? 104 : 190, r: 12, t: 8, b: 44 } },
    height: Math.max(170, groups.length * 84 + 60),
  };
}

/** A value below which this share of ordered values lies, interpolated between two of them. */
function quantile(ordered, share) {
  const at = share * (ordered.length - 1);
  const [low, high] = [ordered[Math.floor(at)], ordered[Math.ceil(at)]];
  return low === undefined ? null : low + (high - low) * (at - Math.floor(at));
}

function boxTrace({ place, places, value }, row) {
  const ends = BOX_ENDS.map((each) => quantile(places.map(value), each));
  const [lowerfence, q1, median, q3, upperfence] = places.length === 0 ? [[], [], [], [], []] : ends.map((each) => [each]);
  const colour = groupColour(place);
  return {
    type: "box", orientation: "h", y: places.length === 0 ? [] : [row], lowerfence, q1, median, q3, upperfence, width: 0.62,
    line: { color: colour, width: 1.5 }, fillcolor: transparent(colour, 0.12), hoverinfo: "skip",
  };
}

function stripTrace(model, { name, place, places, value }, row) {
  const shown = evenly(places.length, MOST_POINTS).map((at) => places[at]);
  return {
    type: "scatter", mode: "markers", name: plotText(name), showlegend: false, // rows have its name
    x: shown.map(value),
    y: shown.map((_, at) => row + (((at * GOLDEN) % 1) - 0.5) * 0.5),
    ...pointsOf(model, shown, value),
    marker: { color: groupColour(place), size: shown.length > 400 ? 4 : 6, opacity: 0.6, symbol: groupSymbol(place) },
  };
}

function cumulative(model, groups) {
  const data = groups.map(({ name, place, places, value }) => {
    const colour = groupColour(place);
    return {
      type: "scatter", mode: "lines+markers", name: plotText(name),
      x: places.map(value),
      y: places.map((_, at) => (at + 1) / places.length),
      ...pointsOf(model, places, value),
      line: { shape: "hv", ...lineStyle(colour, 2, groupDash(place)) },
      marker: { color: colour, size: places.length > 400 ? 3 : 5, symbol: groupSymbol(place) },
    };
  });
  return { data, layout: { yaxis: axis("Share of the group", { tickformat: ".0%", range: [0, 1.02] }) }, height: 360 };
}

/** What makes points of these examples answer the mouse. */
function pointsOf({ examples }, places, value) {
  return { customdata: places, text: places.map((place) => pointText(examples, place, value(place))), hovertemplate: "%{text}<extra></extra>" };
}
