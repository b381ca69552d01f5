// Paired rows: what changed in each, and whether one group of rows changed more than another.

const PAIRED_HEADS = ["Measure", "Verdict", "Ratio", P_ADJUSTED, "Rows", "Higher in"];

/** The name of a group of rows, of a side such as `after: careful`; all rows have none. */
function rowsOfSide(model, side) {
  const whole = `${model.contrasts[0][0]}: `;
  return side.startsWith(whole) ? side.slice(whole.length) : null;
}

/** Under the headlines of a paired comparison: did one group of rows change more than another? */
function interactionList(model) {
  const found = (model.paired?.interactions ?? []).filter(({ measure }) => model.main_measures.includes(measure));
  if (found.length === 0) return null;
  const pairs = [...new Map(found.map((each) => [keyOf([each.first, each.second]), [each.first, each.second]])).values()];
  const items = pairs.map(([first, second]) =>
    el("li", null,
      el("div", null, "Did ", el("strong", null, bdi(first)), " change more than ", el("strong", null, bdi(second)), "?"),
      el("div", null, headlinesOf(found.filter((each) => each.first === first && each.second === second)))),
  );
  const list = el("ul", null, items);
  if (pairs.length === 1) return el("div", { class: "headlines" }, list);
  return el("details", { class: "headlines" }, el("summary", null, `Did one group of rows change more than another? ${plural(pairs.length, "answer")}`), list);
}

/** A line a row from one side to the other, a panel for each main measure; thick lines are geometric means. */
function pairedLines(model) {
  const lines = new Table(model.paired.lines).rows();
  if (lines.length === 0) return null;
  const measures = [...new Set(lines.map((line) => line.measure))];
  const groups = [...new Set(lines.filter((line) => line.mark === "mean").map((line) => line.group))];
  const [first, second] = model.contrasts[0];
  const label = `Lines of rows from ${second} to ${first}: ${measures.map(title).join(" and ")}.`;
  const over = groups.length > 1 ? "those of each group of rows" : "that of all rows";
  const caption = `A thin line is a row in ${plainText(second)} and ${plainText(first)}; thick lines are geometric means, ${over}. Mean over layers and projections, log scale.`;
  const drawn = figure(label, caption, (width) => drawPairs(width, lines, measures, groups, [second, first]), null, { what: () => "paired rows", rows: () => lines });
  const legend = groups.length > 1 && el("div", { class: "legend" }, groups.map((name) => el("span", { class: "group" }, swatch(pairColour(model, name)), bdi(name))));
  return { holder: drawn.holder, legend };
}

/** The colour of a group of rows: that of its first side; ink for all rows. */
function pairColour(model, name) {
  const place = model.groups.findIndex((group) => group.name === `${model.contrasts[0][0]}: ${name}`);
  if (place >= 0) return groupColour(place);
  return cssColour(name === "other rows" ? "muted" : "ink");
}

function drawPairs(width, lines, measures, groups, sides) {
  const gap = 0.16;
  const wide = (1 - gap * (measures.length - 1)) / measures.length;
  const layout = { annotations: [], margin: { l: 56, r: 12, t: 26, b: 32 }, hovermode: "closest" };
  const data = measures.flatMap((measure, place) => {
    const suffix = place === 0 ? "" : place + 1;
    const own = lines.filter((line) => line.measure === measure);
    const values = own.flatMap((line) => [line.first, line.second]);
    layout[`xaxis${suffix}`] = axis("", {
      domain: [place * (wide + gap), place * (wide + gap) + wide], anchor: `y${suffix}`, range: [-0.25, 1.25], showgrid: false, zeroline: false, fixedrange: true,
      tickvals: [0, 1], ticktext: sides.map((side) => plotText(side, 16)),
    });
    layout[`yaxis${suffix}`] = axis("", { type: "log", ...logTicks(values), anchor: `x${suffix}`, zeroline: false });
    layout.annotations.push(panelTitle(heading(measure), suffix));
    return groups.flatMap((group) => pairTraces(own.filter((line) => line.group === group), group, groups.length, own.length)).map((trace) => ({ ...trace, xaxis: `x${suffix}`, yaxis: `y${suffix}` }));
  });
  return { data, layout, height: Math.min(380, Math.max(280, width * 0.6)) };
}

/** The rows of a group as one trace with gaps, and its mean. */
function pairTraces(lines, group, groups, n) {
  const rows = lines.filter((line) => line.mark === "row");
  const mean = lines.find((line) => line.mark === "mean");
  const colour = pairColour(state.model, group);
  const change = (line) => `${number(line.second)} → ${number(line.first)}, ×${ratio(line.first / line.second)}`;
  const each = (values, gap = null) => rows.flatMap((line) => [...values(line), gap]);
  return [
    {
      type: "scatter", mode: "lines", x: each(() => [0, 1]), y: each((line) => [line.second, line.first]),
      text: each((line) => Array(2).fill(`${plotText(line.example_id, 40)}<br>${change(line)}`), ""), hovertemplate: "%{text}<extra></extra>",
      line: { color: groups > 1 ? colour : cssColour("muted"), width: 1 }, opacity: Math.min(0.6, Math.max(0.15, 14 / n)),
    },
    {
      type: "scatter", mode: "lines+markers", x: [0, 1], y: [mean.second, mean.first], text: Array(2).fill(`<b>${plotText(group, 40)}</b> (${plural(mean.n, "row")})<br>${change(mean)}`),
      hovertemplate: "%{text}<extra></extra>", line: { color: colour, width: 3 }, marker: { color: colour, size: 8 },
    },
  ];
}

function pairedRow(name, row, finding, kind = null) {
  return el(
    "tr",
    { class: kind },
    el("th", { scope: "row" }, name),
    el("td", null, finding ? kindTag(finding.kind) : ""),
    numberCell(ratioCell(row, "raw_effect", "raw_effect_low", "raw_effect_high", row.q)),
    numberCell(probability(row.q)),
    numberCell(whole(row.paired_rows)),
    numberCell(`${whole(row.paired_higher)} of ${whole(row.paired_rows)}`),
  );
}

/** Roughness over layers of both sides, and its change. */
function madChanges(model) {
  const rows = new Table(model.paired.mad_changes).rows().filter((row) => row.projection === "mean" && model.main_measures.includes(row.measure));
  if (rows.length === 0) return null;
  const [first, second] = model.contrasts[0];
  const cells = rows.map((row) => {
    const change = difference(row.difference, row.difference_low, row.difference_high);
    if (row.q !== null && row.q < state.data.alpha) change.classList.add("strong");
    return [heading(row.measure), bdi(rowsOfSide(model, row.first) ?? "all rows"), number(row.mad_first), number(row.mad_second), change, probability(row.q)];
  });
  return el("details", null, el("summary", null, "Roughness over layers, and how it changed"),
    table("Roughness over layers", ["Measure", "Rows", bdi(first), bdi(second), "difference", P_ADJUSTED], cells, { texts: 2 }),
    el("p", { class: "caption" }, "Mean absolute difference of neighbouring layers of the mean curve (MAD), mean over projections. Intervals: bootstrap over rows; p: exchange of the two sides of rows."));
}
