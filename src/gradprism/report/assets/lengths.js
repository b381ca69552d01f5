// Length: how far a measure follows the number of response tokens, and how long the responses of each group are.

const lengthChoice = { column: null };
const MOST_POINTS = 2000;
const LENGTH_BINS = 28;

function lengthsSection() {
  const { model } = state;
  const columns = model.examples.columns.filter((name) => !name.includes("cosine") && !["length", "prompt_length"].includes(name));
  if (model.examples.length === 0 || columns.length === 0) return null;
  if (!columns.includes(lengthChoice.column)) lengthChoice.column = columns.find((name) => name === "effective_rank:mean") ?? columns[0];
  const scatter = figure(lengthLabel(), scatterCaption(model), drawScatter, (point) => openDetail(point.customdata, null));
  const density = figure("Distribution of response tokens for each group; the medians are in the table at the top.", densityCaption(model), drawDensity);
  const options = columns.map((name) => [name, heading(name) + (name.endsWith(":mean") ? " (mean over projections)" : "")]);
  const choose = select("Measure", options, lengthChoice.column, (value) => {
    lengthChoice.column = value;
    scatter.label(lengthLabel());
    scatter.caption(scatterCaption(model));
    scatter.redraw();
  });
  const legend = el("span");
  const follow = () => legend.replaceChildren(groupLegend(model, (place) => markerSwatch(groupColour(place), groupSymbol(place))));
  on("theme", follow);
  follow();
  return section("lengths", "Length", controls(choose, legend), el("div", { class: "pair" }, scatter.holder, density.holder));
}

/** `mark(place)` is how a group is told in the plot. */
function groupLegend(model, mark) {
  return el("span", { class: "legend" }, model.groups.map((group, place) => el("span", { class: "group" }, mark(place), bdi(group.name))));
}

function lengthLabel() {
  return `Scatter plot of ${title(lengthChoice.column)} against response tokens, one point an example. The table of examples has the same numbers.`;
}

function scatterCaption(model) {
  const n = Math.min(model.examples.length, MOST_POINTS);
  const which = n < model.n_examples ? `${whole(n)} of ${whole(model.n_examples)}` : `All ${whole(n)}`;
  const over = meanOver(lengthChoice.column);
  return `${which} examples${over && `, ${over}`}. Click a point to open the example.`;
}

function densityCaption(model) {
  return `Share of each group's examples by response tokens, in ${LENGTH_BINS} bins of equal ratio (${whole(model.examples.length)} examples). Groups without common support here cannot be compared with length controlled.`;
}

/** Places of at most `most` examples, evenly spread over the table. */
function evenly(n, most) {
  const step = Math.max(1, n / most);
  return Array.from({ length: Math.min(n, most) }, (_, place) => Math.floor(place * step));
}

function drawScatter(width) {
  const { examples, groups } = state.model;
  const places = evenly(examples.length, MOST_POINTS);
  const data = groups.map((group, index) => {
    const own = places.filter((place) => examples.groupPlace(place) === index);
    return scatterTrace(own, group, index);
  });
  const tokens = places.map((place) => examples.responseTokens(place));
  const values = places.map((place) => examples.value(lengthChoice.column, place));
  const name = heading(lengthChoice.column);
  const layout = {
    xaxis: axis(...logAxis("Response tokens", tokens)),
    yaxis: axis(...(logarithmic() ? logAxis(name, values) : [name])),
    hovermode: "closest",
  };
  return { data, layout, height: Math.min(420, Math.max(300, width * 0.75)) };
}

/** A metric may have zero or negative values, which a logarithm cannot show. */
function logarithmic() {
  return state.model.examples.raw.values[lengthChoice.column].every((value) => value === null || value > 0);
}

function scatterTrace(places, group, index) {
  const { examples } = state.model;
  const values = places.map((place) => examples.value(lengthChoice.column, place));
  return {
    type: "scatter",
    mode: "markers",
    name: plotText(group.name),
    x: places.map((place) => examples.responseTokens(place)),
    y: values,
    customdata: places,
    text: places.map((place, i) => `<b>${plotText(examples.id(place))}</b><br>${plotText(group.name)}, ${plural(examples.responseTokens(place), "token")}<br>${number(values[i])}`),
    hovertemplate: "%{text}<extra></extra>",
    marker: { color: groupColour(index), size: places.length > 400 ? 5 : 7, opacity: 0.65, symbol: groupSymbol(index) },
  };
}

function drawDensity(width) {
  const { examples, groups } = state.model;
  const lengths = groups.map((_, index) =>
    Array.from({ length: examples.length }, (__, place) => place)
      .filter((place) => examples.groupPlace(place) === index && examples.responseTokens(place) > 0)
      .map((place) => examples.responseTokens(place)),
  );
  const all = lengths.flat();
  const low = Math.log10(all.reduce((a, b) => Math.min(a, b), Infinity));
  const high = Math.log10(all.reduce((a, b) => Math.max(a, b), 0) * 1.001);
  const edges = Array.from({ length: LENGTH_BINS + 1 }, (_, place) => 10 ** (low + ((high - low) * place) / LENGTH_BINS));
  const data = lengths.map((own, index) => densityTrace(own, edges, low, high, index, groups[index].name));
  const layout = {
    xaxis: axis(...logAxis("Response tokens", all)),
    yaxis: axis("Share of the group", { tickformat: ".0%", rangemode: "tozero" }),
    hovermode: "x",
  };
  return { data, layout, height: Math.min(420, Math.max(300, width * 0.75)) };
}

function densityTrace(own, edges, low, high, index, name) {
  const counts = Array(LENGTH_BINS).fill(0);
  for (const length of own) {
    const place = Math.floor(((Math.log10(length) - low) / Math.max(high - low, 1e-9)) * LENGTH_BINS);
    counts[Math.min(Math.max(place, 0), LENGTH_BINS - 1)] += 1;
  }
  const shares = counts.map((count) => count / Math.max(own.length, 1));
  return {
    type: "scatter",
    mode: "lines",
    name: plotText(name),
    x: edges,
    y: [...shares, shares[shares.length - 1]],
    line: { shape: "hv", ...lineStyle(groupColour(index), 2, groupDash(index)) },
    fill: "tozeroy",
    fillcolor: transparent(groupColour(index), 0.1),
    hovertemplate: "%{y:.1%}",
  };
}
