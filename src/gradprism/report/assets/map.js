// The map: every example at the direction of its gradient, along two principal components of the sketches.

const mapChoice = { colour: "group", drag: "zoom" };
const MOST_CORNERS = 40; // of a lasso, as the address keeps it
const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];

function mapSection() {
  const { model } = state;
  if (!model.directions || allPlaces().every((place) => model.examples.mapped(place) === null)) return null;
  const columns = mapColumns(model);
  if (!columns.some(([name]) => name === mapChoice.colour)) mapChoice.colour = "group";
  const plot = figure(mapLabel(), mapCaption(model), (width) => drawMap(model, width), openPoint, { what: () => "map", rows: () => mapRows(model) }, chooseLasso);
  const legend = groupLegend(model, (place) => markerSwatch(mapChoice.colour === "group" ? groupColour(place) : cssColour("ink"), groupSymbol(place)));
  const follow = () => {
    legend.follow();
    plot.label(mapLabel());
    plot.caption(mapCaption(model));
    plot.redraw();
  };
  for (const what of ["groups", "lasso"]) on(what, follow);
  follow();
  const drags = (how) => {
    mapChoice.drag = how;
    plot.box.style.touchAction = how === "lasso" ? "none" : "";
    if (plot.box.layout) window.Plotly.relayout(plot.box, { dragmode: mapDragmode() });
  };
  drags(mapChoice.drag);
  const colour = select("Colour", columns, mapChoice.colour, (name) => {
    mapChoice.colour = name;
    follow();
  });
  const drag = select("Dragging", [["zoom", "zooms in"], ["lasso", "draws a lasso"]], mapChoice.drag, drags);
  return section(
    "map",
    "Map of the examples",
    el("p", { class: "lead" }, "A point is the direction of one example's whole gradient, whatever its size: neighbours ask for similar changes of the weights. Two axes show only part of what differs, and nothing of quality."),
    controls(colour, drag),
    legend.box,
    plot.holder,
  );
}

/** What points may be coloured by: [name, words]. */
function mapColumns(model) {
  const measured = exampleMeasures(model).filter((name) => !["length", "prompt_length"].includes(name));
  return [["group", "group"], ["n_response_tokens", "Response tokens"], ["n_prompt_tokens", "Prompt tokens"], ...measured.map((name) => [name, columnHeading(name)])];
}

function mapColourName() {
  return { n_response_tokens: "Response tokens", n_prompt_tokens: "Prompt tokens" }[mapChoice.colour] ?? heading(mapChoice.colour);
}

function mapLabel() {
  const colour = mapChoice.colour === "group" ? "group" : mapColourName();
  return `Scatter plot of the examples along the first two principal components of their gradients' directions, coloured by ${colour}. The CSV has the numbers.`;
}

/** Places of the examples that the map shows. */
function mapPlaces(model) {
  const { examples } = model;
  return allPlaces().filter((place) => examples.mapped(place) !== null && isShown(model, examples.group(place)));
}

function mapCaption(model) {
  const { dimension, shares, length_spearman: byLength, n_used: used, n_rows: rows } = model.directions;
  const n = mapPlaces(model).length;
  const shown = n < model.n_examples ? `${whole(n)} of ${plural(model.n_examples, "example")}` : `All ${plural(n, "example")}`;
  const each = (values, show) => `${show(values[0])} on axis 1, ${show(values[1])} on axis 2`;
  const sample = used < rows ? `, of a random sample of ${whole(used)} of ${plural(rows, "row")}` : "";
  return [
    `${shown}. Principal components of sketches (random projections of dimension ${whole(dimension)})${sample}; they hold ${each(shares, percentage)} of the variance. `,
    `Rank correlation with response tokens: ${each(byLength, share)}: far from 0, an axis shows length. Click a point to open the example. `,
    ...lassoWords(model),
  ];
}

function percentage(value) {
  return formatted(value, { style: "percent", maximumFractionDigits: value < 0.1 ? 1 : 0 });
}

function lassoWords(model) {
  if (tableChoice.lasso === null) return ["A lasso lists the examples that it surrounds in the table of examples."];
  const n = allPlaces().filter((place) => isInLasso(model, place)).length;
  return [el("a", { href: "#examples" }, `${plural(n, "example")} in the lasso`), " in the table of examples. ", el("button", { type: "button", class: "quiet", on: { click: () => keepLasso(null) } }, "Clear the lasso")];
}

function mapRows(model) {
  const { examples } = model;
  const colour = mapChoice.colour === "group" || mapChoice.colour === "n_response_tokens" ? null : mapChoice.colour;
  return mapPlaces(model).map((place) => {
    const [x, y] = examples.mapped(place);
    const known = { group: examples.group(place), example_id: examples.id(place), row: examples.value("row", place), n_response_tokens: examples.responseTokens(place) };
    return { ...known, component_1: x, component_2: y, ...(colour && { [colour]: examples.value(colour, place) }) };
  });
}

/** All points, as SVG: plotly's scattergl makes code out of text, which the page's policy forbids. */
function drawMap(model, width) {
  const places = mapPlaces(model);
  const colours = mapChoice.colour === "group" ? null : mapColours(model, places);
  const data = shownGroups(model).flatMap((group) => {
    const own = places.filter((place) => model.examples.groupPlace(place) === group.place);
    const parts = colours ? [own.filter((place) => colours.of(place) === null), own.filter((place) => colours.of(place) !== null)] : [own];
    return parts.filter((part) => part.length > 0).map((part) => mapTrace(model, part, group, colours));
  });
  const name = (place) => `Principal component ${place + 1} (${percentage(model.directions.shares[place])} of the variance)`;
  const layout = {
    xaxis: axis(name(0), { uirevision: "zoomed" }),
    yaxis: axis(name(1), { scaleanchor: "x", uirevision: "zoomed" }),
    hovermode: "closest",
    dragmode: mapDragmode(),
    newselection: { line: { color: cssColour("accent"), width: 1.5 } },
    selections: [],
    shapes: tableChoice.lasso === null ? [] : [lassoShape(tableChoice.lasso)],
    ...(colours && { coloraxis: colours.axis }),
  };
  return { data, layout, height: Math.min(560, Math.max(340, width * 0.6)) };
}

function mapDragmode() {
  return mapChoice.drag === "lasso" ? "lasso" : TOUCH ? false : "zoom";
}

/** The colours of a column: `of(place)` is the number that the axis turns into a colour, or null. */
function mapColours(model, places) {
  const { examples } = model;
  const name = mapChoice.colour;
  const values = places.map((place) => examples.value(name, place)).filter(Number.isFinite);
  const log = (name.endsWith("_tokens") || isRatioScaled(name)) && values.every((value) => value > 0);
  const ticks = log ? logTicks(values) : {};
  const scale = isDark() ? VIRIDIS.slice(2) : VIRIDIS.slice(0, -1);
  const bar = { title: { text: plotText(mapColourName(), 24) + (log ? " (log)" : ""), side: "right", font: { size: 12 } }, thickness: 10, outlinewidth: 0, tickfont: { size: 10, color: cssColour("muted") } };
  return {
    of: (place) => {
      const value = examples.value(name, place);
      return Number.isFinite(value) ? (log ? Math.log10(value) : value) : null;
    },
    axis: {
      colorscale: scale.map((colour, place) => [place / (scale.length - 1), colour]),
      colorbar: { ...bar, ...(log && { tickvals: ticks.tickvals?.map(Math.log10), ticktext: ticks.ticktext }) },
    },
  };
}

function mapTrace(model, places, { name, place: index }, colours) {
  const { examples } = model;
  const at = places.map((place) => examples.mapped(place));
  const coloured = colours !== null && colours.of(places[0]) !== null;
  const colour = coloured ? { color: places.map(colours.of), coloraxis: "coloraxis" } : { color: colours ? cssColour("map-missing") : groupColour(index) };
  const chosen = tableChoice.lasso === null ? {} : { selectedpoints: places.flatMap((place, i) => (isInLasso(model, place) ? [i] : [])) };
  return {
    type: "scatter",
    mode: "markers",
    name: plotText(name),
    x: at.map(([x]) => x),
    y: at.map(([, y]) => y),
    customdata: places,
    text: places.map((place) => mapText(examples, place)),
    hovertemplate: "%{text}<extra></extra>",
    marker: { ...colour, size: examples.length > 4000 ? 4 : examples.length > 400 ? 6 : 8, opacity: 0.7, symbol: groupSymbol(index) },
    unselected: { marker: { opacity: 0.12 } },
    ...chosen,
  };
}

function mapText(examples, place) {
  const value = ["group", "n_response_tokens"].includes(mapChoice.colour) ? "" : `<br>${plotText(mapColourName())}: ${number(examples.value(mapChoice.colour, place))}`;
  return `<b>${plotText(examples.id(place))}</b><br>${plotText(examples.group(place))}, ${plural(examples.responseTokens(place), "token")}${value}`;
}

function lassoShape(corners) {
  return { type: "path", path: `M${corners.map((corner) => corner.join()).join("L")}Z`, line: { color: cssColour("accent"), width: 1.5, dash: "dot" } };
}

/** Keep the lasso that was drawn, {x, y}; null takes the last one away. */
function chooseLasso(drawn) {
  keepLasso(drawn && evenly(drawn.x.length, MOST_CORNERS).map((at) => [drawn.x[at], drawn.y[at]].map((value) => Number(value.toPrecision(4)))));
}

function keepLasso(corners) {
  if (corners === null && tableChoice.lasso === null) return;
  tableChoice.lasso = corners;
  tableChoice.page = 0;
  tell("lasso");
}

/** Whether a shown point of the map lies in the lasso: a ray from it crosses the outline an odd number of times. */
function isInLasso(model, place) {
  const at = model.examples.mapped(place);
  if (at === null || !isShown(model, model.examples.group(place))) return false;
  const [x, y] = at;
  const corners = tableChoice.lasso;
  let inside = false;
  corners.forEach(([x1, y1], i) => {
    const [x2, y2] = corners[(i + 1) % corners.length];
    if (y1 > y !== y2 > y && x < x1 + ((y - y1) / (y2 - y1)) * (x2 - x1)) inside = !inside;
  });
  return inside;
}
