// The forest: the ratio of two groups for each contrast and main measure, raw above length-controlled.

const FOREST_ROWS = [29, 46]; // pixels of a row: at least, at most
const ESTIMATES = [
  { name: "raw", effect: "raw_effect", low: "raw_effect_low", high: "raw_effect_high", q: "q", symbol: "circle-open" },
  { name: "length-controlled", effect: "weighted_effect", low: "weighted_low", high: "weighted_high", q: "weighted_q", symbol: "circle" },
  { name: "windows", effect: "window_effect", low: "window_low", high: "window_high", q: "window_q", symbol: "diamond" },
];

const PAIRED_ESTIMATE = { ...ESTIMATES[0], name: "in the same rows", symbol: "circle" };

/** The estimates that some row has; of paired rows the one that there is. */
function estimatesOf(rows) {
  if (rows.some((row) => row.paired_rows !== null)) return [PAIRED_ESTIMATE];
  return ESTIMATES.filter(({ effect }) => rows.some((row) => row[effect] !== null));
}

/** A figure that follows hidden groups; `all()` says whether contrasts beyond the first are drawn too. */
function forest(model, all) {
  const rows = () => forestRows(model, all());
  if (rows().length === 0) return null;
  const plot = figure("", forestCaption(rows()), (width) => drawForest(rows(), width), chooseContrast, {
    what: () => "ratios",
    rows: () => rows().map((row) => ({ ...row })),
  });
  const follow = () => {
    plot.label(forestLabel(rows()));
    plot.caption(forestCaption(rows()));
    plot.redraw();
  };
  on("groups", follow);
  follow();
  return { ...plot, follow };
}

/** Rows of EFFECTS of means over layers and projections, by measure and then contrast; only those that are ratios. */
function forestRows(model, all) {
  const pairs = model.orderedContrasts.slice(0, all ? undefined : mostHeadlines(model));
  const shown = pairs.filter((pair) => model.paired || pair.every((name) => isShown(model, name)));
  const found = model.main_measures.flatMap((measure) => (shown.length > 0 ? shown : pairs).map((pair) => model.effect(pair, measure, "mean", null)));
  return found.filter((row) => row?.regression_scale === "log" && row.raw_effect !== null);
}

function chooseContrast({ customdata }) {
  state.contrast = state.model.contrasts.findIndex((pair) => keyOf(pair) === customdata);
  tell("contrast");
}

function forestLabel(rows) {
  const said = rows.map((row) => `${row.first} against ${row.second}, ${title(row.measure)}: ${estimatesOf([row]).map((each) => `${each.name} ${ratio(row[each.effect])}`).join(", ")}`);
  return `Forest plot of ratios. ${said.join("; ")}.`;
}

function forestCaption(rows) {
  if (rows.some((row) => row.paired_rows !== null)) return "Geometric mean over rows of each row's ratio, first over second, of means over layers and projections. Lines: 95% intervals.";
  const controlled = rows.some((row) => row.weighted_effect !== null);
  const words = controlled ? ", filled length-controlled (overlap weights)" : "; this comparison is of an earlier version and has no overlap weights";
  const pale = controlled && rows.some((row) => row.no_support) ? ", pale without common support in length" : "";
  const windows = rows.find((row) => row.window_effect !== null);
  const diamonds = windows ? `, diamonds in the first ${plural(windows.window_tokens, "token")}` : "";
  return `Ratio of the first group to the second, mean over layers and projections. Hollow: raw${words}${pale}${diamonds}. Lines: 95% intervals.`;
}

function drawForest(rows, width) {
  const measures = [...new Set(rows.map((row) => row.measure))];
  const labels = measures.flatMap((measure) => [{ measure }, ...rows.filter((row) => row.measure === measure).map((row) => ({ measure, row }))]);
  const common = state.model.paired !== null || new Set(rows.map((row) => row.second)).size === 1;
  const left = common ? Math.min(150, width * 0.3) : Math.min(200, Math.max(width * 0.36, 110));
  const text = ({ measure, row }) => (row ? forestRowLabel(row, common, left) : `<b>${heading(measure)}</b>`);
  const [low, high] = ratioRange(rows);
  const layout = {
    margin: { l: left, r: 12, t: 6, b: 40 },
    xaxis: axis(`${forestRatio(rows, common)} (log scale)`, { type: "log", range: [Math.log10(low), Math.log10(high)], ...ratioTicks(low, high), zeroline: false }),
    yaxis: axis("", {
      tickvals: labels.map((_, place) => place), ticktext: labels.map(text), range: [labels.length - 0.5, -0.6], showgrid: false, zeroline: false, fixedrange: true, ticks: "",
      tickfont: { size: 11.5, color: cssColour("ink") },
    }),
    shapes: [{ type: "line", xref: "x", yref: "paper", x0: 1, x1: 1, y0: 0, y1: 1, line: { color: cssColour("muted"), width: 1.5 } }],
    hovermode: "closest",
  };
  const estimates = estimatesOf(rows);
  const above = (place) => (place - (estimates.length - 1) / 2) * (estimates.length > 2 ? 0.28 : 0.38);
  const data = estimates.flatMap((estimate, place) => [false, true].map((pale) => forestTrace(labels, estimate, above(place), pale))).filter((trace) => trace.x.length > 0);
  return { data, layout, height: 50 + labels.length * Math.max(FOREST_ROWS[0], Math.min(FOREST_ROWS[1], 280 / labels.length)) };
}

function forestRatio(rows, common) {
  if (state.model.paired) return `Ratio of ${plotText(state.model.contrasts[0][0], 20)} to ${plotText(state.model.contrasts[0][1], 20)}`;
  return `Ratio of the first ${common ? `to ${plotText(rows[0].second, 24)}` : "to the second"}`;
}

/** The groups of a row; where all rows have one second group, the axis names it. */
function forestRowLabel({ first, second }, common, left) {
  const most = Math.floor(left / 6.4);
  if (state.model.paired) return plotText(rowsOfSide(state.model, first) ?? "all rows", most);
  if (common) return plotText(first, most);
  const each = Math.floor((most - 3) / 2);
  return `${plotText(first, each)} / ${plotText(second, each)}`;
}

/** Estimates with their intervals: those with common support in length, or the pale ones without it. */
function forestTrace(labels, estimate, above, pale) {
  const isPale = (row) => estimate.effect === "weighted_effect" && Boolean(row.no_support);
  const found = labels.map(({ row }, place) => ({ row, place })).filter(({ row }) => row && row[estimate.effect] !== null && isPale(row) === pale);
  const colour = cssColour(estimate.name === "raw" ? "muted" : "accent");
  const at = ({ row }) => Math.exp(row[estimate.effect]);
  const to = (end, sign) => found.map((each) => (each.row[estimate[end]] === null ? 0 : sign * (Math.exp(each.row[estimate[end]]) - at(each))));
  return {
    type: "scatter", mode: "markers", name: estimate.name,
    x: found.map(at),
    y: found.map(({ place }) => place + above),
    customdata: found.map(({ row }) => keyOf([row.first, row.second])),
    text: found.map(({ row }) => forestText(row)),
    hovertemplate: "%{text}<extra></extra>",
    opacity: pale ? 0.4 : 1,
    marker: { color: colour, size: 8, symbol: estimate.symbol, line: { color: colour, width: 1.8 } },
    error_x: { type: "data", symmetric: false, array: to("high", 1), arrayminus: to("low", -1), color: colour, thickness: 1.8, width: 0 },
  };
}

function forestText(row) {
  const line = ({ name, effect, low, high, q }) => `${name} ${ratio(row[effect])} ${interval(row[low], row[high], ratio)}, ${adjusted(row[q])}`;
  const lines = estimatesOf([row]).map(line);
  return [`<b>${plotText(row.first)} against ${plotText(row.second)}</b>, ${title(row.measure)}`, ...lines, row.no_support && row.weighted_effect !== null ? "no common support in length" : ""].filter(Boolean).join("<br>");
}

/** Of what is drawn, with 1 in it; intervals without common support do not widen it, and end at its edge. */
function ratioRange(rows) {
  const ends = rows.flatMap((row) => [row.raw_effect, row.raw_effect_low, row.raw_effect_high, row.weighted_effect, row.window_low, row.window_high, ...(row.no_support ? [] : [row.weighted_low, row.weighted_high])]);
  const logs = [0, ...ends.filter((end) => end !== null && end !== undefined)];
  const [low, high] = [Math.min(...logs), Math.max(...logs)];
  const room = Math.max(0.04 * (high - low), 0.02);
  return [Math.exp(low - room), Math.exp(high + room)];
}

/** Ticks of an axis of ratios, of which 1 is always one. */
function ratioTicks(low, high) {
  const { tickvals = [] } = logTicks([low, high]);
  const far = (tick) => Math.abs(Math.log(tick)) > 0.12 * Math.log(high / low);
  const kept = [...tickvals.filter((tick) => tick !== 1 && far(tick)), 1].sort((a, b) => a - b);
  return { tickvals: kept, ticktext: kept.map(tickText) };
}
