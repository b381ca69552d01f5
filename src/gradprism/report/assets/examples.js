// The examples: a table that sorts, filters and turns pages, of which a row opens in full.

const PAGE_ROWS = 25;
const NO_FILTER = { sort: null, descending: false, page: 0, text: "", group: "", least: "", most: "", lasso: null };
const tableChoice = { ...NO_FILTER };

/** Columns of the table: head, value by place, how it is shown. */
function exampleColumns(model) {
  const { examples } = model;
  const measured = (name, head) => ({ key: name, head, over: meanOver(name), value: (place) => examples.value(name, place), show: (place) => examples.shown(name, place) });
  return [
    { key: "id", head: "Example", value: (place) => examples.id(place), text: true },
    { key: "group", head: "Group", value: (place) => examples.group(place), text: true },
    { key: "tokens", head: "Response tokens", value: (place) => examples.responseTokens(place), show: (place) => whole(examples.responseTokens(place)) },
    measured("loss", "Loss"),
    ...model.listedColumns.map((name) => measured(name, heading(name))),
  ];
}

function examplesSection() {
  const { model } = state;
  state.list = null;
  if (model.examples.length === 0) return null;
  const list = new ExampleTable(model);
  state.list = list;
  return section("examples", "Examples", filterControls(model, list), el("div", { class: "count-line" }, list.count, list.save), list.box, list.pages);
}

function filterControls(model, list) {
  const hear = (name) => (event) => list.filter({ [name]: event.target.value });
  const input = (label, name, type, more) =>
    el("label", { class: "field" }, el("span", null, label), el("input", { type, ...more, id: `filter-${name}`, value: tableChoice[name], on: { input: hear(name) } }));
  const groups = [["", "all"], ...model.groups.map((group, place) => [place, group.name])];
  return controls(
    input("Find in id and text", "text", "search", { size: 24, autocomplete: "off", spellcheck: "false" }),
    model.groups.length > 1 && select("Group", groups, tableChoice.group, (value) => list.filter({ group: value })),
    input("Response tokens from", "least", "number", { min: 0, class: "short" }),
    input("to", "most", "number", { min: 0, class: "short" }),
    list.lasso,
  );
}

class ExampleTable {
  constructor(model) {
    this.model = model;
    this.columns = exampleColumns(model);
    this.count = el("p", { class: "count", "aria-live": "polite", id: "count" });
    this.save = el("button", { type: "button", class: "quiet", on: { click: () => saveCsv("examples", exampleRows(model, this.places)) } }, "↓ CSV");
    this.save.setAttribute("aria-label", "Download the filtered examples as CSV");
    this.lasso = el("button", { type: "button", class: "quiet", on: { click: () => keepLasso(null) } }, "In the lasso of the map ✕");
    this.lasso.setAttribute("aria-label", "Clear the lasso of the map");
    this.body = el("tbody");
    this.heads = this.columns.map((column) => this.head(column));
    this.pages = el("div", { class: "pages" });
    const caption = "Examples; arrow keys walk through the rows, Enter opens one in full";
    this.box = tableBox(caption, "examples", el("thead", null, el("tr", null, this.heads)), this.body);
    this.places = [];
    on("lasso", () => this.update());
    on("groups", () => tableChoice.lasso && this.update());
    this.update();
  }

  head(column) {
    const button = el("button", { type: "button", on: { click: () => this.sortBy(column.key) } }, column.head, el("span", { class: "arrow", "aria-hidden": "true" }), column.over && el("small", null, column.over));
    return el("th", { scope: "col", class: column.text ? null : "number", "data-key": column.key, "aria-sort": "none" }, button);
  }

  /** First ascending for texts and descending for numbers, then the other way, then as in the data. */
  sortBy(key) {
    const first = !this.columns.find((column) => column.key === key).text;
    if (tableChoice.sort !== key) Object.assign(tableChoice, { sort: key, descending: first });
    else if (tableChoice.descending === first) tableChoice.descending = !first;
    else tableChoice.sort = null;
    tableChoice.page = 0;
    this.update();
  }

  filter(change) {
    Object.assign(tableChoice, change, { page: 0 });
    this.update();
  }

  turn(page) {
    tableChoice.page = page;
    this.show();
    this.box.scrollTop = 0;
  }

  update() {
    this.places = sorted(matching(this.model), this.columns.find((column) => column.key === tableChoice.sort));
    tableChoice.page = Math.max(0, Math.min(tableChoice.page, Math.ceil(this.places.length / PAGE_ROWS) - 1));
    this.lasso.toggleAttribute("hidden", tableChoice.lasso === null);
    const n = this.model.examples.length;
    this.count.textContent = this.places.length === n ? plural(n, "example") : `${whole(this.places.length)} of ${plural(n, "example")}`;
    this.heads.forEach((head) => {
      const on = head.dataset.key === tableChoice.sort;
      head.setAttribute("aria-sort", on ? (tableChoice.descending ? "descending" : "ascending") : "none");
    });
    this.show();
  }

  show() {
    const start = tableChoice.page * PAGE_ROWS;
    const places = this.places.slice(start, start + PAGE_ROWS);
    this.body.replaceChildren(...places.map((place) => this.row(place)));
    if (places.length === 0) this.body.append(el("tr", null, el("td", { colspan: this.columns.length, class: "empty" }, "No example matches.")));
    this.pages.replaceChildren(...this.pageButtons());
    if (places.length > 0) this.stopAt(this.body.firstChild);
  }

  /** The row that the tab key stops at: one of them all. */
  stopAt(row) {
    for (const each of this.body.rows) each.tabIndex = each === row ? 0 : -1;
  }

  row(place) {
    const open = () => openDetail(place, this.places);
    const keys = (event) => rowKey(event, open);
    const stop = (event) => this.stopAt(event.currentTarget);
    const row = el("tr", { tabindex: "-1", "data-place": place, on: { click: open, keydown: keys, focus: stop } });
    row.append(...this.columns.map((column) => this.cell(column, place)));
    return row;
  }

  cell(column, place) {
    if (column.key === "id") return el("th", { scope: "row" }, el("span", { class: "stacked" }, bdi(column.value(place)), this.snippet(place)));
    if (column.key === "group") return el("td", null, el("span", { class: "group" }, swatch(groupColour(this.model.examples.groupPlace(place))), bdi(column.value(place))));
    return el("td", { class: "number" }, column.show(place));
  }

  snippet(place) {
    const turns = this.model.examples.turns(place);
    const first = turns?.find(([role]) => role !== "system") ?? turns?.[0];
    return first ? el("small", { class: "snippet", dir: "auto" }, first[1].slice(0, 160).replace(/\s+/g, " ")) : null;
  }

  pageButtons() {
    const last = Math.max(0, Math.ceil(this.places.length / PAGE_ROWS) - 1);
    if (last === 0) return [];
    const { page } = tableChoice;
    const button = (text, label, to, off) =>
      el("button", { type: "button", class: "quiet", "aria-label": label, disabled: off, on: { click: () => this.turn(to) } }, text);
    const start = page * PAGE_ROWS;
    return [
      button("« First", "First page", 0, page === 0),
      button("‹ Previous", "Previous page", page - 1, page === 0),
      el("span", null, `${whole(start + 1)}–${whole(Math.min(start + PAGE_ROWS, this.places.length))} of ${whole(this.places.length)}`),
      button("Next ›", "Next page", page + 1, page === last),
      button("Last »", "Last page", last, page === last),
    ];
  }
}

function rowKey(event, open) {
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    open();
  }
  const row = event.currentTarget;
  const others = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling, Home: row.parentNode.firstChild, End: row.parentNode.lastChild };
  const next = Object.hasOwn(others, event.key) ? others[event.key] : null;
  if (next) {
    event.preventDefault();
    next.focus();
  }
}

/** All that the page knows of these examples but their texts and curves, in their order. */
function exampleRows({ examples }, places) {
  const fixed = ["row", "n_prompt_tokens", "n_response_tokens", "truncated", "loss"];
  const columns = [...fixed, ...examples.columns];
  const row = (place) => Object.fromEntries(columns.map((name) => [name, examples.value(name, place)]));
  return places.map((place) => ({ group: examples.group(place), example_id: examples.id(place), ...row(place) }));
}

/** Places of the examples that pass every filter, in the order of the data. */
function matching(model) {
  const { examples } = model;
  const { text, group, least, most, lasso } = tableChoice;
  const wanted = text.trim().toLowerCase();
  const passes = (place) =>
    (group === "" || examples.groupPlace(place) === Number(group)) &&
    (least === "" || examples.responseTokens(place) >= Number(least)) &&
    (most === "" || examples.responseTokens(place) <= Number(most)) &&
    (lasso === null || isInLasso(model, place)) &&
    (wanted === "" || searched(examples, place).includes(wanted));
  return Array.from({ length: examples.length }, (_, place) => place).filter(passes);
}

/** Id and text of an example in lower case, made once. */
function searched(examples, place) {
  examples.searched ??= [];
  examples.searched[place] ??= [examples.id(place), ...(examples.turns(place) ?? []).map(([, content]) => content)].join("\n").toLowerCase();
  return examples.searched[place];
}

/** Rows without a value come last, whichever way they are sorted. */
function sorted(places, column) {
  if (!column) return places;
  const sign = tableChoice.descending ? -1 : 1;
  const order = column.text ? new Intl.Collator(undefined, { numeric: true }).compare : (a, b) => a - b;
  return [...places].sort((a, b) => {
    const [x, y] = [column.value(a), column.value(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * order(x, y);
  });
}
