// The page: puts the sections together and says when it can be used.

const SECTIONS = [
  ["verdict", "Verdict", verdictSection],
  ["ablations", "Ablation", ablationsSection],
  ["steps", "Training", stepsSection],
  ["curves", "Curves", curvesSection],
  ["effects", "Effects", effectsSection],
  ["distributions", "Distributions", distributionsSection],
  ["lengths", "Length", lengthsSection],
  ["correlations", "Correlations", correlationsSection],
  ["targets", "Targets", targetsSection],
  ["map", "Map", mapSection],
  ["redundancy", "Redundancy", redundancySection],
  ["examples", "Examples", examplesSection],
];

function showModel(place) {
  clearPlots();
  chooseModel(place);
  document.getElementById("model").value = place;
  const made = SECTIONS.map(([id, name, build]) => [id, name, build()]).filter(([, , built]) => built !== null);
  document.getElementById("main").replaceChildren(topSection(), ...made.map(([, , built]) => built), footer());
  document.getElementById("nav").replaceChildren(...made.map(([id, name]) => el("a", { href: `#${id}` }, name)));
  on("theme", recolour);
  on("layer", () => detailPlot.follow());
}

function footer() {
  return el(
    "footer",
    null,
    `Made by gradprism ${state.data.version}. This file is complete: it requests nothing from anywhere. Intervals are 95%; figures of single examples are rounded to four digits.`,
  );
}

/** Everything that carries a colour of its own. */
function recolour() {
  tell("projections");
  state.list?.show();
  redrawAll();
}

function modelSwitch() {
  if (state.models.length < 2) return;
  const list = document.getElementById("model");
  list.replaceChildren(...state.models.map((model, place) => el("option", { value: place }, plainText(model.label))));
  list.addEventListener("change", () => {
    Object.assign(tableChoice, NO_FILTER);
    showModel(Number(list.value));
    drawInIdleTime();
  });
  document.getElementById("model-switch").hidden = false;
}

/** Ready: the table answers and the first plot is drawn. */
async function sayReady() {
  await plotlyIsThere();
  const first = document.querySelector(".plot");
  if (first) await redraw(first, true);
  window.__gradprismReady = performance.now();
  document.body.dataset.ready = "true";
  drawInIdleTime();
}

readData();
startTheme();
startPlots();
modelSwitch();
startDetail();
showModel(0);
startView();
sayReady();
