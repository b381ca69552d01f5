// The text of one example shaded token by token: by loss, or by how much a token adds to the gradients.

const TOP = [50, 30, 15, 5, 1]; // percent of an example's tokens that have each shade or a stronger one; colours are in tokens.css
const SHADED_BY = { nothing: "nothing", loss: "loss", size: "gradient size" };
const SHADE_NOTES = {
  loss: "−ln p of a token given those before it, in nats; only tokens in the loss have one.",
  size:
    "‖d‖·‖x‖, the norm of what a token's position adds to a gradient, summed over all measured layers and projections. " +
    "The last token predicts nothing and adds nothing.",
};

const shading = { by: "nothing", chunks: new Map() };

/** Tokens, losses, gradient sizes and the number of tokens cut of an example; inflated a few examples at a time. */
async function tokensOf(raw, place) {
  const index = raw.index[place];
  const text = raw.chunks[Math.floor(index / raw.per_chunk)];
  if (!shading.chunks.has(text)) shading.chunks.set(text, inflate(text).then((bytes) => JSON.parse(new TextDecoder().decode(bytes))));
  const [pieces, losses, sizes, cut] = (await shading.chunks.get(text))[index % raw.per_chunk];
  return { pieces, loss: losses, size: sizes, cut };
}

/** Why an example's text cannot be shaded; null where it can. */
function noTokens(raw, place) {
  const { model } = state;
  const why = raw.missing[model.examples.group(place)];
  if (why !== undefined) return named(`Its tokens cannot be shaded: ${why}`, model.groupNames);
  if (raw.index[place] !== null) return null;
  const known = raw.index.filter((each) => each !== null).length;
  return [`Its tokens are not in this report, which has those of ${whole(known)} of ${whole(raw.index.length)} examples.`];
}

/** The text of an example with the choice to shade it, where its run knows of tokens. */
function shadableText(place) {
  const raw = state.model.measured.raw.tokens;
  if (raw === null) return detailText(place);
  const why = noTokens(raw, place);
  if (why !== null) return el("div", null, detailText(place), el("p", { class: "caption" }, why));
  const [legend, text] = [el("div", { class: "shades" }), el("div")];
  const show = async () => {
    const found = shading.by === "nothing" ? null : await tokensOf(raw, place).catch((error) => error);
    if (detail.place !== place || !text.parentNode) return;
    const plain = found === null || found instanceof Error;
    const shades = plain ? null : shadesOf(found[shading.by]);
    legend.replaceChildren(...(plain ? [] : shadeLegend(shades)));
    text.replaceChildren(plain ? detailText(place) : shadedText(found, shades), found instanceof Error ? el("p", { class: "notice" }, found.message) : "");
  };
  const choose = select("Shade tokens by", Object.entries(SHADED_BY), shading.by, (value) => {
    shading.by = value;
    show();
  });
  const column = el("div", null, controls(choose), legend, text);
  show();
  return column;
}

/** The shade of each value by its rank among those that there are, from 0, which has no colour, and where each begins. */
function shadesOf(values) {
  const ordered = values.filter((value) => value !== null).sort((a, b) => a - b);
  const below = new Map();
  ordered.forEach((value, index) => below.has(value) || below.set(value, index));
  const shade = (value) => TOP.filter((top) => below.get(value) >= (1 - top / 100) * ordered.length - 1e-9).length;
  const shades = new Map(ordered.map((value) => [value, shade(value)]));
  const starts = [0, ...TOP].map((_, step) => ordered.find((value) => shades.get(value) === step));
  return { of: (value) => shades.get(value) ?? null, starts };
}

function shadeLegend({ starts }) {
  const text = (start, step) => (step === 0 ? ["lower half"] : [number(start, 2), el("small", null, ` top ${TOP[step - 1]}%`)]);
  const chips = starts.map((start, step) => start !== undefined && el("span", { class: "shade", "data-shade": step }, text(start, step)));
  return [
    el("p", { class: "shade-row" }, chips.filter(Boolean)),
    el(
      "p",
      { class: "caption" },
      `${capital(SHADED_BY[shading.by])}: ${SHADE_NOTES[shading.by]} Shades are by rank within this example. The text is as the model read it; ` +
        "point at a token, or use the arrow keys, for its numbers.",
    ),
  ];
}

/** The tokens in boxes of a role each: those in the loss, and those between them. */
function shadedText(tokens, shades) {
  const tip = el("div", { class: "token-tip", role: "status", hidden: true });
  const spans = tokens.pieces.map((piece, index) => tokenSpan(piece, index, shades.of(tokens[shading.by][index])));
  spans[0].tabIndex = 0;
  const boxes = runsOf(tokens.loss.map((loss) => loss !== null)).map(([start, stop, scored]) => {
    const name = scored ? "Response" : "Context";
    return el(
      "section",
      { class: scored ? "turn response" : "turn" },
      el("h3", null, name, el("span", { class: "soft" }, scored ? " – loss tokens" : " – no loss tokens")),
      scrollBox({ class: "text", dir: "auto" }, name, spans.slice(start, stop)),
    );
  });
  const body = el("div", { class: "turns" }, boxes, tokens.cut > 0 && el("p", { class: "caption" }, `… ${plural(tokens.cut, "more token")}, left out of this report`), tip);
  listenToTokens(body, spans, tip, tokens);
  return body;
}

/** [start, stop, value] of each run of equal values. */
function runsOf(values) {
  const starts = values.map((_, index) => index).filter((index) => index === 0 || values[index] !== values[index - 1]);
  return starts.map((start, place) => [start, starts[place + 1] ?? values.length, values[start]]);
}

function tokenSpan(piece, index, shade) {
  return el("span", { class: "token", tabindex: -1, "data-index": index, "data-shade": shade, "data-break": piece.includes("\n") }, piece);
}

/** One token at a time is a stop of the tab key; arrows go from one to the next, and not to another example. */
function listenToTokens(body, spans, tip, tokens) {
  const indexOf = (event) => event.target.dataset?.index;
  const hide = () => (tip.hidden = true);
  const show = (event) => (indexOf(event) === undefined ? hide() : showTip(tip, event.target, tokens));
  body.addEventListener("mouseover", show);
  body.addEventListener("mouseleave", hide);
  body.addEventListener("focusin", show);
  body.addEventListener("focusout", hide);
  body.addEventListener("scroll", hide, true);
  body.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step === undefined || indexOf(event) === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    const next = spans[Number(indexOf(event)) + step];
    if (next === undefined) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
}

function showTip(tip, span, tokens) {
  const index = Number(span.dataset.index);
  const [loss, size] = [tokens.loss[index], tokens.size[index]];
  const text = tokens.pieces[index].replaceAll("\n", "↵").replaceAll("\t", "⇥");
  tip.replaceChildren(
    el("b", null, bdi(text === "" ? "(part of a character)" : `“${text}”`)),
    el("span", null, loss === null ? "no loss" : `loss ${number(loss)} (p = ${probability(Math.exp(-loss))})`),
    el("span", null, `gradient size ${number(size)}`),
  );
  tip.hidden = false;
  const [at, own, edge] = [span.getClientRects()[0] ?? span.getBoundingClientRect(), tip.getBoundingClientRect(), 8];
  const above = at.top - own.height - 6;
  tip.style.left = `${Math.max(edge, Math.min(at.left, document.documentElement.clientWidth - own.width - edge))}px`;
  tip.style.top = `${above < edge ? at.bottom + 6 : above}px`;
}
