// Downloads: charts as SVG, and the numbers of charts and tables as CSV, made on the page and sent nowhere.

const FORMULA = /^[=+\-@\t\r]/;
const LEGEND_ROW = 20; // pixels, in an SVG

/** Rows as CSV. Text that a spreadsheet would take for a formula gets a ' in front, as in what the package writes. */
function csvText(rows) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  return [names, ...rows.map((row) => names.map((name) => row[name]))].map((cells) => `${cells.map(csvCell).join()}\n`).join("");
}

function csvCell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  const text = FORMULA.test(value) ? `'${value}` : value;
  return text === "" || /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Name columns of a comparison's tables for readers: `q` beside a projection q is p, adjusted. */
function namedForReaders(row) {
  const named = ([name, value]) => [name.replace(/(^|_)q$/, "$1p_adj"), Array.isArray(value) ? value.join(" ") : value];
  return Object.fromEntries(Object.entries(row).map(named));
}

/** A file's name: groups and model, then what is in it, in letters and digits of any script. */
function fileName(what, ending) {
  const { label, groupNames } = state.model;
  const groups = groupNames.length > 1 ? [...groupNames.join("-")].slice(0, 40).join("") : "";
  const name = `${groups} ${label} ${what}`.replace(/[^\p{L}\p{N}._]+/gu, "-").replace(/^[-.]+|-+$/g, "");
  return `${[...name].slice(0, 120).join("")}.${ending}`;
}

function saveFile(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

function saveCsv(what, rows) {
  saveFile(fileName(what, "csv"), "text/csv", csvText(rows.map(namedForReaders)));
}

async function saveSvg(what, box) {
  await redraw(box, true);
  saveFile(fileName(what, "svg"), "image/svg+xml", await svgOf(box, `${plainText(state.model.label)}: ${box.getAttribute("aria-label")}`));
}

/** A drawn chart as SVG, with the legend that the page has beside it and its label for screen readers. */
async function svgOf(box, label) {
  const { layout } = box;
  const { data, height } = withLegend(box.data, layout.width - layout.margin.l);
  const bottom = layout.margin.b + height;
  const whole = {
    ...layout,
    showlegend: height > 0,
    legend: { orientation: "h", x: 0, xanchor: "left", y: 0, yanchor: "bottom", yref: "container", font: { size: 12 } },
    margin: { ...layout.margin, b: bottom },
    paper_bgcolor: cssColour("ground"),
  };
  const size = { width: layout.width, height: layout.height + height };
  const address = await window.Plotly.toImage({ data, layout: { ...whole, ...size } }, { format: "svg", ...size });
  const escaped = label.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return decodeURIComponent(address.slice(address.indexOf(",") + 1)).replace(/^(<svg[^>]*>)/, (start) => `${start}<title>${escaped}</title>`);
}

/** Traces of which the first of each name is in the legend, and the height of that legend. */
function withLegend(traces, width) {
  const names = new Set();
  const data = traces.map((trace) => {
    const first = Boolean(trace.name) && trace.showlegend !== false && !names.has(trace.name);
    if (first) names.add(trace.name);
    return { ...trace, showlegend: first };
  });
  const widest = 50 + 7 * Math.max(0, ...[...names].map((name) => name.length));
  const rows = Math.ceil(names.size / Math.max(1, Math.floor(width / widest)));
  return { data, height: rows === 0 ? 0 : LEGEND_ROW * rows + 12 };
}

/** The buttons under a chart; `download` holds what it shows in words and the rows of its numbers, both functions. */
function downloadButtons(box, { what, rows }) {
  const button = (text, label, save) => el("button", { type: "button", class: "quiet", "aria-label": label, on: { click: save } }, text);
  return el(
    "div",
    { class: "downloads" },
    button("↓ SVG", "Download this chart as SVG", () => saveSvg(what(), box)),
    button("↓ CSV", "Download the numbers of this chart as CSV", () => saveCsv(what(), rows())),
  );
}
