// Plots: drawn when they come near the window, drawn again when what they show, the theme or their width changes.

const CONFIG = { displaylogo: false, responsive: false, displayModeBar: false, doubleClick: "reset" };
const TOUCH = window.matchMedia("(pointer: coarse)").matches;
const plots = new Map(); // box -> {draw, click, drawn, width}
let nearby = null;
let widths = null;

function plotlyIsThere() {
  if (window.Plotly) return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("DOMContentLoaded", resolve, { once: true }));
}

/**
 * A figure with a caption: `draw(width)` gives {data, layout, height}, or null where there is nothing to draw;
 * `label` is what a screen reader says; `click` hears plotly's point; `download` is what the figure may be saved as;
 * `lasso` hears the corners of plotly's lasso, or null where it is taken away.
 */
function figure(label, caption, draw, click = null, download = null, lasso = null) {
  const box = el("div", { class: "plot", role: "img", "aria-label": label });
  const words = el("figcaption", null, ...[caption].flat());
  const holder = el("figure", null, box, download && downloadButtons(box, download), words);
  plots.set(box, { draw, click, lasso, drawn: false, width: 0, waiting: null });
  nearby.observe(box);
  widths.observe(box);
  return {
    holder,
    box,
    redraw: () => redraw(box),
    label: (text) => box.setAttribute("aria-label", plainText(text)),
    caption: (parts) => words.replaceChildren(...[parts].flat()),
  };
}

function startPlots() {
  nearby = new IntersectionObserver(
    (entries) => entries.filter((entry) => entry.isIntersecting).forEach((entry) => redraw(entry.target, true)),
    { rootMargin: "600px" },
  );
  widths = new ResizeObserver((entries) => entries.forEach((entry) => resized(entry.target)));
  window.addEventListener("beforeprint", () => plots.forEach((_, box) => redraw(box, true)));
}

function resized(box) {
  const plot = plots.get(box);
  if (plot?.drawn && Math.abs(box.clientWidth - plot.width) > 4) redraw(box);
}

function clearPlots() {
  for (const box of plots.keys()) forget(box);
}

function forget(box) {
  nearby.unobserve(box);
  widths.unobserve(box);
  if (plots.get(box)?.drawn) window.Plotly.purge(box);
  plots.delete(box);
}

/** Draw what is already drawn anew; `first` also draws what is not. */
function redraw(box, first = false) {
  const plot = plots.get(box);
  if (!plot || !(first ? !plot.drawn : plot.drawn)) return plot?.waiting ?? Promise.resolve();
  plot.drawn = true;
  plot.waiting = plotlyIsThere().then(() => (plots.has(box) ? render(box, plot) : null));
  return plot.waiting;
}

function redrawAll() {
  plots.forEach((_, box) => redraw(box));
}

async function render(box, plot) {
  const width = box.clientWidth;
  if (width === 0) {
    plot.drawn = false;
    return;
  }
  plot.width = width;
  const { data, layout, height } = plot.draw(width);
  const fresh = !box.classList.contains("js-plotly-plot");
  await window.Plotly.react(box, data, { ...baseLayout(), ...layout, width, height }, CONFIG);
  if (fresh && plot.click) box.on("plotly_click", (event) => plot.click(event.points[0]));
  if (fresh && plot.lasso) {
    const hear = (event) => event?.lassoPoints && plot.lasso(event.lassoPoints); // without, it tells of points that are drawn anew
    box.on("plotly_selected", hear);
    box.on("plotly_deselect", () => plot.lasso(null));
  }
}

/** Draw the rest while nothing else is to be done, so that scrolling finds everything there. */
function drawInIdleTime() {
  const later = window.requestIdleCallback ?? ((task) => setTimeout(task, 60));
  const next = () => {
    const box = [...plots.entries()].find(([, plot]) => !plot.drawn)?.[0];
    if (!box) return;
    redraw(box, true).then(() => later(next));
  };
  later(next);
}

function baseLayout() {
  return {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif', size: 12, color: cssColour("ink") },
    margin: { l: 64, r: 12, t: 12, b: 44 },
    dragmode: TOUCH ? false : "zoom",
    showlegend: false,
    hoverlabel: { bgcolor: cssColour("surface"), bordercolor: cssColour("line-strong"), font: { color: cssColour("ink"), size: 12 } },
    separators: ".,",
  };
}

function axis(text, more = {}) {
  return {
    title: { text, standoff: 6, font: { size: 12, color: cssColour("muted") } },
    gridcolor: cssColour("line"),
    linecolor: cssColour("line-strong"),
    zerolinecolor: cssColour("line-strong"),
    tickfont: { size: 11, color: cssColour("muted") },
    ticks: "outside",
    ticklen: 3,
    tickcolor: cssColour("line-strong"),
    ...more,
  };
}

/**
 * Panels in a grid that share their axes: `panels` are {title, data: traces without axes}. Returns data and layout;
 * `x` and `y` are axis options, `least` the narrowest panel in pixels.
 */
function grid(width, panels, x, y, least = 250, rowHeight = 270) {
  const columns = Math.max(1, Math.min(panels.length, Math.floor(width / least), 4));
  const rows = Math.ceil(panels.length / columns);
  const height = rows * rowHeight + 30;
  const layout = { annotations: [], shapes: [], margin: { l: 64, r: 10, t: 26, b: 44 } };
  const data = panels.flatMap((panel, place) => {
    const suffix = place === 0 ? "" : place + 1;
    const [column, row] = [place % columns, Math.floor(place / columns)];
    const last = place + columns >= panels.length;
    placeAxes(layout, suffix, { column, row, columns, rows, height, last }, x, y);
    layout.annotations.push(panelTitle(panel.title, suffix));
    return panel.data.map((trace) => ({ ...trace, xaxis: `x${suffix}`, yaxis: `y${suffix}` }));
  });
  return { data, layout, height };
}

function placeAxes(layout, suffix, { column, row, columns, rows, height, last }, x, y) {
  const [gapX, gapY] = [0.025, rows > 1 ? 52 / height : 0];
  const [wide, high] = [(1 - gapX * (columns - 1)) / columns, (1 - gapY * (rows - 1)) / rows];
  const left = column * (wide + gapX);
  const top = 1 - row * (high + gapY);
  const shared = suffix === "" ? {} : { matches: "y" };
  layout[`xaxis${suffix}`] = axis(last ? x.text : "", {
    ...x.more,
    domain: [left, left + wide],
    anchor: `y${suffix}`,
    ...(suffix === "" ? {} : { matches: "x" }),
  });
  layout[`yaxis${suffix}`] = axis(column === 0 ? y.text : "", {
    ...y.more,
    ...shared,
    domain: [top - high, top],
    anchor: `x${suffix}`,
    showticklabels: column === 0,
  });
}

function panelTitle(text, suffix) {
  return {
    text: `<b>${text}</b>`,
    xref: `x${suffix} domain`,
    yref: `y${suffix} domain`,
    x: 0,
    y: 1,
    xanchor: "left",
    yanchor: "bottom",
    showarrow: false,
    align: "left",
    font: { size: 12.5 },
  };
}

/** A line at the chosen layer in each of `n` panels. */
function layerLines(n) {
  return Array.from({ length: n }, (_, place) => {
    const suffix = place === 0 ? "" : place + 1;
    return {
      type: "line",
      xref: `x${suffix}`,
      yref: `y${suffix} domain`,
      x0: state.layer,
      x1: state.layer,
      y0: 0,
      y1: 1,
      line: { color: cssColour("accent"), width: 1.5, dash: "dot" },
    };
  });
}

/** A logarithmic axis of these values under its name. */
function logAxis(text, values) {
  return [`${text} (log scale)`, { type: "log", ...logTicks(values) }];
}

/** Powers of ten; 1, 2 and 5 times those where they are few; within less than that, even steps. */
function logTicks(values) {
  const positive = values.filter((value) => value > 0);
  if (positive.length === 0) return {};
  const low = positive.reduce((a, b) => Math.min(a, b));
  const high = positive.reduce((a, b) => Math.max(a, b));
  const within = (ticks) => ticks.filter((tick) => tick >= low / 1.1 && tick <= high * 1.1);
  const [from, to] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const powers = Array.from({ length: to - from + 1 }, (_, place) => 10 ** (from + place));
  const spans = Math.log10(high / low);
  const candidates = [spans > 2.5 ? within(powers) : [], within(powers.flatMap((power) => [1, 2, 5].map((step) => step * power)))];
  const ticks = candidates.find((found) => found.length > 2) ?? evenSteps(low, high);
  const kept = ticks.filter((_, place) => place % Math.ceil(ticks.length / 8) === 0);
  return { tickvals: kept, ticktext: kept.map(tickText) };
}

/** About four round numbers between two. */
function evenSteps(low, high) {
  if (low === high) return [low];
  const about = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(about));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= about);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, place) => (first + place) * step);
}

function tickText(tick) {
  const exact = Number(tick.toPrecision(6));
  return number(exact, exact.toExponential().split("e")[0].replace(".", "").length);
}

/** The longest stretches of places at which a condition holds. */
function stretches(n, holds) {
  const found = [];
  for (let place = 0; place < n; place += 1) {
    if (!holds(place)) continue;
    if (place > 0 && holds(place - 1)) found[found.length - 1].push(place);
    else found.push([place]);
  }
  return found;
}

/** The area between two curves; it ends where one of them does and goes on after the gap. */
function band(xs, lows, highs, colour, opacity = 0.16) {
  const there = stretches(xs.length, (place) => lows[place] !== null && highs[place] !== null).filter((places) => places.length > 1);
  const around = (values, others) =>
    there.flatMap((places, which) => [...(which > 0 ? [null] : []), ...places.map((p) => values[p]), ...[...places].reverse().map((p) => others[p])]);
  return {
    x: around(xs, xs),
    y: around(highs, lows),
    fill: "toself",
    mode: "lines",
    line: { width: 0 },
    fillcolor: transparent(colour, opacity),
    hoverinfo: "skip",
  };
}

/** A line with gaps where there is no value, and a point where a value stands alone. */
function gappedLine(x, y, line, more = {}) {
  const alone = new Set(stretches(x.length, (place) => y[place] !== null).filter((places) => places.length === 1).flat());
  const marker = { color: line.color, size: x.map((_, place) => (alone.has(place) ? 6 : 0)) };
  return { x, y, mode: alone.size > 0 ? "lines+markers" : "lines", connectgaps: false, line, ...(alone.size > 0 ? { marker } : {}), ...more };
}
