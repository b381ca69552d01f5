// Numbers and names as they are read, by the same rules as in the sentences that the package writes.

const MISSING = "–";
const MINUS = "\u2212";

const FORMATS = Array.from(
  { length: 8 },
  (_, n) => new Intl.NumberFormat("en-US", { minimumFractionDigits: n, maximumFractionDigits: n, roundingMode: "halfEven" }),
);

/** A number with `digits` significant digits, thousands apart; a dash where there is none. */
function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return MISSING;
  if (value === 0) return "0";
  const size = Math.abs(value);
  const power = value.toExponential(digits - 1);
  if (size >= 1e6 || size < 1e-3) return power.replace("e+", "e").replaceAll("-", MINUS);
  const decimals = Math.max(0, digits - 1 - Number(power.split("e")[1]));
  return FORMATS[Math.min(decimals, 7)].format(value).replace("-", MINUS);
}

function whole(value) {
  return value === null || value === undefined ? MISSING : FORMATS[0].format(value).replace("-", MINUS);
}

/** An area under a curve or a correlation: two decimals. */
function share(value) {
  return value === null || value === undefined ? MISSING : FORMATS[2].format(value).replace(/^-0.00$/, "0.00").replace("-", MINUS);
}

/** A number with its sign, for differences. */
function signed(value, show = number) {
  return value > 0 ? `+${show(value)}` : show(value);
}

function interval(low, high, show = number) {
  return low === null || low === undefined || high === null || high === undefined ? "" : `[${show(low)}, ${show(high)}]`;
}

function probability(value) {
  if (value === null || value === undefined) return MISSING;
  return value < 0.001 ? "<0.001" : number(value, 2);
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
  if (name.startsWith("column:")) return `${plainText(name.slice("column:".length))} (column)`;
  const colon = name.indexOf(":");
  const [measure, projection] = colon < 0 ? [name, ""] : [name.slice(0, colon), name.slice(colon + 1)];
  const { titles } = state.data;
  const words = Object.hasOwn(titles, measure) ? titles[measure] : measure.replaceAll("_", " ");
  return plainText(["", "mean"].includes(projection) ? words : `${words} ${projection}`);
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A name where a line begins; what the data calls its columns stays as it is. */
function heading(name) {
  return name.startsWith("column:") ? title(name) : capital(title(name));
}

/** Over what a column of an example, `measure:projection`, is a mean; nothing for a metric. */
function meanOver(name) {
  if (name.startsWith("column:") || !name.includes(":")) return "";
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
