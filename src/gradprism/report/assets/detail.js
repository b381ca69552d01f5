// One example in full: its text with the response marked, its numbers, its curves and its singular values.

const detail = { place: null, places: [], opener: null };

/** Open an example; `places` is the list that the arrows walk through. */
function openDetail(place, places) {
  const dialog = document.getElementById("detail");
  detail.places = places ?? (state.list.places.includes(place) ? state.list.places : allPlaces());
  detail.opener = document.activeElement;
  if (!dialog.open) dialog.showModal();
  showDetail(place);
  dialog.scrollTop = 0;
}

function allPlaces() {
  return Array.from({ length: state.model.examples.length }, (_, place) => place);
}

function startDetail() {
  const dialog = document.getElementById("detail");
  dialog.addEventListener("keydown", detailKey);
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", closeDetail);
}

function closeDetail() {
  const dialog = document.getElementById("detail");
  forgetDetailPlots();
  dialog.replaceChildren();
  const row = document.querySelector(`tr[data-place="${detail.place}"]`);
  (row ?? detail.opener)?.focus({ preventScroll: row === null });
  detail.place = null;
}

function detailKey(event) {
  const typing = ["INPUT", "SELECT"].includes(event.target.tagName) || event.altKey || event.ctrlKey || event.metaKey;
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step === undefined || typing) return;
  event.preventDefault();
  stepDetail(step);
}

function stepDetail(step) {
  const next = detail.places[detail.places.indexOf(detail.place) + step];
  if (next === undefined) return;
  showDetail(next);
  document.getElementById("detail").scrollTop = 0;
}

function showDetail(place) {
  const dialog = document.getElementById("detail");
  const focused = dialog.contains(document.activeElement) ? document.activeElement.id : null;
  detail.place = place;
  forgetDetailPlots();
  dialog.replaceChildren(
    el("div", { class: "detail" }, detailHead(place), el("div", { class: "detail-body" }, shadableText(place), el("div", null, detailNumbers(place), detailPlots(place)))),
  );
  const again = ["detail-previous", "detail-next"].includes(focused) ? document.getElementById(focused) : null;
  (again === null || again.disabled ? document.getElementById("detail-close") : again).focus();
}

function detailHead(place) {
  const { examples } = state.model;
  const index = detail.places.indexOf(place);
  const button = (id, text, label, action, off) => el("button", { type: "button", class: "quiet", id, "aria-label": label, disabled: off, on: { click: action } }, text);
  const group = examples.groupPlace(place);
  return el(
    "div",
    { class: "detail-head" },
    el("h2", { id: "detail-title" }, bdi(examples.id(place)), el("span", { class: "group" }, swatch(groupColour(group)), bdi(examples.group(place)))),
    el(
      "div",
      { class: "detail-tools" },
      el("span", { class: "soft" }, `${whole(index + 1)} of ${whole(detail.places.length)}`),
      button("detail-previous", "‹", "Previous example", () => stepDetail(-1), index <= 0),
      button("detail-next", "›", "Next example", () => stepDetail(1), index >= detail.places.length - 1),
      button("detail-close", "Close", "Close", () => document.getElementById("detail").close(), false),
    ),
  );
}

function detailText(place) {
  const { model } = state;
  const turns = model.examples.turns(place);
  if (turns === null) {
    const reason = model.no_texts[model.examples.group(place)] || "The data has no such row.";
    return el("div", { class: "turns" }, el("p", { class: "notice" }, "The text is not in this report: ", named(reason, model.groupNames)));
  }
  return el("div", { class: "turns" }, turns.map((turn) => turnBox(turn, turns, place)));
}

const ROLES = { user: "Prompt", assistant: "Response", system: "System", tool: "Tool" };

/** On which part of a turn the gradient rests. */
function lossNote(role, scored, place) {
  const { examples } = state.model;
  if (!scored) return role === "assistant" ? "no loss tokens" : "";
  return examples.value("truncated", place)
    ? `cut at the greatest length: the loss is of the first ${plural(examples.responseTokens(place), "response token")}`
    : "the loss and its gradient are of this text";
}

function turnBox([role, content, cut, scored], turns, place) {
  const alone = turns.filter(([each]) => each === "user").length <= 1;
  const name = alone && Object.hasOwn(ROLES, role) ? ROLES[role] : capital(role);
  const note = lossNote(role, scored, place);
  const box = scrollBox({ class: "text", dir: "auto" }, name, content || "(empty)");
  return el(
    "section",
    { class: scored ? "turn response" : "turn", "data-role": role },
    el("h3", null, bdi(name), note && el("span", { class: "soft" }, ` – ${note}`)),
    box,
    cut > 0 && el("p", { class: "caption" }, `… ${whole(cut)} more characters, left out of this report`),
  );
}

function detailNumbers(place) {
  const { examples, listedColumns } = state.model;
  const entries = [
    ["Row", whole(examples.value("row", place))],
    ["Prompt tokens", whole(examples.value("n_prompt_tokens", place))],
    ["Response tokens", whole(examples.responseTokens(place)) + (examples.value("truncated", place) ? " (truncated)" : "")],
    ["Loss", number(examples.value("loss", place))],
    ...listedColumns.map((name) => [heading(name), examples.shown(name, place), meanOver(name)]),
  ];
  const entry = ([name, value, over]) => el("div", null, el("dt", null, name, over && el("small", null, over)), el("dd", null, value));
  return el("dl", { class: "entries small" }, entries.map(entry));
}
