// Curves and singular values of single examples: inflated a few at a time, when one of them is looked at.

/** An array of small codes, (example, ..., last); undoes what the module `packed` of the package does. */
class Packed {
  constructor(raw) {
    this.raw = raw;
    this.shape = raw.shape;
    this.size = raw.shape.reduce((product, length) => product * length, 1);
    this.inflated = new Map();
  }

  /** The codes of one example, flat. */
  async codes(example) {
    const place = Math.floor(example / this.raw.per_chunk);
    if (!this.inflated.has(place)) this.inflated.set(place, inflate(this.raw.chunks[place]));
    const bytes = await this.inflated.get(place);
    return this.undone(bytes, example % this.raw.per_chunk);
  }

  undone(bytes, place) {
    const last = this.shape[this.shape.length - 1];
    const wide = this.raw.bytes === 2;
    const total = bytes.length / this.raw.bytes;
    const codes = new Uint16Array(this.size);
    let before = 0;
    for (let i = 0; i < this.size; i += 1) {
      const at = place * this.size + i;
      const step = wide ? (bytes[at] << 8) | bytes[total + at] : bytes[at];
      before = ((i % last === 0 ? 0 : before) + step) & (wide ? 0xffff : 0xff);
      codes[i] = before;
    }
    return codes;
  }
}

async function inflate(base64) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("This browser cannot inflate the curves of single examples (it has no DecompressionStream).");
  }
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The value of a code between 10^low and 10^high; null for 0, which is missing. */
function decoded(code, low, high, levels) {
  return code === 0 ? null : 10 ** (low + ((code - 1) / (levels - 1)) * (high - low));
}

/** The middle of some values, or the mean of the two; 0 where there is none. */
function median(values) {
  const ordered = [...values].sort((a, b) => a - b);
  const middle = ordered.length / 2;
  return ((ordered[Math.ceil(middle) - 1] ?? 0) + (ordered[Math.floor(middle)] ?? 0)) / 2;
}

/** What the runs say of single examples of one model. */
class Measured {
  constructor(raw) {
    this.measures = raw.curves.measures;
    this.indices = raw.spectra.indices;
    this.raw = raw;
    this.curves = new Packed(raw.curves);
    this.spectra = new Packed(raw.spectra);
  }

  /** Values over layers for each projection, or null where the run holds none. */
  async curvesOf(example, measure) {
    const codes = await this.curves.codes(example);
    const [, projections, layers] = this.curves.shape;
    const place = this.measures.indexOf(measure);
    const [low, high] = this.raw.curves.ranges[place];
    const value = (projection, layer) =>
      decoded(codes[(place * projections + projection) * layers + layer], low, high, this.raw.curves.levels);
    const found = Array.from({ length: projections }, (_, p) => Array.from({ length: layers }, (__, l) => value(p, l)));
    return found.some((curve) => curve.some((item) => item !== null)) ? found : null;
  }

  /**
   * Singular values over the largest, at `indices`, for each projection, of the layer at a place among the layers; where
   * that is null, their median over the layers that have a gradient, in which what is beyond a rank counts as 0.
   */
  async spectraOf(example, layer) {
    const codes = await this.spectra.codes(example);
    const [projections, layers, kept] = this.spectra.shape;
    const { decades, levels } = this.raw.spectra;
    const places = layer === null ? await this.layersWithGradient(example) : Array(projections).fill([layer]);
    const value = (projection, index, place) => decoded(codes[(projection * layers + place) * kept + index], -decades, 0, levels) ?? 0;
    const middle = (projection, index) => median(places[projection].map((place) => value(projection, index, place))) || null;
    const found = Array.from({ length: projections }, (_, p) => Array.from({ length: kept }, (__, i) => middle(p, i)));
    return found.some((each) => each.some((item) => item !== null)) ? found.map((each) => [1, ...each]) : null;
  }

  /** Places of the layers, for each projection. */
  async layersWithGradient(example) {
    const codes = await this.curves.codes(example);
    const [, projections, layers] = this.curves.shape;
    const places = Array.from({ length: layers }, (_, place) => place);
    return Array.from({ length: projections }, (_, p) => places.filter((place) => codes[p * layers + place] !== 0));
  }
}
