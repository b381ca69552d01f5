// Numbers and names as they are read. Numbers follow `gradprism.core.numbers`: tests run one table of cases through both.

const MISSING = "–";
const MINUS = "\u2212";

const P_ADJUSTED = "p adj.";
const FORMATS = new Map();

/** A number by options of Intl, half to even, of its exact binary value; a dash where there is none. */
function formatted(value, options) {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  const key = JSON.stringify(options);
  if (!FORMATS.has(key)) FORMATS.set(key, new Intl.NumberFormat("en-US", { roundingMode: "halfEven", signDisplay: "negative", ...options }));
  return FORMATS.get(key).format(value.toPrecision(30)).replaceAll("-", MINUS).replace("E", "e");
}

/** A number with `digits` significant digits and all of its whole part. */
function number(value, digits = 3) {
  const significant = { minimumSignificantDigits: digits, maximumSignificantDigits: digits };
  const size = Math.abs(value);
  if (size >= 1e6 || (size < 1e-3 && size > 0)) return formatted(value, { ...significant, notation: "scientific" });
  return formatted(value, { ...significant, maximumFractionDigits: 0, roundingPriority: "morePrecision" });
}

function whole(value) {
  return formatted(value, { maximumFractionDigits: 0 });
}

/** A median of whole numbers, which may lie between two of them. */
function medianCount(value) {
  return formatted(value, { maximumFractionDigits: 1 });
}

/** An area under a curve or a correlation: two decimals. */
function share(value) {
  return formatted(value, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
}

/** A factor: two decimals, or three digits where it is small or large. */
function ratio(value) {
  return value >= 0.0995 && value < 9.995 ? share(value) : number(value);
}

/** A number with its sign, for differences. */
function signed(value, show = number) {
  return value > 0 ? `+${show(value)}` : show(value);
}

function interval(low, high, show = number) {
  return low === null || low === undefined || high === null || high === undefined ? "" : `[${show(low)}, ${show(high)}]`;
}

function probability(value) {
  return value !== null && value !== undefined && value < 0.001 ? "<0.001" : number(value, 2);
}

/** A p after its adjustment, for plotly's hovers, which read markup. */
function adjusted(value) {
  return `${P_ADJUSTED} ${probability(value).replace("<", "&lt;")}`;
}

/** A number over its interval, two lines of one cell; `head` shows the number where it is shown in another way. */
function withInterval(value, low, high, show = number, head = show) {
  const range = interval(low, high, show);
  return el("span", { class: "stacked" }, head(value), range && el("small", null, range));
}

/** A difference over its interval. */
function difference(value, low, high, show = number) {
  return withInterval(value, low, high, show, (each) => signed(each, show));
}

/** A measure, metric or `measure:projection` in words. */
function title(name) {
  return plainText(state.data.titles[name][0]);
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A name where a line begins. */
function heading(name) {
  return plainText(state.data.titles[name][1]);
}

/** Whether groups are compared by ratios in a measure or `measure:projection`. */
function isRatioScaled(name) {
  return state.data.ratio_scaled.includes(name.split(":")[0]);
}

/** A projection beside a p or q of statistics: `q_proj`. */
function projectionName(name) {
  return name === "mean" ? "mean over projections" : state.model.projections.includes(name) ? `${name}_proj` : name;
}

/** Over what a column of an example, `measure:projection`, is a mean; nothing for a metric. */
function meanOver(name) {
  if (/^(column|influence):/.test(name) || !name.includes(":")) return "";
  return name.endsWith(":mean") ? "mean over layers and projections" : "mean over layers";
}

function plural(n, noun) {
  return `${whole(n)} ${noun}${n === 1 ? "" : "s"}`;
}

/** The least and the most of some counts: one number where they agree. */
function countRange(counts) {
  const [least, most] = [Math.min(...counts), Math.max(...counts)];
  return least === most ? whole(least) : `${whole(least)} to ${whole(most)}`;
}

/** Text of the data for plotly, which reads a little markup of its own in labels and hovers. */
function plotText(text, longest = 36) {
  const characters = [...plainText(text).replace(/\s+/g, " ")];
  const short = characters.length > longest ? `${characters.slice(0, longest - 1).join("")}…` : characters.join("");
  return short.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("$", "&#36;");
}
