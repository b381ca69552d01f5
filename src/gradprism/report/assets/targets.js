// Targets: how far the gradient of each example points the way that the rows of a target ask for.

const targetChoice = { metric: null };

function targetsSection() {
  const { targets } = state.model;
  if (targets.length === 0) return null;
  const body = el("div");
  const show = () => body.replaceChildren(...targetParts(state.model, targets.find(({ metric }) => metric === targetChoice.metric) ?? targets[0]));
  const choose = (metric) => {
    targetChoice.metric = metric;
    body.querySelectorAll(".plot").forEach(forget);
    show();
  };
  show();
  return section(
    "targets",
    "Influence on targets",
    el("p", { class: "lead" }, "The cosine of each example's gradient with the mean gradient of a target: above 0, a step on the example lowers the target's loss, to first order. It is no prediction of a whole training, and a row that is in the target itself counts in that mean."),
    targets.length > 1 && controls(select("Target", targets.map(({ metric }) => [metric, heading(metric)]), targetChoice.metric ?? targets[0].metric, choose)),
    body,
  );
}

function targetParts(model, target) {
  const { metric, about, findings, highest, lowest } = target;
  const plot = figure(targetLabel(metric), targetCaption(model), (width) => drawTarget(model, metric, width), openPoint, {
    what: () => metric,
    rows: () => distributionRows(model, metric),
  });
  on("groups", () => {
    plot.caption(targetCaption(model));
    plot.redraw();
  });
  const legend = groupLegend(model, (place) => markerSwatch(groupColour(place), groupSymbol(place)));
  const fit = model.groups.length > 1 ? "slope" : "pooled";
  const scatter = lengthScatter(model, { column: () => metric, fit: () => fit });
  return [
    el("h3", null, heading(metric), about && el("span", { class: "soft" }, ` – ${about}`)),
    legend.box,
    el("div", { class: "pair even" }, plot.holder, scatter.holder),
    findings.length > 0 && el("ul", { class: "findings" }, findings.map(findingItem)),
    el("div", { class: "pair even" }, extremes(model, "Highest", highest), extremes(model, "Lowest", lowest)),
  ].filter(Boolean);
}

function targetLabel(metric) {
  return `Points and boxes of the ${title(metric)}, by group. The table of examples has the same numbers.`;
}

function targetCaption(model) {
  return `${shownExamples(model)}. Box: quartiles and median of the group; line: from its 5% to its 95% quantile. Click a point to open the example.`;
}

function drawTarget(model, metric, width) {
  const { data, layout, height } = pointsAndBoxes(model, distributionGroups(model, metric), width);
  return { data, height, layout: { ...layout, xaxis: axis(heading(metric)), hovermode: "closest" } };
}

/** The rows at one end, of all examples, also of those that the page does not show. */
function extremes(model, which, rows) {
  const body = rows.map((row) => el("tr", null, el("td", null, listedExample(model, row)), numberCell(number(row.value))));
  const heads = [[`${which} of all examples`, null], ["Cosine", "number"]].map(([text, kind]) => el("th", { scope: "col", class: kind }, text));
  return rows.length > 0 && tableBox(`${which} influence`, "listed", el("thead", null, el("tr", null, heads)), el("tbody", null, body));
}
