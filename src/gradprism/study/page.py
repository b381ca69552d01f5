"""Write a study as one Markdown page: the verdicts first, then each claim with its figure and its numbers."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import polars as pl

from gradprism.comparison.length_controls import MARGIN, Row, number_of_rows
from gradprism.core.markdown import code, header_lines, inline, table_row, with_interval, without_html
from gradprism.core.numbers import number, share
from gradprism.metrics.titles import title
from gradprism.prism.measures import MEAN
from gradprism.stats.length_match import LEAST_EFFECTIVE, MOST_IMBALANCE
from gradprism.study.claims import is_of_ratios, means, table_kind
from gradprism.study.overview import cut_in_words, overview
from gradprism.study.result import JudgedClaim, StudyResult, is_of_length
from gradprism.study.sections import again, sections
from gradprism.study.sentences import verdict_sentence
from gradprism.study.settings import FEWEST_TOKENS, NEAR


@dataclass(frozen=True)
class Drawings:
    """Paths of the figures below the study's folder."""

    of_claims: Mapping[str, str]  # by claim
    of_depth: Mapping[str, str]  # by contrast


def page(result: StudyResult, drawn: Drawings, made: Sequence[str]) -> str:
    """Return the page in Markdown; `made` has lines on the runs behind it."""
    recipe = result.recipe
    parts = [
        f"# {inline(recipe.title)}",
        *overview(result),
        *(_claim_section(each, result, drawn.of_claims.get(each.name)) for each in result.judged),
        *sections(result, drawn.of_depth),
        again(result),
        *_failures(result),
        "## How it was made\n\n" + "\n".join(f"- {inline(line)}" for line in made),
        _RULES,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _claim_section(each: JudgedClaim, result: StudyResult, figure: str | None) -> str:
    says = inline(each.claim.says)
    parts = [f"## {says}", inline(verdict_sentence(each, result)), *_dissent(each, result)]
    if each.claim.source:
        parts.append(f"Claimed by {without_html(each.claim.source)}.")
    if figure:
        parts.append(f"![{says}]({figure})")
    for text, how in result.recipe.texts.items():
        rows = each.table.filter(text=text) if "text" in each.table.columns else each.table
        if not rows.is_empty():
            kind = f": every example {cut_in_words(how)}" if how.response_tokens else ""
            controlled = not how.has_equal_lengths
            parts += [f"### `{text}`{kind}", "\n".join(_text_table(means(rows), controlled))]
            if means(rows).height < rows.height:
                by_projection = "\n".join(_by_projection(rows, controlled))
                parts += ["<details><summary>By projection</summary>", by_projection, "</details>"]
    parts.append(f"All columns, and every projection: `tables/claim-{each.name}`.")
    return "\n\n".join(parts)


def _dissent(each: JudgedClaim, result: StudyResult) -> Iterator[str]:
    """List which contrasts show a claim, or its opposite, under a control where others do not."""
    table, lines = means(each.table), []
    controls = {
        "length-controlled": (result.recipe.first_text, "held"),
        **{text: (text, "raw") for text in each.cut},
    }
    for name, (text, column) in controls.items() if is_of_length(each.claim) and table.width else ():
        rows = table.filter(text=text)
        for word, said in (("shown", "it is shown"), ("opposite", "the opposite is shown")):
            found = rows.filter(pl.col(column) == word)
            if 0 < found.height < rows.height:
                of = (f"{', '.join(own['contrast'])} ({model})"
                      for (model,), own in found.group_by("model", maintain_order=True))  # fmt: skip
                lines.append(inline(f"- {name}, {said} by {'; '.join(of)}"))
    if lines:
        yield "\n".join(lines)


def _by_projection(rows: pl.DataFrame, controlled: bool) -> Iterator[str]:
    """Yield a table of the estimates of each projection."""
    others = rows.filter(pl.col("projection") != MEAN)
    names = others["projection"].unique(maintain_order=True).to_list()
    kinds = ["raw", "length-controlled" if table_kind(rows) == "separation" else "overlap weights"]
    heads = [[f"{name}, {kind}" for kind in kinds] if controlled else [name] for name in names]
    yield from header_lines(["model", "contrast", *chain(*heads)], 2)
    for (model, contrast), part in others.group_by("model", "contrast", maintain_order=True):
        found = {row["projection"]: _estimates(row, controlled) for row in part.iter_rows(named=True)}
        cells = (found.get(name, ["–"] * len(own)) for name, own in zip(names, heads, strict=True))
        yield table_row([model, contrast, *chain(*cells)])


def _text_table(rows: pl.DataFrame, controlled: bool) -> Iterator[str]:
    """Yield the table of a claim in one text; `controlled` with the length controls that whole texts have."""
    kind = table_kind(rows)
    yield from _KINDS[kind](rows, controlled) if kind else ()


def _effects(rows: pl.DataFrame, controlled: bool) -> Iterator[str]:
    heads = ["model", "contrast", "n", "first", "second", f"raw {'ratio' if is_of_ratios(rows) else 'difference'}"]
    further = ["overlap weights", "effective rows", "matched pairs"] if controlled else []
    yield from header_lines([*heads, *further, *_shown_heads(controlled)], 2)
    for row in rows.iter_rows(named=True):
        effective = " / ".join(number_of_rows(row[f"weighted_n_{one}"]) for one in ("first", "second"))
        pairs = f"{_effect(row, 'matched_effect', 'matched')} ({row['matched_pairs']})"
        cells = [row["model"], row["contrast"], f"{row['n_first']} / {row['n_second']}", number(row["mean_first"]),
                 number(row["mean_second"]), *_estimates(row, controlled)]  # fmt: skip
        yield table_row([*cells, *([effective, pairs] if controlled else []), *_shown(row, controlled)])


def _separations(rows: pl.DataFrame, controlled: bool) -> Iterator[str]:
    heads = ["model", "contrast", "n", "AUC of effective rank", "AUC of nuclear norm", "difference of separations"]
    further = ["the same, length-controlled"] if controlled else []
    yield from header_lines([*heads, *further, *_shown_heads(controlled)], 2)
    for row in rows.iter_rows(named=True):
        cells = [row["model"], row["contrast"], f"{row['n_first']} / {row['n_second']}",
                 share(row["auc_effective_rank"]), share(row["auc_nuclear_norm"])]  # fmt: skip
        yield table_row([*cells, *_estimates(row, controlled), *_shown(row, controlled)])


def _shown_heads(controlled: bool) -> list[str]:
    return ["raw", "length-controlled"] if controlled else ["shows it"]


def _shown(row: Row, controlled: bool) -> list[str]:
    return [row["raw"], row["held"]] if controlled else [row["raw"]]


def _estimates(row: Row, controlled: bool) -> list[str]:
    """Return an effect or a difference of separations raw, and `controlled`, with † where common support is missing."""
    if "held_difference" in row:
        raw, held = with_interval(row, "difference"), with_interval(row, "held_difference")
        supported = not row["held_extrapolates"]
    else:
        raw, held = _effect(row, "raw_effect", "raw_effect"), _effect(row, "weighted_effect", "weighted")
        supported = row["support"]
    return [raw, held if supported else f"{held} †"] if controlled else [raw]


def _effect(row: Row, effect: str, ends: str) -> str:
    """Return an effect with its interval: a ratio, or a difference for a measure that is compared by them."""
    values = [row[effect], row[f"{ends}_low"], row[f"{ends}_high"]]
    if values[0] is None:
        return "–"
    is_ratio = row["regression_scale"] == "log"
    value, low, high = (number(math.exp(v) if is_ratio and v is not None else v) for v in values)
    return f"{'×' if is_ratio else ''}{value} [{low}, {high}]"


def _changes(rows: pl.DataFrame, _: bool) -> Iterator[str]:
    yield from header_lines(["model", "contrast", "measure", "first", "second", "shows it"], 3)
    for row in rows.iter_rows(named=True):
        means = [with_interval(row, f"mean_{one}", one) for one in ("first", "second")]
        measure = title(row["measure"].removeprefix("mad:"))
        yield table_row([row["model"], row["contrast"], f"change of {measure}", *means, row["raw"]])


def _cosines(rows: pl.DataFrame, _: bool) -> Iterator[str]:
    """Yield a row for each model and pair; every set is in the table that the page names."""
    heads = ["model", "pair", "sets", "near 0", "median of size, over sets", "largest: set", "its median of size",
             "its 95% of sizes below", "its mean"]  # fmt: skip
    yield from header_lines(heads, 2)
    for (model, pair), sets in rows.group_by("model", "pair", maintain_order=True):
        ordered = sets.sort("median_abs")
        least, last = ordered.row(0, named=True), ordered.row(-1, named=True)
        values = (with_interval(last, name) for name in ("median_abs", "q95_abs", "mean"))
        middle = f"{number(least['median_abs'])} to {number(last['median_abs'])}"
        near = (sets["raw"] == "shown").sum()
        yield table_row([model, pair, sets.height, near, middle, last["set"], *values])


def _curves(rows: pl.DataFrame, _: bool) -> Iterator[str]:
    yield from header_lines(
        ["curves of", "pairs", "sets", "median correlation", "below those of one model by", "shows it"], 1
    )
    for row in rows.iter_rows(named=True):
        values = [with_interval(row, "median"), with_interval(row, "below_same_model", "below")]
        yield table_row([row["contrast"], row["n_pairs"], row["n_sets"], *values, row["raw"]])


_KINDS = {"effects": _effects, "separation": _separations, "cosines": _cosines, "curves": _curves, "changes": _changes}


def _failures(result: StudyResult) -> Iterator[str]:
    if result.failed:
        lines = (f"- {code(name)}: {inline(reason.splitlines()[0])}" for name, reason in result.failed.items())
        yield "## Steps that failed\n\n" + "\n".join(lines)


_RULES = f"""## How verdicts are reached

First and second are the two sets of a contrast. A raw ratio is that of their geometric means, of means over layers and
projections; a measure that is compared by differences has the difference of means instead. AUC is the probability that
a random row of the first exceeds one of the second; the separation of a measure is AUC or 1 - AUC, whichever is larger,
whichever set is higher. A comparison *shows* a claim on a measure where the whole 95% interval lies on the claimed side
of no difference and the adjusted p is below 0.05 (permutation, Benjamini-Hochberg (BH) over layers and projections);
one on changes from layer to layer (mean absolute differences, which are larger for larger gradients) where the two
sets' intervals do not meet; one on separation where the interval of the difference excludes 0; one on cosines where
the interval of the median of their sizes lies within {NEAR}; one on curves where those of different models agree less
than those of one model, by an interval that excludes 0. *Not shown* says nothing against it: the rows may be too few.

The length control of whole texts is *overlap weights with regression*. Each row counts by the probability that a row of
its lengths, of prompt and response, is of the other set: those count most whose lengths both sets have, and the
weighted sets are equally long. A regression with these weights takes out what lengths explain besides; the estimate is
right where either the weights or the regression are. *Effective rows* are how many rows of equal weight would be as
exact. † marks sets without common support: fewer than {LEAST_EFFECTIVE:g} effective rows of one set, or mean lengths
that still differ by more than {MOST_IMBALANCE:g} standard deviations; there nothing is decided. Matched pairs of rows
of like lengths stand beside it; where they find the opposite, the comparison is undecided.

*length*: the whole interval lies within half of the raw effect, and no difference is found or what is lies within the
margin (a factor of {MARGIN:.2f}, unless the recipe says another), or the whole interval lies within the margin.
*undecided*: the interval is too wide, common support is missing, or the pairs contradict. Separation has another length
control: from the log of each measure is taken what a regression on set, log prompt and log response tokens says of the
lengths, and † marks the same sets. Changes from layer to layer have none.

A text that cuts prompts and responses to fixed numbers of tokens gives every gradient equally many tokens, in those
rows that have so many: another length control, unless it keeps fewer than {FEWEST_TOKENS} tokens of the response, or
whole prompts; such a text is shown and decides nothing. What is not shown in a text that cuts is *length* where its
whole interval lies within half of what the first text shows, else *undecided*.

Ratios are geometric means over the contrasts in brackets, each with the same weight; a control is of those contrasts
alone that have common support. Their intervals are of these contrasts, not of others, and as wide as they are if all of
them were to err together, since some share rows.

The verdict is on what more than half of the comparisons show raw, the claim or its opposite. A control *keeps*
what was seen where more than half of all comparisons show it under the control too, however small it has become. It
*loses* it where at least half are decided otherwise: to length or to the other side, if more than half of those that
are decided are that, or to both. Where it does neither it does not decide.

| length controls | the claim is shown raw | its opposite is |
| --- | --- | --- |
| none decides | is not decided with length controlled | is not decided with length controlled |
| all keep it | **holds** | **fails** |
| some keep it | depends on the length control | depends on the length control |
| all lose it to *length* | is explained by length | fails, by length |
| all lose it to the other side | turns around with length controlled | turns around with length controlled |
| all lose it, one way and another | does not hold with length controlled | depends on the length control |

Where neither side has more than half raw, the claim **is not shown**. Cosines and curves have no length control:
windows are shown beside them. Texts that cut hold the beginnings alone, of those rows that are long enough: what a
later part of a response shows is not in them, nor are the shortest rows, of which sets of low quality have many."""
