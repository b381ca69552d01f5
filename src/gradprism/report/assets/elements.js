// Elements. What is data enters by textContent or as an attribute's value, never as markup.

const DIRECTION_MARKS = /[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]/g;

/** Text of the data where no element can stand around it, so that nothing turns what follows. */
function plainText(text) {
  return String(text).replace(DIRECTION_MARKS, "");
}

/** An element: `on` holds listeners, `true` an attribute without value, null and false leave it out. */
function el(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : name === "aria-label" ? plainText(value) : value);
    }
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Text from the data, which keeps its own direction. */
function bdi(text) {
  return el("bdi", { dir: "auto" }, text);
}

/** A sentence about the data: each of `names` in it keeps its own direction, and no other word takes it. */
function named(text, names) {
  const longest = [...new Set(names)].filter(Boolean).sort((a, b) => b.length - a.length);
  if (longest.length === 0) return [plainText(text)];
  const found = longest.map((name) => name.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&")).join("|");
  const parts = text.split(new RegExp(`(?<![\\p{L}\\p{N}_])(${found})(?![\\p{L}\\p{N}_])`, "u"));
  return parts.map((part, place) => (place % 2 === 1 ? bdi(part) : plainText(part)));
}

/** A section of the page with a heading that the navigation leads to. */
function section(id, title, ...children) {
  return el("section", { id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title` }, title), ...children);
}

/** A labelled select; `options` are [value, text]; `change` hears the value. */
function select(label, options, value, change) {
  const list = el(
    "select",
    { on: { change: (event) => change(event.target.value) } },
    options.map(([key, text]) => el("option", { value: key, selected: String(key) === String(value) }, plainText(text))),
  );
  return el("label", { class: "field" }, el("span", null, label), list);
}

/** A labelled checkbox. */
function checkbox(label, checked, change) {
  const box = el("input", { type: "checkbox", checked, on: { change: (event) => change(event.target.checked) } });
  return el("label", { class: "check" }, box, label);
}

/** A row of controls above what they change. */
function controls(...children) {
  return el("div", { class: "controls" }, ...children);
}

const scrolling = new ResizeObserver((entries) => entries.forEach(({ target }) => followScroll(target.closest("[data-scrolls]"))));

/** A box in which its content scrolls where it does not fit; only then is it a stop of the tab key. */
function scrollBox(attributes, label, ...children) {
  const box = el("div", { ...attributes, "data-scrolls": label }, ...children);
  scrolling.observe(box);
  for (const child of box.children) scrolling.observe(child);
  return box;
}

function followScroll(box) {
  if (box === null) return;
  if (box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1) {
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", plainText(box.dataset.scrolls));
  } else {
    for (const name of ["tabindex", "role", "aria-label"]) box.removeAttribute(name);
  }
}

function tableBox(caption, name, ...parts) {
  return scrollBox({ class: "table-box" }, caption, el("table", { class: name }, el("caption", { class: "unseen" }, plainText(caption)), ...parts));
}

/** A table in a box of its own; cells are texts, numbers or elements. */
function table(caption, heads, rows, { texts = 1 } = {}) {
  const kind = (place) => (place >= texts ? "number" : null);
  const cell = (value, place) => (place === 0 ? el("th", { scope: "row" }, value) : el("td", { class: kind(place) }, value));
  const head = heads.map((each, place) => el("th", { scope: "col", class: kind(place) }, each));
  return tableBox(caption, null, el("thead", null, el("tr", null, head)), el("tbody", null, rows.map((row) => el("tr", null, row.map(cell)))));
}
