"""A study as one Markdown page: the verdicts first, then each claim with its figure and its numbers."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from gradprism.comparison.cohort import MEAN
from gradprism.core.markdown import head, line, with_interval
from gradprism.core.numbers import number, probability, share
from gradprism.metrics.titles import title
from gradprism.study.claims import means
from gradprism.study.outcome import Judged, Outcome, is_of_length
from gradprism.study.overview import cut_in_words, overview
from gradprism.study.sections import again, sections
from gradprism.study.sentences import verdict_sentence
from gradprism.study.settings import FEWEST_TOKENS, NEAR


@dataclass(frozen=True)
class Drawings:
    """Pictures below the study's folder."""

    of_claims: Mapping[str, str]  # by claim
    of_depth: Mapping[str, str]  # by contrast


def page(outcome: Outcome, drawn: Drawings, made: Sequence[str]) -> str:
    """Markdown. `made`: lines on what it was made of."""
    recipe = outcome.recipe
    parts = [
        f"# {recipe.title}",
        *overview(outcome),
        *(_section(each, outcome, drawn.of_claims.get(each.name)) for each in outcome.judged),
        *sections(outcome, drawn.of_depth),
        again(outcome),
        *_left_out(outcome),
        "## How it was made\n\n" + "\n".join(f"- {line}" for line in made),
        _RULES,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(each: Judged, outcome: Outcome, figure: str | None) -> str:
    parts = [f"## {each.claim.says}", verdict_sentence(each, outcome), *_by_whom(each, outcome)]
    if each.claim.source:
        parts.append(f"Claimed by {each.claim.source}.")
    if figure:
        parts.append(f"![{each.claim.says}]({figure})")
    for text, how in outcome.recipe.texts.items():
        rows = each.table.filter(text=text) if "text" in each.table.columns else each.table
        if not rows.is_empty():
            kind = f": every example {cut_in_words(how)}" if how.response_tokens else ""
            parts += [f"### `{text}`{kind}", "\n".join(_lines(means(rows)))]
            if means(rows).height < rows.height:
                parts += ["<details><summary>By projection</summary>", "\n".join(_by_projection(rows)), "</details>"]
    parts.append(f"All columns, and every projection: `tables/claim-{each.name}`.")
    return "\n\n".join(parts)


def _by_whom(each: Judged, outcome: Outcome) -> Iterator[str]:
    """Which contrasts show a claim, or its opposite, under a control where others do not."""
    table, lines = means(each.table), []
    controls = {
        "at equal length": (next(iter(outcome.recipe.texts)), "held"),
        **{text: (text, "raw") for text in each.cut},
    }
    for name, (text, column) in controls.items() if is_of_length(each.claim) and table.width else ():
        rows = table.filter(text=text)
        for word, said in (("shown", "it is shown"), ("opposite", "the opposite is shown")):
            found = rows.filter(pl.col(column) == word)
            if 0 < found.height < rows.height:
                of = (f"{', '.join(own['contrast'])} ({model})"
                      for (model,), own in found.group_by("model", maintain_order=True))  # fmt: skip
                lines.append(f"- {name}, {said} by {'; '.join(of)}")
    if lines:
        yield "\n".join(lines)


def _by_projection(rows: pl.DataFrame) -> Iterator[str]:
    """The gap of each, or the difference of separations."""
    others = rows.filter(pl.col("projection") != MEAN)
    names = others["projection"].unique(maintain_order=True).to_list()
    held = "held_difference" if "held_difference" in rows.columns else "partial_spearman"
    yield from head(["model", "contrast", *(f"{name}, {of}" for name in names for of in ("gap", _HELD[held]))], 2)
    for (model, contrast), part in others.group_by("model", "contrast", maintain_order=True):
        found = {row["projection"]: row for row in part.iter_rows(named=True)}
        cells = [
            words
            for name in names
            for words in (
                (with_interval(found[name], "difference"), with_interval(found[name], held, _ENDS[held]))
                if name in found else ("–", "–")
            )
        ]  # fmt: skip
        yield line([model, contrast, *cells])


_HELD = {"held_difference": "at equal length", "partial_spearman": "partial ρ"}
_ENDS = {"held_difference": "held_difference", "partial_spearman": "partial"}


def _lines(rows: pl.DataFrame) -> Iterator[str]:
    """A Markdown table of one text."""
    kinds = {"auc": _effects, "auc_effective_rank": _separations, "median_abs": _cosines, "below_same_model": _curves}
    yield from next((lines for column, lines in kinds.items() if column in rows.columns), _intervals)(rows)


def _effects(rows: pl.DataFrame) -> Iterator[str]:
    heads = ["model", "contrast", "n", "first", "second", "gap", "AUC", "q", "pairs of like length", "regression",
             "partial ρ", "as it is", "at equal length"]  # fmt: skip
    yield from head(heads, 2)
    for row in rows.iter_rows(named=True):
        log = row["regression_scale"] == "log"
        auc = f"{share(row['auc'])} [{share(row['auc_low'])}, {share(row['auc_high'])}]"
        pairs = _effect(row, "matched_effect", "matched", log) + f" ({row['matched_pairs']})"
        regression = _effect(row, "regression_effect", "regression", log) + ("" if row["overlap"] else " †")
        partial = _effect(row, "partial_spearman", "partial", False) + ("" if row["overlap"] else " †")
        cells = [row["model"], row["contrast"], f"{row['n_first']} / {row['n_second']}", number(row["mean_first"]),
                 number(row["mean_second"]), with_interval(row, "difference"), auc, probability(row["q"]), pairs,
                 regression, partial, row["raw"], row["held"]]  # fmt: skip
        yield line(cells)


def _effect(row: dict[str, float | None], effect: str, ends: str, ratio: bool) -> str:
    values = [row[effect], row[f"{ends}_low"], row[f"{ends}_high"]]
    if values[0] is None:
        return "–"
    value, low, high = (number(math.exp(v) if ratio and v is not None else v) for v in values)
    return f"{'×' if ratio else ''}{value} [{low}, {high}]"


def _intervals(rows: pl.DataFrame) -> Iterator[str]:
    yield from head(["model", "contrast", "measure", "first", "second", "shows it"], 3)
    for row in rows.iter_rows(named=True):
        means = [with_interval(row, f"mean_{one}", one) for one in ("first", "second")]
        yield line([row["model"], row["contrast"], title(row["measure"]), *means, row["raw"]])


def _separations(rows: pl.DataFrame) -> Iterator[str]:
    heads = ["model", "contrast", "n", "AUC of effective rank", "AUC of nuclear norm", "difference of separations",
             "the same at equal length", "as it is", "at equal length"]  # fmt: skip
    yield from head(heads, 2)
    for row in rows.iter_rows(named=True):
        held = with_interval(row, "held_difference") + (" †" if row["held_extrapolates"] else "")
        cells = [row["model"], row["contrast"], f"{row['n_first']} / {row['n_second']}",
                 share(row["auc_effective_rank"]), share(row["auc_nuclear_norm"]),
                 with_interval(row, "difference"), held, row["raw"], row["held"]]  # fmt: skip
        yield line(cells)


def _cosines(rows: pl.DataFrame) -> Iterator[str]:
    """A row a model and pair; every set is in the table that the page names."""
    heads = ["model", "pair", "sets", "near 0", "median of size, over sets", "largest: set", "its median of size",
             "its 95% of sizes below", "its mean"]  # fmt: skip
    yield from head(heads, 2)
    for (model, pair), sets in rows.group_by("model", "pair", maintain_order=True):
        ordered = sets.sort("median_abs")
        least, last = ordered.row(0, named=True), ordered.row(-1, named=True)
        values = (with_interval(last, name) for name in ("median_abs", "q95_abs", "mean"))
        middle = f"{number(least['median_abs'])} to {number(last['median_abs'])}"
        near = (sets["raw"] == "shown").sum()
        yield line([model, pair, sets.height, near, middle, last["set"], *values])


def _curves(rows: pl.DataFrame) -> Iterator[str]:
    yield from head(["curves of", "pairs", "sets", "median correlation", "below those of one model by", "shows it"], 1)
    for row in rows.iter_rows(named=True):
        values = [with_interval(row, "median"), with_interval(row | {"below": row["below_same_model"]}, "below")]
        yield line([row["contrast"], row["n_pairs"], row["n_sets"], *values, row["raw"]])


def _left_out(outcome: Outcome) -> Iterator[str]:
    if outcome.failed:
        lines = (f"- `{name}`: {reason.splitlines()[0]}" for name, reason in outcome.failed.items())
        yield "## What could not be done\n\n" + "\n".join(lines)


_RULES = f"""## How the words are chosen

First and second are the two sets of a contrast; a gap is first - second, of means over layers and projections, with
its 95% BCa interval over examples. AUC is the probability that a random row of the first exceeds one of the second;
the separation of a measure is AUC or 1 - AUC, whichever is larger, whichever set is higher. A comparison *shows* a
claim on a measure where the interval excludes 0 on the claimed side and q < 0.05 (permutation, Benjamini-Hochberg over
layers and projections); one on changes from layer to layer (mean absolute differences, which are larger for larger
gradients) where the two sets' intervals do not meet; one on separation where the interval of the difference excludes
0; one on cosines where the interval of the median of their sizes lies within {NEAR}; one on curves where those of
different models agree less than those of one model, by an interval that excludes 0. *Not shown* says nothing against
it: the rows may be too few.

At equal length there are three controls: pairs of rows of like response length, a regression on group, log prompt and
log response tokens, and the Spearman correlation with the group given both. † marks sets that hardly overlap in
response length: there the latter two extrapolate and are no evidence. *length*: all three leave less than half of the
raw figure; *undecided*: they disagree, or cannot say. A text that cuts prompts and responses to fixed numbers of tokens
gives every gradient equally many tokens, in those rows that have so many: another control, unless it keeps fewer than
{FEWEST_TOKENS} tokens of the response, or whole prompts; such a text is shown and decides nothing. What is not shown
in a text that cuts is *length* where its whole interval lies within half of what the first text shows, else
*undecided*.

Ratios are geometric means over the contrasts in brackets, each with the same weight; a control is of those contrasts
alone in which it could be computed. Their intervals are of these contrasts, not of others, and as wide as they are if
all of them were to err together, since some share rows.

The verdict is on what more than half of the comparisons show as it is, the claim or its opposite. A control *keeps*
what was seen where more than half of all comparisons show it under the control too, however small it has become. It
*loses* it where at least half are decided otherwise: to length or to the other side, if more than half of those that
are decided are that, or to both. Where it does neither it does not decide.

| controls of length | the claim is shown as it is | its opposite is |
| --- | --- | --- |
| none decides | is not decided at equal length | is not decided at equal length |
| all keep it | **holds** | **fails** |
| some keep it | depends on the control of length | depends on the control of length |
| all lose it to *length* | is explained by length | fails, by length |
| all lose it to the other side | turns around at equal length | turns around at equal length |
| all lose it, one way and another | does not hold at equal length | depends on the control of length |

Where neither side has more than half as it is, the claim **is not shown**. On cosines and curves there is no control:
windows are shown beside them. Texts that cut hold the beginnings alone, of those rows that are long enough: what a
later part of a response shows is not in them, nor are the shortest rows, of which sets of low quality have many."""
