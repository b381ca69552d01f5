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

function projectionColour(name) {
  const { projections, other } = state.data.colours;
  return onGround(Object.hasOwn(projections, name) ? projections[name] : other);
}

function groupColour(place) {
  const { groups } = state.data.colours;
  return onGround(groups[place % groups.length]);
}

/** The lines of a group in grey print: full, then dashed. */
function groupDash(place) {
  return ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"][place % 6];
}
