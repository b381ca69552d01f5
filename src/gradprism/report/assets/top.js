// The top of the page: what was found, in sentences and two charts; what was compared is folded beneath.

const MOST_NAMES = 4; // in the title

function topSection() {
  const { model, data } = state;
  const notes = [...model.notes, ...data.notes, ...lostNotes(model)];
  return el(
    "section",
    { id: "top", class: "top", "aria-labelledby": "top-title" },
    el("h1", { id: "top-title" }, groupsInTitle(namesInTitle(model)), dataOfRun(model), " ", el("span", { class: "soft" }, "on "), bdi(model.name), model.ending),
    ...firstScreen(model),
    notices(notes, model.groupNames),
    aboutSection(model),
  );
}

/** The headlines, and the first charts beside each other: the forest or the depth of a run, and lengths. */
function firstScreen(model) {
  let all = false;
  const contrasts = model.contrasts.length > 0;
  const left = contrasts ? forest(model, () => all) : depthFigure(overviewModels(model));
  const lines = headlineList(model, (open) => {
    all = open;
    if (contrasts) left?.follow();
  });
  const right = model.paired ? pairedSlot(model) : lengthSlot(model);
  return [lines, interactionList(model), el("div", { class: "first-charts" }, left && el("div", null, left.legend, left.holder), right)];
}

function pairedSlot(model) {
  const lines = pairedLines(model);
  return lines && el("div", null, lines.legend, lines.holder);
}

/** The compact scatter of a main measure against length under its legend. */
function lengthSlot(model) {
  const column = model.main_measures.map((name) => `${name}:mean`).find((name) => model.examples.columns.includes(name));
  if (column === undefined || model.examples.length === 0) return null;
  const legend = model.groups.length > 1 && groupLegend(model, (place) => markerSwatch(groupColour(place), groupSymbol(place))).box;
  return el("div", null, legend, lengthScatter(model, { compact: true, column: () => column, fit: () => "slope" }).holder);
}

/** All groups; of paired rows the two sides of all rows, without those of each group of rows. */
function namesInTitle({ groupNames, paired }) {
  return paired ? groupNames.slice(0, 2) : groupNames;
}

function groupsInTitle(names) {
  const shown = names.length > MOST_NAMES ? names.slice(0, MOST_NAMES - 1) : names;
  const rest = names.length - shown.length;
  const parts = shown.flatMap((name, place) => {
    const between = place === 0 ? "" : place === names.length - 1 ? " and " : ", ";
    return [between && el("span", { class: "soft" }, between), bdi(name)];
  });
  return rest > 0 ? [...parts, el("span", { class: "soft" }, ` and ${rest} more`)] : parts;
}

/** The data of a run alone, since many runs have one name; not where its label ends in what tells it apart. */
function dataOfRun({ groups, data, ending }) {
  return groups.length === 1 && data && !ending ? el("span", { class: "soft" }, " (", bdi(data), ")") : null;
}

/** Model, data, settings, and the groups with their rows. */
function aboutSection(model) {
  const entries = model.header.map(([name, text]) => el("div", null, el("dt", null, name), el("dd", null, named(text, model.groupNames))));
  const groups = el("div");
  const follow = () => groups.replaceChildren(groupTable(model));
  on("theme", follow);
  follow();
  const rows = model.groups.reduce((sum, group) => sum + group.n, 0);
  const counted = model.paired ? `the same ${plural(model.groups[0].n, "row")} in both` : `${plural(rows, "row")} in ${plural(model.groups.length, "group")}`;
  return el(
    "details",
    { class: "about" },
    el("summary", null, `${model.paired ? "Models" : "Model"}, data and settings; ${counted}`),
    el("dl", { class: "entries" }, entries),
    groups,
    reasons(model),
  );
}

function groupTable({ groups }) {
  const heads = ["Group", "Rows", "Measured", "Skipped", "Failed", "Pending", "Truncated", "Median prompt tokens", "Median response tokens"];
  const counts = (group) => [group.n, group.skipped, group.failed, group.pending, group.truncated].map(whole);
  const rows = groups.map((group, place) => [
    el("span", { class: "group" }, swatch(groupColour(place)), bdi(group.name)),
    el("span", { class: "stacked" }, bdi(group.rule), el("small", null, bdi(group.run))),
    ...counts(group),
    medianCount(group.median_prompt_tokens),
    medianCount(group.median_response_tokens),
  ]);
  return table("The groups and their rows", heads, rows, { texts: 2 });
}

function reasons({ groups }) {
  const rows = groups.flatMap((group) => group.reasons.map(([reason, n]) => [bdi(group.name), whole(n), bdi(reason)]));
  if (rows.length === 0) return null;
  const n = groups.reduce((sum, group) => sum + group.skipped + group.failed, 0);
  return el(
    "details",
    { open: rows.length <= 6 },
    el("summary", null, `${plural(n, "row")} skipped or failed, and why`),
    table("Skipped and failed rows", ["Group", "Rows", "Reason"], rows, { texts: 3 }),
  );
}

/** What the runs and their data no longer give. */
function lostNotes(model) {
  const lost = (what, missing) =>
    Object.entries(missing).map(([group, reason]) => `${what} of ${group} are not in this report: ${reason}`);
  return [...lost("The texts", model.no_texts), ...lost("Curves and singular values of single examples", model.measured_missing)];
}

function notices(notes, names) {
  if (notes.length === 0) return null;
  return el(
    "details",
    { class: "notice", open: notes.length <= 2 },
    el("summary", null, el("strong", null, "To bear in mind"), notes.length > 2 && ` (${plural(notes.length, "note")})`),
    el("ul", null, notes.map((note) => el("li", null, named(note, names)))),
  );
}
