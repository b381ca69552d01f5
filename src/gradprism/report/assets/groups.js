// Groups: which of them the charts show, and the legends that hide one and show it again in every chart of the page.

function isShown(model, name) {
  return !state.hiddenGroups.has(name) || model.groups.every((group) => state.hiddenGroups.has(group.name));
}

/** The groups that charts show, each with its place among all, which its colour goes by. */
function shownGroups(model) {
  return model.groups.map((group, place) => ({ ...group, place })).filter(({ name }) => isShown(model, name));
}

function hiddenNames(model) {
  return model.groups.map((group) => group.name).filter((name) => !isShown(model, name));
}

/** How many examples a chart shows of how many, at most `most` of them. */
function shownExamples(model, most = Infinity) {
  const { examples } = model;
  const n = allPlaces().filter((place) => isShown(model, examples.group(place))).length;
  const shown = Math.min(n, most);
  return shown < model.n_examples ? `${whole(shown)} of ${plural(model.n_examples, "example")}` : `All ${plural(shown, "example")}`;
}

/** Hide a group or show it again; where it was the last one shown, all are. */
function toggleGroup(model, name) {
  if (!state.hiddenGroups.delete(name)) state.hiddenGroups.add(name);
  if (model.groups.every((group) => state.hiddenGroups.has(group.name))) state.hiddenGroups.clear();
  tell("groups");
}

/** A legend of buttons: `mark(place)` is how a group is told in the chart, or nothing. `follow` draws the marks anew. */
function groupLegend(model, mark) {
  const buttons = model.groups.map(({ name }) => {
    const title = `Hide or show ${plainText(name)} in every chart`;
    return el("button", { type: "button", class: "group-toggle", title, on: { click: () => toggleGroup(model, name) } });
  });
  const follow = () =>
    model.groups.forEach(({ name }, place) => {
      buttons[place].setAttribute("aria-pressed", String(isShown(model, name)));
      buttons[place].replaceChildren(mark(place) || "", bdi(name));
    });
  for (const what of ["groups", "theme"]) on(what, follow);
  follow();
  return { box: el("div", { class: "legend", role: "group", "aria-label": "Groups" }, buttons), follow };
}

/** Says that a chart of two groups is not drawn while one of them is hidden, and shows them again. */
function hiddenNote(model, pair) {
  const hidden = pair.filter((name) => !isShown(model, name));
  if (hidden.length === 0) return [];
  const show = () => {
    hidden.forEach((name) => state.hiddenGroups.delete(name));
    tell("groups");
  };
  const names = hidden.flatMap((name, place) => [place > 0 ? " and " : "", bdi(name)]);
  const verb = hidden.length > 1 ? " are hidden. " : " is hidden. ";
  return [el("p", { class: "notice" }, names, verb, el("button", { type: "button", class: "quiet", on: { click: show } }, "Show again"))];
}
