// The top of the page: what is compared, of which rows, and what a reader must know.

function topSection() {
  const { model, data } = state;
  const names = model.groups.map((group) => group.name);
  return el(
    "section",
    { id: "top", class: "top", "aria-labelledby": "top-title" },
    el("p", { class: "eyebrow" }, `GradPrism ${data.version} · ${names.length > 1 ? "comparison" : "run"}`),
    el("h1", { id: "top-title" }, headline(names), dataOfRun(model), " ", el("span", { class: "soft" }, "on "), bdi(model.name), model.number),
    el("dl", { class: "entries" }, model.header.map(([name, text]) => el("div", null, el("dt", null, name), el("dd", null, named(text, model.groupNames))))),
    groupTable(model),
    reasons(model),
    notices([...model.notes, ...data.notes, ...lostNotes(model)], model.groupNames),
  );
}

function headline(names) {
  return names.flatMap((name, place) => {
    const between = place === 0 ? "" : place === names.length - 1 ? " and " : ", ";
    return [between && el("span", { class: "soft" }, between), bdi(name)];
  });
}

/** The data of a run alone, since many runs have one name. */
function dataOfRun({ groups, data }) {
  return groups.length === 1 && data ? el("span", { class: "soft" }, " (", bdi(data), ")") : null;
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
    "aside",
    { class: "notice", "aria-label": "Notes" },
    el("strong", null, "To bear in mind"),
    el("ul", null, notes.map((note) => el("li", null, named(note, names)))),
  );
}
