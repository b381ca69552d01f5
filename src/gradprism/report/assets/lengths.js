// Length: how far a measure follows the number of response tokens, and how long the responses of each group are.

const lengthChoice = { column: null, fit: "pooled" };
const LENGTH_BINS = 28;

function lengthsSection() {
  const { model } = state;
  const columns = exampleMeasures(model).filter((name) => !name.includes("cosine") && !["length", "prompt_length"].includes(name));
  if (model.examples.length === 0 || columns.length === 0) return null;
  if (!columns.includes(lengthChoice.column)) lengthChoice.column = columns.find((name) => name === "effective_rank:mean") ?? columns[0];
  const scatter = lengthScatter(model);
  const density = figure("Distribution of response tokens for each group; the medians are in the table at the top.", densityCaption(model), drawDensity, null, {
    what: () => "response tokens",
    rows: () => densities(model).rows,
  });
  on("groups", () => {
    density.caption(densityCaption(model));
    density.redraw();
  });
  const change = (name) => (value) => {
    lengthChoice[name] = value;
    scatter.follow();
  };
  const choose = select("Measure", columns.map((name) => [name, columnHeading(name)]), lengthChoice.column, change("column"));
  const fit = select("Fit line", model.groups.length > 1 ? FITS : FITS.filter(([name]) => ["pooled", "none"].includes(name)), lengthChoice.fit, change("fit"));
  const legend = groupLegend(model, (place) => markerSwatch(groupColour(place), groupSymbol(place)));
  return section("lengths", "Length", controls(choose, fit), legend.box, el("div", { class: "pair" }, scatter.holder, density.holder));
}

/** A column of the examples in a list of choices. */
function columnHeading(name) {
  return heading(name) + (name.endsWith(":mean") ? " (mean over projections)" : "");
}

function densityCaption(model) {
  return `Share of each group's examples by response tokens, in ${LENGTH_BINS} bins of equal ratio. ${shownExamples(model)}. Groups without common support here cannot be compared with length controlled.`;
}

/** The edges of the bins, and for each shown group and bin a row with the share of the group's examples. */
function densities(model) {
  const { examples } = model;
  const groups = shownGroups(model).map((group) => ({
    ...group,
    tokens: allPlaces().filter((place) => examples.groupPlace(place) === group.place && examples.responseTokens(place) > 0).map((place) => examples.responseTokens(place)),
  }));
  const all = groups.flatMap(({ tokens }) => tokens);
  const low = Math.log10(all.reduce((a, b) => Math.min(a, b), Infinity));
  const high = Math.log10(all.reduce((a, b) => Math.max(a, b), 0) * 1.001);
  const edges = Array.from({ length: LENGTH_BINS + 1 }, (_, place) => 10 ** (low + ((high - low) * place) / LENGTH_BINS));
  const rows = groups.flatMap(({ name, place, tokens }) =>
    counted(tokens, low, high).map((n, bin) => ({
      group: name, place, tokens_from: edges[bin], tokens_to: edges[bin + 1], n, share: n / Math.max(tokens.length, 1),
    })),
  );
  return { groups, all, edges, rows };
}

function counted(lengths, low, high) {
  const counts = Array(LENGTH_BINS).fill(0);
  for (const length of lengths) {
    const place = Math.floor(((Math.log10(length) - low) / Math.max(high - low, 1e-9)) * LENGTH_BINS);
    counts[Math.min(Math.max(place, 0), LENGTH_BINS - 1)] += 1;
  }
  return counts;
}

function drawDensity(width) {
  const { groups, all, edges, rows } = densities(state.model);
  const data = groups.map((group) => densityTrace(group, edges, rows.filter((row) => row.place === group.place).map((row) => row.share)));
  const layout = {
    xaxis: axis(...logAxis("Response tokens", all)),
    yaxis: axis("Share of the group", { tickformat: ".0%", rangemode: "tozero" }),
    hovermode: "x",
  };
  return { data, layout, height: Math.min(420, Math.max(300, width * 0.75)) };
}

function densityTrace({ name, place }, edges, shares) {
  return {
    type: "scatter",
    mode: "lines",
    name: plotText(name),
    x: edges,
    y: [...shares, shares[shares.length - 1]],
    line: { shape: "hv", ...lineStyle(groupColour(place), 2, groupDash(place)) },
    fill: "tozeroy",
    fillcolor: transparent(groupColour(place), 0.1),
    hovertemplate: "%{y:.1%}",
  };
}
