// Light and dark: what the system asks for until a reader chooses; the choice lasts as long as the page.

const DARK = window.matchMedia("(prefers-color-scheme: dark)");
let chosenTheme = null;

function isDark() {
  return chosenTheme === null ? DARK.matches : chosenTheme === "dark";
}

function applyTheme() {
  const root = document.documentElement;
  root.dataset.theme = isDark() ? "dark" : "light";
  const button = document.getElementById("theme");
  button.textContent = isDark() ? "Light" : "Dark";
  button.setAttribute("aria-label", isDark() ? "Switch to light colours" : "Switch to dark colours");
  tell("theme");
}

function startTheme() {
  document.getElementById("theme").addEventListener("click", () => {
    chosenTheme = isDark() ? "light" : "dark";
    applyTheme();
  });
  DARK.addEventListener("change", applyTheme);
  applyTheme();
}

function cssColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function channels(hex) {
  return [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
}

/** A colour of print as it is seen on the page: on dark ground dark colours are lightened, black becomes the ink. */
function onGround(hex) {
  if (hex === "#000000") return cssColour("ink");
  if (!isDark()) return hex;
  const [r, g, b] = channels(hex);
  const lightness = (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
  const share = Math.max(0, Math.min(0.6, 0.62 - lightness));
  const mixed = [r, g, b].map((channel) => Math.round(channel + (255 - channel) * share));
  return `#${mixed.map((channel) => channel.toString(16).padStart(2, "0")).join("")}`;
}

function transparent(colour, opacity) {
  const [r, g, b] = channels(colour);
  return `rgba(${r},${g},${b},${opacity})`;
}

function projectionStyle(name) {
  const { projections, other } = state.data.styles;
  return Object.hasOwn(projections, name) ? projections[name] : other;
}

function projectionColour(name) {
  return onGround(projectionStyle(name).colour);
}

function groupColour(place) {
  const { colours } = state.data.styles.groups;
  return onGround(colours[place % colours.length]);
}

function groupDash(place) {
  const { dashes } = state.data.styles.groups;
  return dashes[place % dashes.length];
}

function groupSymbol(place) {
  const { symbols } = state.data.styles.groups;
  return symbols[place % symbols.length];
}

/** A line for plotly; `dash` is in line widths. */
function lineStyle(colour, width, dash = []) {
  return { color: colour, width, dash: dash.length === 0 ? "solid" : dash.map((length) => `${length * width}px`).join() };
}

function swatch(colour) {
  return el("span", { class: "swatch", style: `background:${colour}`, "aria-hidden": "true" });
}

/** A piece of a line, as a legend has it. */
function lineSwatch(colour, dash) {
  const of = (tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const picture = of("svg", { class: "line-swatch", width: 30, height: 8, "aria-hidden": "true" });
  const dashes = dash.map((length) => length * 2).join(" ");
  picture.append(of("line", { x1: 1, x2: 29, y1: 4, y2: 4, stroke: colour, "stroke-width": 2, "stroke-dasharray": dashes }));
  return picture;
}

const GLYPHS = { circle: "●", square: "■", "triangle-up": "▲", diamond: "◆", "triangle-down": "▼", cross: "✚", x: "✖", star: "★" };

function markerSwatch(colour, symbol) {
  return el("span", { style: `color:${colour}`, "aria-hidden": "true" }, GLYPHS[symbol] ?? "●");
}
