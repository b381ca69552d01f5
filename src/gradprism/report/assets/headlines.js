// Headlines: a sentence a contrast and main measure, decided ones first; or what runs without contrasts hold.

const MOST_RUNS = 2; // without contrasts, on the first screen
const MOST_ON_PHONES = 3; // contrasts

/** How many contrasts, or runs without any, the first screen and the first table of ratios have. */
function mostHeadlines({ contrasts, first_contrasts: most }) {
  if (contrasts.length === 0) return MOST_RUNS;
  return window.innerWidth < 640 ? Math.min(most, MOST_ON_PHONES) : most;
}

/** The headlines with what higher and lower means; `unfolded` hears when those beyond the first are shown or hidden. */
function headlineList(model, unfolded) {
  const contrasts = model.contrasts.length > 0;
  const items = contrasts ? model.orderedContrasts.map((pair) => contrastHeadlines(model, pair)) : overviewModels(model).flatMap(overviewItems);
  const rest = items.slice(mostHeadlines(model));
  const more = rest.length > 0 && el("details", null, el("summary", null, plural(rest.length, contrasts ? "more contrast" : "more run")), el("ul", null, rest));
  if (more) more.addEventListener("toggle", () => unfolded(more.open));
  const cosine = model.paired && el("p", { class: "reading" }, `Cosine ${model.paired.cosine}`);
  return el("div", { class: "headlines" }, el("ul", null, items.slice(0, mostHeadlines(model))), more, cosine, el("p", { class: "reading" }, state.data.reading));
}

function contrastHeadlines(model, pair) {
  const [first, second] = pair;
  const found = model.findings.filter((each) => each.first === first && each.second === second && model.main_measures.includes(each.measure));
  const rows = model.paired && rowsOfSide(model, first);
  const names = rows ? el("strong", null, bdi(rows)) : [el("strong", null, bdi(first)), " against ", el("strong", null, bdi(second))];
  return el("li", null, el("div", null, names), el("div", null, headlinesOf(found)));
}

/** A line a measure; what would decide several lines stands once, after the last of them. */
function headlinesOf(found) {
  return found.map((finding, place) => headlineOf(finding, finding.more === found[place + 1]?.more ? "" : finding.more));
}

/** The ratios and a tag with what they come to; a finding of an earlier version has its sentence alone. */
function headlineOf({ kind, figures, tag, sentence, first, second }, more) {
  if (!tag) return el("p", null, kindTag(kind), " ", named(sentence, [first, second]));
  return el("p", null, figures, " ", kindTag(kind, tag), more && el("span", { class: "soft" }, " ", withOptions(more)));
}

/** Text in which an option of the command line with its number stays on one line. */
function withOptions(text) {
  return text.split(/(--[a-z-]+ \d+)/).map((part, place) => (place % 2 === 1 ? el("code", null, part) : plainText(part)));
}

/** The models that the first screen of a model without contrasts is of: all such of the page. */
function overviewModels(model) {
  const bare = state.models.filter((each) => each.contrasts.length === 0);
  return bare.length > 1 ? bare : [model];
}

/** What each group of a model without contrasts holds, under the label that tells it from others. */
function overviewItems(model) {
  return model.overview.map(({ group, lines }) => {
    const name = overviewModels(model).length > 1 && [el("strong", null, bdi(model.groups.length > 1 ? `${group}, ${model.label}` : model.label))];
    return el("li", { class: name ? null : "alone" }, name && el("div", null, name), el("div", null, lines.map(([what, text]) => el("p", null, el("b", null, what), " ", text))));
  });
}
