// Ablations: whether training on a selection beats training on random rows, at equal tokens.

const RANDOM = "random";

function ablationsSection() {
  const { ablations } = state.data;
  if (ablations.length === 0) return null;
  return section(
    "ablations",
    "Ablation: does the chosen set train a better model?",
    el("p", { class: "lead" }, "Every arm trains from the same weights on exactly as many response tokens, in as many steps. Below 0: lower loss on held-out rows than rows drawn at random give. It holds for this model, budget and schedule."),
    ...ablations.flatMap((ablation) => ablationParts(ablation, ablations.length > 1)),
  );
}

function ablationParts(ablation, several) {
  const evals = [...new Set(ablation.curves.map((row) => row.eval))];
  const arms = [...new Set(ablation.curves.map((row) => row.arm))];
  const differences = evals.length > 0 && figure(
    `Loss of each arm less that of random rows on ${evals.join(", ")}, with 95% intervals. The table has the same numbers.`,
    `Intervals over evaluation rows and ${plural(ablation.seeds, "seed")}. Filled: differs from random rows (Holm over arms).`,
    (width) => drawDifferences(ablation.effects, evals, arms, width),
    null,
    { what: () => `${ablation.name} differences`, rows: () => ablation.effects },
  );
  const curves = evals.length > 0 && figure(
    `Loss along the training on ${evals.join(", ")}, a line for each arm.`,
    `Mean over ${plural(ablation.seeds, "seed")}, nats a response token.`,
    (width) => drawLossCurves(ablation.curves, evals, arms, width),
    null,
    { what: () => `${ablation.name} curves`, rows: () => ablation.curves },
  );
  return [
    several && el("h3", null, bdi(ablation.name)),
    el("ul", { class: "findings" }, ablation.sentences.map(([name, said]) => el("li", null, el("strong", null, "On ", bdi(name), ": "), said))),
    ablation.problems.length > 0 && el("p", { class: "soft" }, `Not trained: ${plainText(ablation.problems.join("; "))}`),
    ...(evals.length > 0 ? [differences.holder, armLegend(arms), curves.holder] : []),
    ablation.effects.length > 0 && effectsOfArms(ablation),
    ablation.score_effects.length > 0 && scoresOfArms(ablation),
    budgetsOfArms(ablation),
    el("p", { class: "caption" }, `${plainText(ablation.model)}, ${ablation.lora_rank ? `LoRA of rank ${ablation.lora_rank}` : "all weights"}: ${whole(ablation.tokens)} response tokens in ${plural(ablation.steps, "step")}.`),
  ].filter(Boolean);
}

function armLook(arms, arm) {
  const place = arms.indexOf(arm);
  return { colour: arm === RANDOM ? cssColour("ink") : groupColour(place), symbol: groupSymbol(place) };
}

function armLegend(arms) {
  const entry = (arm) => {
    const mark = () => markerSwatch(armLook(arms, arm).colour, armLook(arms, arm).symbol);
    const item = el("span", { class: "legend-item" }, mark(), bdi(arm));
    on("theme", () => item.firstChild.replaceWith(mark()));
    return item;
  };
  return el("div", { class: "legend" }, arms.map(entry));
}

/** A panel for each evaluation set, a row for each arm. */
function drawDifferences(effects, evals, arms, width) {
  const tried = arms.filter((arm) => arm !== RANDOM);
  if (effects.length === 0) return null;
  const names = tried.map((arm) => plotText(arm, 26));
  const panels = evals.map((name) => ({
    title: plotText(name),
    data: tried.flatMap((arm, place) => effects.filter((row) => row.eval === name && row.arm === arm).map((row) => differenceTrace(row, names[place]))),
  }));
  const y = { text: "", more: { categoryorder: "array", categoryarray: [...names].reverse(), automargin: true } };
  const drawn = grid(width, panels, { text: "loss less that of random rows", more: { zeroline: true } }, y, 280, 60 + 30 * tried.length);
  drawn.layout.margin.l = Math.min(0.4 * width, 24 + 6.6 * Math.max(...names.map((name) => name.length)));
  return drawn;
}

function differenceTrace(row, name) {
  const colour = cssColour("accent");
  const known = row.low !== null;
  return {
    type: "scatter",
    mode: "markers",
    x: [row.difference],
    y: [name],
    error_x: known ? { type: "data", symmetric: false, array: [row.high - row.difference], arrayminus: [row.difference - row.low], color: colour, thickness: 1.5, width: 0 } : undefined,
    marker: { size: 9, color: row.verdict === "beats random" || row.verdict === "is worse than random" ? colour : cssColour("surface"), line: { color: colour, width: 1.6 } },
    hovertemplate: `${plotText(row.arm)}<br>${withInterval(row.difference, row.low, row.high)}<br>${row.verdict}<extra></extra>`,
  };
}

function drawLossCurves(curves, evals, arms, width) {
  const panels = evals.map((name) => ({ title: plotText(name), data: arms.map((arm) => curveTrace(curves.filter((row) => row.eval === name && row.arm === arm), arms, arm)) }));
  const drawn = grid(width, panels, { text: "response tokens trained on", more: {} }, { text: "loss (nats a token)", more: {} }, 280, 270);
  panels.forEach((_, place) => {
    const own = drawn.layout[`yaxis${place === 0 ? "" : place + 1}`];
    delete own.matches; // losses on different rows have no common scale
    own.showticklabels = true;
  });
  return drawn;
}

function curveTrace(rows, arms, arm) {
  const { colour, symbol } = armLook(arms, arm);
  return {
    type: "scatter",
    mode: "lines+markers",
    name: plotText(arm),
    x: rows.map((row) => row.tokens),
    y: rows.map((row) => row.loss),
    line: { color: colour, width: arm === RANDOM ? 2.4 : 1.6 },
    marker: { color: colour, symbol, size: 7 },
    customdata: rows.map((row) => [number(row.lowest), number(row.highest)]),
    hovertemplate: `${plotText(arm)}<br>%{x:,} tokens: %{y:.3f}<br>seeds from %{customdata[0]} to %{customdata[1]}<extra></extra>`,
  };
}

function effectsOfArms({ effects }) {
  const heads = ["Arm", "On", "Verdict", "Less random", "p (Holm)", "Tokens to match", "Visible"];
  const rows = effects.map((row) => [
    bdi(row.arm), bdi(row.eval), row.verdict, withInterval(row.difference, row.low, row.high), probability(row.p_holm),
    row.tokens_to_match === null ? "–" : share(row.tokens_to_match / row.tokens), number(row.visible),
  ]); // prettier-ignore
  return table("Every arm beside random rows", heads, rows, { texts: 3 });
}

function scoresOfArms({ score_effects: effects }) {
  const heads = ["Arm", "Task", "Metric", "Verdict", "Before", "Score", "Less random", "p (Holm)", "Visible"];
  const rows = effects.map((row) => [
    bdi(row.arm), bdi(row.task), bdi(row.metric), row.verdict, number(row.score_before), number(row.score),
    withInterval(row.difference, row.low, row.high), probability(row.p_holm), number(row.visible),
  ]); // prettier-ignore
  return table("Scores on tasks of lm-evaluation-harness", heads, rows, { texts: 4 });
}

function budgetsOfArms({ budgets }) {
  const heads = ["Arm", "Rows", "Response tokens", "Prompt tokens", "Median response"];
  const rows = budgets.map((row) => [bdi(row.arm), whole(row.rows), whole(row.response_tokens), whole(row.prompt_tokens), number(row.median_response)]);
  return el("details", null, el("summary", null, "What each arm trained on"), table("What each arm trained on", heads, rows));
}
