// The data of the page: its tables, its models, and what is chosen on it.

function embedded(id) {
  return JSON.parse(document.getElementById(id).textContent);
}

const keyOf = (parts) => parts.map((part) => (part === null ? "" : part)).join("\u0001");

/** A table that came column by column; strings as places in a list of their kinds. */
class Table {
  constructor(columns) {
    this.columns = columns;
    this.names = Object.keys(columns);
    const first = columns[this.names[0]];
    this.length = (first.index ?? first).length;
    this.lookups = new Map();
  }

  value(name, row) {
    const column = this.columns[name];
    if (column.kinds === undefined) return column[row];
    return column.index[row] === null ? null : column.kinds[column.index[row]];
  }

  row(row) {
    return Object.fromEntries(this.names.map((name) => [name, this.value(name, row)]));
  }

  rows() {
    return Array.from({ length: this.length }, (_, row) => this.row(row));
  }

  /** The row whose columns `names` have these values; null where there is none. */
  find(names, values) {
    const id = names.join();
    if (!this.lookups.has(id)) {
      const rows = Array.from({ length: this.length }, (_, row) => row);
      this.lookups.set(id, new Map(rows.map((row) => [keyOf(names.map((name) => this.value(name, row))), row])));
    }
    const row = this.lookups.get(id).get(keyOf(values));
    return row === undefined ? null : this.row(row);
  }
}

/** The examples of one model that are on the page, by their place. */
class Examples {
  constructor(raw, groups) {
    this.raw = raw;
    this.groups = groups;
    this.length = raw.row.length;
    this.columns = Object.keys(raw.values);
  }

  id(place) {
    return this.raw.example_id[place];
  }

  group(place) {
    return this.groups[this.raw.group[place]].name;
  }

  groupPlace(place) {
    return this.raw.group[place];
  }

  responseTokens(place) {
    return this.raw.n_response_tokens[place];
  }

  /** A column of the table: a layer mean `measure:projection`, a metric, or one of the fixed columns. */
  value(name, place) {
    return Object.hasOwn(this.raw.values, name) ? this.raw.values[name][place] : this.raw[name][place];
  }

  /** Where the map has an example, [x, y]; null where it has no sketch. */
  mapped(place) {
    const { map } = this.raw;
    return map && map[0][place] !== null ? [map[0][place], map[1][place]] : null;
  }

  /** The place of a row of a group; undefined where the page does not show it. */
  placeOf(group, row) {
    this.places ??= new Map(this.raw.row.map((each, place) => [keyOf([this.raw.group[place], each]), place]));
    return this.places.get(keyOf([group, row]));
  }

  /** A value as it is read; a column of whole numbers without decimals. */
  shown(name, place) {
    this.wholes ??= new Map();
    if (!this.wholes.has(name)) this.wholes.set(name, this.raw.row.every((_, each) => Number.isInteger(this.value(name, each) ?? 0)));
    return this.wholes.get(name) ? whole(this.value(name, place)) : number(this.value(name, place));
  }

  /** The turns [role, text, characters cut, scored]; null where there is no text. */
  turns(place) {
    const text = this.raw.text[place];
    return text === null ? null : texts()[text];
  }
}

/** One comparison: a model, its groups and everything that is known of them. */
class Model {
  constructor(raw, place) {
    Object.assign(this, raw);
    this.place = place;
    this.tables = Object.fromEntries(Object.entries(raw.tables).map(([name, columns]) => [name, new Table(columns)]));
    this.examples = new Examples(raw.examples, raw.groups);
  }

  get measured() {
    this.readMeasured ??= new Measured(embedded(`measured-${this.place}`));
    return this.readMeasured;
  }

  level(group, measure, projection, layer) {
    return this.tables.levels.find(["group", "measure", "projection", "layer"], [group, measure, projection, layer]);
  }

  effect([first, second], measure, projection, layer) {
    const names = ["first", "second", "measure", "projection", "layer"];
    return this.tables.effects.find(names, [first, second, measure, projection, layer]);
  }

  /** The rows of LEVELS over all layers: where nothing is known they hold nulls, so that a line has a gap there. */
  curve(group, measure, projection) {
    const none = { n: 0, mean: null, mean_low: null, mean_high: null, median: null, q25: null, q75: null };
    return this.layers.map((layer) => this.level(group, measure, projection, layer) ?? { layer, ...none });
  }

  /** The rows of DECAY of a group and projection, by index. */
  decays(group, projection) {
    return this.tables.decay.rows().filter((row) => row.group === group && row.projection === projection && row.median !== null);
  }

  /** The columns of the examples that are listed beside lengths and loss: layer means of two measures, and metrics. */
  get listedColumns() {
    const metrics = this.metrics.filter((name) => !["length", "prompt_length", "loss"].includes(name));
    return ["nuclear_norm:mean", "effective_rank:mean", ...metrics].filter((name) => this.examples.columns.includes(name));
  }

  /** The contrasts in the order of their findings, decided ones first; those without findings last. */
  get orderedContrasts() {
    const order = new Map();
    for (const { first, second } of this.findings) order.set(keyOf([first, second]), order.get(keyOf([first, second])) ?? order.size);
    const place = (pair) => order.get(keyOf(pair)) ?? Infinity;
    return [...this.contrasts].sort((a, b) => (place(a) === place(b) ? 0 : place(a) - place(b)));
  }

  get groupNames() {
    return this.groups.map((group) => group.name);
  }

  /** Measures and cosines that have a curve over layers, and for each its projections or pairs. */
  get curved() {
    if (this.foundCurved === undefined) {
      this.foundCurved = new Map();
      const { levels } = this.tables;
      for (let row = 0; row < levels.length; row += 1) {
        const [measure, projection] = [levels.value("measure", row), levels.value("projection", row)];
        if (projection === null || levels.value("layer", row) === null || levels.value("mean", row) === null) continue;
        if (!this.foundCurved.has(measure)) this.foundCurved.set(measure, new Set());
        this.foundCurved.get(measure).add(projection);
      }
    }
    return this.foundCurved;
  }

  get curvedMeasures() {
    const known = [...this.measures, "adjacent_cosine", "same_layer_cosine"].filter((name) => this.curved.has(name));
    return [...known, ...[...this.curved.keys()].filter((name) => !known.includes(name))];
  }

  /** Projections or pairs of a measure, those measured first and their mean last. */
  projectionsOf(measure) {
    const found = [...(this.curved.get(measure) ?? [])];
    const place = (name) => (this.projections.includes(name) ? this.projections.indexOf(name) : 500);
    const order = (name) => (name === "mean" ? 1000 : place(name));
    return found.sort((a, b) => order(a) - order(b));
  }
}

let readTexts = null;

/** All texts; read when the first is needed. */
function texts() {
  readTexts ??= embedded("texts");
  return readTexts;
}

const state = {
  data: null,
  models: [],
  model: null, // the one that is shown
  measure: "effective_rank", // of the curves and the effects
  contrast: 0,
  layer: null,
  hidden: new Set(["mean"]), // projections that are not drawn
  hiddenGroups: new Set(), // names of groups that are not drawn
};

const listeners = new Map();

/** Hear when something chosen changes: `layer`, `measure`, `contrast`, `projections`, `groups`, `lasso`, `theme`. */
function on(what, listener) {
  listeners.set(what, [...(listeners.get(what) ?? []), listener]);
}

function tell(what) {
  for (const listener of listeners.get(what) ?? []) listener();
}

function chooseLayer(layer) {
  const { layers } = state.model;
  if (!layers.includes(layer) || layer === state.layer) return;
  state.layer = layer;
  tell("layer");
}

function readData() {
  state.data = embedded("data");
  state.models = state.data.models.map((raw, place) => new Model(raw, place));
  const { contrasts, orderedContrasts } = state.models[0];
  state.contrast = Math.max(contrasts.indexOf(orderedContrasts[0]), 0);
}

/** Show another model; the layer and the contrast stay where it has them. */
function chooseModel(place) {
  state.model = state.models[place];
  const { layers, contrasts, curvedMeasures } = state.model;
  if (!layers.includes(state.layer)) state.layer = layers[Math.floor(layers.length / 2)] ?? 0;
  state.contrast = Math.min(state.contrast, Math.max(contrasts.length - 1, 0));
  if (!curvedMeasures.includes(state.measure)) state.measure = curvedMeasures[0] ?? null;
  if (state.model.paired) state.model.groupNames.slice(2).forEach((name) => state.hiddenGroups.add(name)); // all rows are shown first
  listeners.clear();
}
