// Numbers and names as they are read.

const MISSING = "–";
const MINUS = "\u2212";

const FORMATS = Array.from({ length: 8 }, (_, n) => new Intl.NumberFormat("en-US", { minimumFractionDigits: n, maximumFractionDigits: n }));

/** A number with `digits` significant digits, thousands apart; a dash where there is none. */
function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(digits - 1).replace("e+", "e").replaceAll("-", MINUS);
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  return FORMATS[Math.min(decimals, 7)].format(value).replace("-", MINUS);
}

function whole(value) {
  return value === null || value === undefined ? MISSING : FORMATS[0].format(value).replace("-", MINUS);
}

/** A number with its sign, for differences. */
function signed(value, digits = 3) {
  return value > 0 ? `+${number(value, digits)}` : number(value, digits);
}

function interval(low, high, digits = 3) {
  return low === null || low === undefined || high === null || high === undefined ? "" : `[${number(low, digits)}, ${number(high, digits)}]`;
}

function probability(value) {
  if (value === null || value === undefined) return MISSING;
  return value < 0.001 ? "<0.001" : value.toFixed(3);
}

/** A number over its interval, two lines of one cell. */
function withInterval(value, low, high, show = number) {
  const range = interval(low, high);
  return el("span", { class: "stacked" }, show(value), range && el("small", null, range));
}

const TITLES = { frobenius_norm: "Frobenius norm", adjacent_cosine: "adjacent-layer cosine", same_layer_cosine: "same-layer cosine", length: "response tokens", prompt_length: "prompt tokens", ifd: "IFD" };

/** A measure, metric or `measure:projection` in words. */
function title(name) {
  if (name.startsWith("column:")) return `${name.slice("column:".length)} (column)`;
  const [measure, projection] = name.split(":");
  const words = Object.hasOwn(TITLES, measure) ? TITLES[measure] : measure.replaceAll("_", " ");
  return projection === undefined || projection === "mean" ? words : `${words} ${projection}`;
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A name where a line begins; what the data calls its columns stays as it is. */
function heading(name) {
  return name.startsWith("column:") ? title(name) : capital(title(name));
}

function plural(n, noun) {
  return `${whole(n)} ${noun}${n === 1 ? "" : "s"}`;
}

const DIRECTION_MARKS = /[\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]/g;

/** Text of the data for plotly, which reads a little markup of its own in labels and hovers. */
function plotText(text, longest = 36) {
  const characters = [...String(text).replace(DIRECTION_MARKS, "").replace(/\s+/g, " ")];
  const short = characters.length > longest ? `${characters.slice(0, longest - 1).join("")}…` : characters.join("");
  return short.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("$", "&#36;");
}
