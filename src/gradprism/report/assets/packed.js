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

/** What the runs say of single examples of one model. */
class Measured {
  constructor(raw) {
    this.missing = raw.missing;
    this.measures = raw.curves.measures;
    this.indices = raw.spectra.indices;
    this.perLayer = raw.spectra.per_layer;
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

  /** Singular values over the largest, at `indices`, for each projection; `layer` is a place among the layers. */
  async spectraOf(example, layer) {
    const codes = await this.spectra.codes(example);
    const projections = this.spectra.shape[0];
    const kept = this.spectra.shape[1];
    const layers = this.perLayer ? this.spectra.shape[2] : 1;
    const at = (projection, index) => codes[(projection * kept + index) * layers + (this.perLayer ? layer : 0)];
    const value = (projection, index) => decoded(at(projection, index), -this.raw.spectra.decades, 0, this.raw.spectra.levels);
    const found = Array.from({ length: projections }, (_, p) => Array.from({ length: kept }, (__, i) => value(p, i)));
    return found.some((each) => each.some((item) => item !== null)) ? found.map((each) => [1, ...each]) : null;
  }
}
