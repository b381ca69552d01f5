// Elements. What is data enters by textContent or as an attribute's value, never as markup.

/** An element: `on` holds listeners, `true` an attribute without value, null and false leave it out. */
function el(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Text from the data, which keeps its own direction. */
function bdi(text) {
  return el("bdi", { dir: "auto" }, text);
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
    options.map(([key, text]) => el("option", { value: key, selected: String(key) === String(value) }, text)),
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

/** A table in a box of its own, in which it scrolls; cells are texts, numbers or elements. */
function table(caption, heads, rows, options = {}) {
  const numeric = (place) => place >= (options.texts ?? 1);
  const cell = (value, place) =>
    place === 0 && !options.plainFirst
      ? el("th", { scope: "row" }, value)
      : el("td", { class: numeric(place) ? "number" : null }, value);
  return el(
    "div",
    { class: "table-box", tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      null,
      el("caption", { class: options.showCaption ? null : "unseen" }, caption),
      el(
        "thead",
        null,
        el("tr", null, heads.map((head, place) => el("th", { scope: "col", class: numeric(place) ? "number" : null }, head))),
      ),
      el("tbody", null, rows.map((row) => el("tr", null, row.map(cell)))),
    ),
  );
}
