// Correlations of measures and metrics over the examples of all groups, raw or length-controlled.

const correlationChoice = { kind: "raw" };
const NUMBER_FITS = 30; // pixels of a cell
const LETTER = 5.6; // pixels of a letter of a label

function correlationsSection() {
  const { model } = state;
  const rows = model.tables.correlations.rows();
  if (rows.length === 0) return null;
  const names = [...new Set(rows.flatMap((row) => [row.x, row.y]))];
  const plot = figure(correlationLabel(names), "", (width) => drawCorrelations(width, names, rows), null, { what: () => "correlations", rows: () => rows });
  on("groups", () => caption());
  const caption = () => plot.caption(correlationCaption(model, rows));
  caption();
  const kinds = [["raw", "raw"], ["partial", "length-controlled (partial)"]];
  const kind = select("Correlation", kinds, correlationChoice.kind, (value) => {
    correlationChoice.kind = value;
    caption();
    plot.redraw();
  });
  return section("correlations", "Correlations", controls(kind), plot.holder, correlationTable(rows));
}

function correlationLabel(names) {
  return `Matrix of the correlations of ${names.map(title).join(", ")}. The table below has the numbers.`;
}

function correlationCaption({ groups }, rows) {
  const raw = correlationChoice.kind === "raw";
  const hidden = hiddenNames(state.model).length > 0 ? ", those of hidden groups too" : "";
  const pooled = groups.length > 1 ? `The examples of all groups are pooled${hidden}: groups that were chosen as extremes make correlations larger than among all rows. ` : "";
  return (
    `Spearman's rank correlation${raw ? "" : ", given prompt and response tokens"}, n = ${countRange(rows.map((row) => row.n ?? 0))}. ${pooled}` +
    `In the order of a clustering. Grey: the diagonal, and pairs without a value${raw ? "" : " (the lengths themselves have none)"}. ` +
    `Point at a cell for n, the 95% interval and ${P_ADJUSTED} (Benjamini–Hochberg); bold, or a dot where no number fits: ${P_ADJUSTED} < ${state.data.alpha}.`
  );
}

function correlationColumns() {
  return correlationChoice.kind === "raw"
    ? { value: "spearman", low: "low", high: "high", q: "q" }
    : { value: "partial", low: "partial_low", high: "partial_high", q: "partial_q" };
}

function drawCorrelations(width, names, rows) {
  const columns = correlationColumns();
  const found = new Map(rows.flatMap((row) => [[keyOf([row.x, row.y]), row], [keyOf([row.y, row.x]), row]]));
  const cell = (y, x) => (x === y ? { same: true } : found.get(keyOf([y, x])));
  const cells = names.map((y) => names.map((x) => cell(y, x)));
  const shown = names.map((name) => plotText(title(name), 30));
  const places = names.map((_, place) => place);
  const left = Math.min(170, width * 0.36);
  const labels = names.map((name) => plotText(title(name), Math.floor(left / LETTER)));
  const size = Math.max(16, Math.min(46, (width - left - 60) / names.length));
  const map = {
    type: "heatmap",
    x: places, y: places,
    z: cells.map((row) => row.map((each) => each?.[columns.value] ?? null)),
    text: cells.map((row, y) => row.map((each, x) => `<b>${shown[y]} · ${shown[x]}</b><br>${correlationText(each, columns)}`)),
    hovertemplate: "%{text}<extra></extra>",
    hoverongaps: false,
    zmin: -1, zmax: 1, zmid: 0, colorscale: divergingScale(), xgap: 1, ygap: 1,
    colorbar: { thickness: 9, outlinewidth: 0, tickfont: { size: 10, color: cssColour("muted") }, nticks: 5, x: 1.01 },
  };
  const upright = size < 24;
  const below = upright ? left : left * 0.8;
  const height = size * names.length + below + 60;
  const margin = { l: left, r: Math.max(56, width - left - size * names.length), t: 8, b: below };
  const categories = { tickvals: places, ticktext: labels, showgrid: false, zeroline: false, automargin: false, fixedrange: true };
  const layout = {
    margin, xaxis: axis("", { ...categories, tickangle: upright ? -90 : -45 }), yaxis: axis("", { ...categories, range: [names.length - 0.5, -0.5] }),
    annotations: size < NUMBER_FITS ? [] : cells.flatMap((row, y) => row.map((each, x) => cellNumber(each, columns, x, y))).filter(Boolean),
  };
  const dots = significanceDots({ x: places, y: places }, cells, (each) => size < NUMBER_FITS && isSignificant(each, columns));
  return { data: [map, ...greyCells(map), dots], layout, height };
}

/** The cells of a map that have no value, if any; they answer the mouse in its place. */
function greyCells(map) {
  const z = map.z.map((row) => row.map((value) => (value === null ? 0 : null)));
  const grey = cssColour("map-missing");
  return z.flat().includes(0) ? [{ ...map, z, colorscale: [[0, grey], [1, grey]], showscale: false, hoverongaps: false }] : [];
}

function isSignificant(cell, { value, q }) {
  return Boolean(cell) && !cell.same && cell[value] !== null && cell[q] !== null && cell[q] < state.data.alpha;
}

function correlationText(cell, { value, low, high, q }) {
  if (!cell || (!cell.same && cell[value] === null)) return "not computed";
  if (cell.same) return "itself";
  return `ρ ${share(cell[value])} ${interval(cell[low], cell[high], share)}, ${adjusted(cell[q])}, n ${whole(cell.n)}`;
}

function cellNumber(cell, columns, x, y) {
  const { value } = columns;
  if (!cell || cell.same || cell[value] === null) return null;
  const strong = Math.abs(cell[value]) > 0.8;
  const colour = strong && !isDark() ? "#ffffff" : strong ? "#10141a" : cssColour("ink");
  const text = isSignificant(cell, columns) ? `<b>${share(cell[value])}</b>` : share(cell[value]);
  return { x, y, text, showarrow: false, font: { size: 10.5, color: colour } };
}

function correlationTable(rows) {
  const body = rows.map((row) => [
    el("span", null, title(row.x), " · ", title(row.y)),
    whole(row.n),
    difference(row.spearman, row.low, row.high, share),
    probability(row.q),
    difference(row.partial, row.partial_low, row.partial_high, share),
    probability(row.partial_q),
  ]);
  const heads = ["Pair", "n", "Spearman", P_ADJUSTED, "Length-controlled", P_ADJUSTED];
  return el("details", null, el("summary", null, "The same as a table"), table("Correlations", heads, body));
}
