// A measure against response tokens, one point an example, with lines of least squares: in its section, or compact.

const MOST_POINTS = 2000;
const FITS = [
  ["pooled", "one line"],
  ["slope", "one slope, a line for each group"],
  ["groups", "a line for each group"],
  ["none", "none"],
];

/** A figure that follows hidden groups; `column` and `fit` say what it shows at the time. `compact` is for 560 by 380. */
function lengthScatter(model, { compact = false, column = () => lengthChoice.column, fit = () => lengthChoice.fit } = {}) {
  const label = () => lengthLabel(model, column(), fit());
  const caption = () => scatterCaption(model, column(), fit(), compact);
  const plot = figure(label(), caption(), (width) => drawScatter(model, width, column(), fit(), compact), openPoint, {
    what: () => `${column()} by length`,
    rows: () => scatterRows(model, column()),
  });
  const follow = () => {
    plot.label(label());
    plot.caption(caption());
    plot.redraw();
  };
  on("groups", follow);
  return { ...plot, follow };
}

/** Open the example that a point stands for. */
function openPoint({ customdata }) {
  if (Number.isInteger(customdata)) openDetail(customdata, null);
}

function lengthLabel(model, column, fit) {
  const lines = fitsOf(model, column, fit).map(({ name, line }) => `${name}: ${fitWords(line)}`);
  const said = lines.length > 0 ? ` Least squares: ${lines.join("; ")}.` : "";
  return `Scatter plot of ${title(column)} against response tokens, one point an example.${said} The table of examples has the same numbers.`;
}

function scatterCaption(model, column, fit, compact) {
  const over = meanOver(column);
  return [
    `${shownExamples(model, MOST_POINTS)}${over && `, ${over}`}. Click a point to open the example. `,
    ...fitCaption(model, column, fit, compact),
  ];
}

/** What was fitted, to how many examples, and what came out. */
function fitCaption(model, column, fit, compact) {
  const fits = fitsOf(model, column, fit);
  if (fits.length === 0) return [];
  const log = model.length_moments[column].scale === "log";
  const n = whole(fits.reduce((sum, { line }) => sum + line.n, 0));
  const kind = log ? "of the logarithms of both" : "on the logarithm of response tokens";
  const found = fit !== "groups" ? [fitWords(fits[0].line)] : fits.flatMap(({ name, line }, place) => [place > 0 ? "; " : "", bdi(name), ` ${fitWords(line)}`]);
  const meaning = log && !compact ? " A slope of 1 is proportional to length, of 0.5 to its root. R² is the share of the variance that length" + (fit === "slope" ? " and group explain." : " explains.") : "";
  return [`Least squares ${kind} (n = ${n}): `, ...found, ".", meaning];
}

/** Slope and R² as they are read. */
function fitWords({ slope, r2 }) {
  return `slope ${share(slope)}, R² ${share(r2)}`;
}

/** The lines of a choice of fit through the shown groups: {name, place of a group or null, line}. */
function fitsOf(model, column, fit) {
  const found = model.length_moments[column];
  if (!found || fit === "none") return [];
  const groups = shownGroups(model).map(({ name, place }) => ({ name, place, moments: found.groups[place] })).filter(({ moments }) => moments);
  if (groups.length === 0) return [];
  const pooled = pooledMoments(groups.map(({ moments }) => moments));
  if (fit === "pooled") return [{ name: groups.length > 1 ? "pooled" : groups[0].name, place: null, line: lineThrough(pooled) }].filter(({ line }) => line);
  const slope = fit === "slope" ? commonSlope(groups.map(({ moments }) => moments), pooled) : null;
  return groups.map(({ moments, ...group }) => ({ ...group, line: lineThrough(moments, slope) })).filter(({ line }) => line);
}

/** The moments of all examples of several groups; see `length_moments.py` for what they are. */
function pooledMoments(all) {
  const n = all.reduce((sum, [each]) => sum + each, 0);
  const mean = (at) => all.reduce((sum, moments) => sum + moments[0] * moments[at], 0) / n;
  const [x, y] = [mean(1), mean(2)];
  const about = (at, from, to) => all.reduce((sum, m) => sum + m[at] + m[0] * from(m) * to(m), 0);
  const [fromX, fromY] = [(m) => m[1] - x, (m) => m[2] - y];
  const sums = [about(3, fromX, fromX), about(4, fromX, fromY), about(5, fromY, fromY)];
  return [n, x, y, ...sums, Math.min(...all.map((m) => m[6])), Math.max(...all.map((m) => m[7]))];
}

/** The slope that groups have in common beside an intercept each, and the R² of that model. */
function commonSlope(all, [, , , , , total]) {
  const within = (at) => all.reduce((sum, moments) => sum + moments[at], 0);
  const slope = within(4) / within(3);
  return { slope, r2: total > 0 ? 1 - (within(5) - slope * within(4)) / total : null };
}

/** The least-squares line of these moments, or the line of a given slope through their means; null where there is none. */
function lineThrough([n, x, y, sxx, sxy, syy, low, high], given = null) {
  if (given === null && (n < 3 || !(sxx > 1e-9 * n))) return null;
  const { slope, r2 } = given ?? { slope: sxy / sxx, r2: syy > 0 ? sxy ** 2 / (sxx * syy) : null };
  return Number.isFinite(slope) ? { n, slope, r2, from: y - slope * x, low, high } : null;
}

function scatterRows(model, column) {
  const { examples } = model;
  return allPlaces()
    .filter((place) => isShown(model, examples.group(place)))
    .map((place) => ({
      group: examples.group(place),
      example_id: examples.id(place),
      row: examples.value("row", place),
      n_response_tokens: examples.responseTokens(place),
      [column]: examples.value(column, place),
    }));
}

function drawScatter(model, width, column, fit, compact) {
  const { examples } = model;
  const places = evenly(examples.length, MOST_POINTS).filter((place) => isShown(model, examples.group(place)));
  const points = shownGroups(model).map((group) => scatterTrace(model, places.filter((place) => examples.groupPlace(place) === group.place), group, column));
  const log = logarithmic(model, column);
  const lines = fitsOf(model, column, fit).map((each) => fitTrace(each, log));
  const tokens = places.map((place) => examples.responseTokens(place));
  const values = places.map((place) => examples.value(column, place));
  const name = heading(column);
  const layout = {
    xaxis: axis(...logAxis("Response tokens", tokens)),
    yaxis: axis(...(log ? logAxis(name, values) : [name])),
    hovermode: "closest",
    annotations: compact ? [] : fitNote(model, column, fit),
    ...(compact ? { margin: { l: 56, r: 8, t: 8, b: 40 } } : {}),
  };
  const height = compact ? Math.min(380, Math.max(260, width * 0.62)) : Math.min(420, Math.max(300, width * 0.75));
  return { data: [...points, ...lines], layout, height };
}

/** A metric may have zero or negative values, which a logarithm cannot show. */
function logarithmic(model, column) {
  return model.length_moments[column]?.scale === "log";
}

/** Slope and R² inside the chart, where there is one of each to say. */
function fitNote(model, column, fit) {
  const [first] = fitsOf(model, column, fit);
  if (!first || fit === "groups") return [];
  return [
    {
      text: fitWords(first.line), showarrow: false, xref: "paper", yref: "paper", x: 0.99, y: 0.01, xanchor: "right", yanchor: "bottom",
      font: { size: 12, color: cssColour("ink") }, bgcolor: transparent(cssColour("surface"), 0.85), borderpad: 3,
    },
  ];
}

function scatterTrace(model, places, { name, place: index }, column) {
  const { examples } = model;
  const values = places.map((place) => examples.value(column, place));
  return {
    type: "scatter",
    mode: "markers",
    name: plotText(name),
    x: places.map((place) => examples.responseTokens(place)),
    y: values,
    customdata: places,
    text: places.map((place, i) => pointText(examples, place, values[i])),
    hovertemplate: "%{text}<extra></extra>",
    marker: { color: groupColour(index), size: places.length > 400 ? 5 : 7, opacity: 0.65, symbol: groupSymbol(index) },
  };
}

/** What hovering says of an example. */
function pointText(examples, place, value) {
  return `<b>${plotText(examples.id(place))}</b><br>${plotText(examples.group(place))}, ${plural(examples.responseTokens(place), "token")}<br>${number(value)}`;
}

function fitTrace({ name, place, line }, log) {
  const ends = [line.low, line.high];
  const at = ends.map((x) => line.from + line.slope * x);
  const style = place === null ? lineStyle(cssColour("ink"), 2) : lineStyle(groupColour(place), 2, groupDash(place));
  return {
    type: "scatter",
    mode: "lines",
    name: `fit, ${plotText(name)}: ${fitWords(line)}`,
    x: ends.map((x) => 10 ** x),
    y: log ? at.map((y) => 10 ** y) : at,
    line: style,
    hoverinfo: "skip",
  };
}

/** Places of at most `most` examples, evenly spread over the table. */
function evenly(n, most) {
  const step = Math.max(1, n / most);
  return Array.from({ length: Math.min(n, most) }, (_, place) => Math.floor(place * step));
}
