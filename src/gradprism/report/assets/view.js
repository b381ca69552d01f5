// The view: what is chosen on the page, kept in its address, so that a link opens the page as it was left.

/** How a choice stands in the address: `write` gives texts, `read` the value; undefined is no value. */
const AS_TEXT = { write: (value) => (value === null ? [] : [String(value)]), read: ([text]) => text };
const AS_COUNT = { ...AS_TEXT, read: ([text]) => (/^\d{1,9}$/.test(text) ? Number(text) : undefined) };
const AS_LIMIT = { ...AS_TEXT, read: ([text]) => (Number.isFinite(Number(text)) ? text : undefined) };
const AS_FLAG = { write: (value) => (value === null ? [] : [value ? "1" : "0"]), read: ([text]) => text === "1" };
const AS_NAMES = { write: (names) => (names.size === 0 ? [""] : [...names]), read: (names) => new Set(names.filter(Boolean)) };
const AS_CORNERS = {
  write: (corners) => (corners === null ? [] : [corners.flat().join("_")]),
  read: ([text]) => {
    const numbers = text.split("_").map(Number);
    const corners = numbers.flatMap((x, at) => (at % 2 === 0 ? [[x, numbers[at + 1]]] : []));
    return corners.length > 2 && corners.length <= MOST_CORNERS && corners.flat().every(Number.isFinite) ? corners : undefined;
  },
};
const asOneOf = (values) => ({ ...AS_TEXT, read: ([text]) => values().find((each) => String(each) === text) });

const chosenModel = {
  get place() {
    return state.model.place;
  },
  set place(place) {
    state.model = state.models[place] ?? state.models[0];
  },
};

/** What is kept: its name in the address, where it stands, and how it is written. */
const VIEW = [
  ["model", chosenModel, "place", AS_COUNT],
  ["measure", state, "measure", AS_TEXT],
  ["contrast", state, "contrast", AS_COUNT],
  ["layer", state, "layer", AS_COUNT],
  ["hide", state, "hiddenGroups", AS_NAMES],
  ["without", state, "hidden", AS_NAMES],
  ["panels", curveChoice, "panels", asOneOf(() => ["groups", "projections"])],
  ["log", curveChoice, "log", AS_FLAG],
  ["bands", curveChoice, "bands", AS_FLAG],
  ["effects", effectChoice, "show", asOneOf(() => ["both", ...Object.keys(HEATMAPS)])],
  ["distribution", distributionChoice, "column", AS_TEXT],
  ["drawn", distributionChoice, "drawn", asOneOf(() => ["points", "ecdf"])],
  ["distribution-log", distributionChoice, "log", AS_FLAG],
  ["length", lengthChoice, "column", AS_TEXT],
  ["fit", lengthChoice, "fit", asOneOf(() => FITS.map(([name]) => name))],
  ["correlation", correlationChoice, "kind", asOneOf(() => ["raw", "partial"])],
  ["target", targetChoice, "metric", AS_TEXT],
  ["map", mapChoice, "colour", AS_TEXT],
  ["drag", mapChoice, "drag", asOneOf(() => ["zoom", "lasso"])],
  ["lasso", tableChoice, "lasso", AS_CORNERS],
  ["find", tableChoice, "text", AS_TEXT],
  ["group", tableChoice, "group", asOneOf(() => Object.keys(state.model.groups))],
  ["from", tableChoice, "least", AS_LIMIT],
  ["to", tableChoice, "most", AS_LIMIT],
  ["sort", tableChoice, "sort", asOneOf(() => exampleColumns(state.model).map(({ key }) => key))],
  ["descending", tableChoice, "descending", AS_FLAG],
  ["page", tableChoice, "page", AS_COUNT],
  ["example", detail, "place", AS_COUNT],
  ["example-curves", detailPlot, "measure", asOneOf(() => state.model.measured.measures)],
  ["pooled", detailPlot, "pooled", AS_FLAG],
];
const LATER = 150; // milliseconds after what a reader does, when the page has followed
let firstView = null;

function writtenChoices() {
  return VIEW.map(([, where, name, { write }]) => write(where[name]));
}

/** The view as the address has it: what differs from the page as it opens. */
function viewText() {
  const params = new URLSearchParams();
  writtenChoices().forEach((texts, at) => {
    if (keyOf(texts) !== keyOf(firstView.texts[at])) texts.forEach((text) => params.append(VIEW[at][0], text));
  });
  return params.toString();
}

function keepView() {
  const text = viewText();
  const there = window.location.hash.slice(1);
  if (text === there || (text === "" && !there.includes("="))) return;
  window.history.replaceState(null, "", text === "" ? "#" : `#${text}`);
}

/** Choose what the address says, and leave all else as the page opens; what does not exist in it is passed over. */
function readView() {
  const params = new URLSearchParams(window.location.hash.slice(1));
  VIEW.forEach(([key, where, name, { read }], at) => {
    const found = params.has(key) ? read(params.getAll(key)) : undefined;
    const first = firstView.values[at];
    where[name] = found ?? (first instanceof Set ? new Set(first) : first);
  });
}

/** Show the view of the address. An example is opened once the page is there. */
function openView() {
  const dialog = document.getElementById("detail");
  if (dialog.open) {
    dialog.addEventListener("close", openView, { once: true });
    dialog.close();
    return;
  }
  readView();
  const { place } = detail;
  detail.place = null;
  showModel(state.model.place);
  if (place !== null && place < state.model.examples.length) openDetail(place, null);
}

/** Follow the address from now on, and have it follow what is chosen. */
function startView() {
  firstView = { texts: writtenChoices(), values: VIEW.map(([, where, name]) => (where[name] instanceof Set ? new Set(where[name]) : where[name])) };
  let waiting = null;
  const later = () => {
    clearTimeout(waiting);
    waiting = setTimeout(keepView, LATER);
  };
  for (const event of ["input", "change", "click", "pointerup", "keyup"]) window.addEventListener(event, later, true);
  window.addEventListener("hashchange", () => {
    const there = window.location.hash.slice(1);
    if (there !== viewText() && (there === "" || there.includes("="))) openView();
    else keepView();
  });
  if (window.location.hash.includes("=")) openView();
}
