"""Say the result of a study in sentences: the verdict on each claim and its grounds, and what predicts a metric."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import polars as pl

from gradprism.core.markdown import with_interval
from gradprism.metrics.titles import title
from gradprism.study.averages import Average, averages
from gradprism.study.result import CONTROLLED, RAW, JudgedClaim, StudyResult, is_of_length

_KINDS = {"families": "curves", "adjacent_cosine": "sets and projections", "same_layer_cosine": "sets and pairs"}


def verdict_sentence(each: JudgedClaim, result: StudyResult) -> str:
    """Return a claim, its verdict, and the counts and numbers of each model that it rests on, in Markdown."""
    if not each.raw.all:
        return f"**{each.claim.says}**: this *{each.verdict}*."
    found = [*averages(each, result.recipe.first_text)]
    without = {RAW, CONTROLLED} if each.claim.measure.startswith("mad:") else {RAW}
    controls = [name for name, counted in each.counts.items() if counted.all and name not in without]
    said = [_clause(each, RAW, found)]
    if is_of_length(each.claim):
        said += [_clause(each, name, found) for name in controls if name in each.deciding]
    if is_of_length(each.claim) and not each.deciding:
        others = ", ".join(_undeciding_clause(each, name, found, result) for name in controls)
        said.append(f"no length control decides: {others}" if others else "there is no length control")
    return f"**{each.claim.says}**: this *{each.verdict}*. Raw: {'; '.join(said)}."


def _undeciding_clause(each: JudgedClaim, column: str, found: Sequence[Average], result: StudyResult) -> str:
    """Return the clause of a length control that does not decide."""
    cuts_too_much = column != CONTROLLED and not result.recipe.texts[column].is_length_control
    return _clause(each, column, found) + (", where too few tokens are left to decide" if cuts_too_much else "")


def _clause(each: JudgedClaim, column: str, found: Sequence[Average]) -> str:
    counted = each.counts[column]
    others = [
        f"{n} {one if n == 1 else several}"
        for n, one, several in (
            (counted.opposite, "shows the opposite", "show the opposite"),
            (counted.length, "is length alone", "are length alone"),
            (counted.undecided, "is undecided", "are undecided"),
        )
        if n
    ]
    kind = f" {_KINDS.get(each.claim.measure, 'comparisons')}" if column == RAW else ""
    said = ", ".join([f"{counted.shown} of {counted.all}{kind} show it", *others])
    of_models: dict[str, list[str]] = {}
    for average in found:
        if average.column == column:
            of_models.setdefault(average.model, []).append(average.value)
    numbers = "; ".join(", ".join(values) for values in of_models.values())
    return f"{_where(each, column)} {said}{f' ({numbers})' if numbers else ''}".lstrip()


def _where(each: JudgedClaim, column: str) -> str:
    """Say under which length control the counts of a column are; nothing of those raw."""
    if column == CONTROLLED:
        return "with lengths regressed out" if each.claim.measure == "separation" else "by overlap weights"
    return "" if column == RAW else f"in `{column}`"


def predictor_sentence(table: pl.DataFrame, text: str) -> str:
    """Say which kind of measure predicts a metric best, and how often; in one text of PREDICTORS with its keys."""
    groups = table.filter(text=text).group_by("model", "contrast", maintain_order=True)
    best = [row for _, rows in groups if (row := best_of(rows))]
    if not best:
        return ""
    kinds = Counter(title(row["measure"]) for row in best).most_common()
    strongest = max(best, key=lambda row: abs(row["partial"]))
    clear = sum(row["partial_q"] is not None and row["partial_q"] < 0.05 for row in best)
    name = title(f"{strongest['measure']}:{strongest['projection']}")
    where, rho = f"{strongest['contrast']} ({strongest['model']})", with_interval(strongest, "partial")
    return (
        f"In `{text}`, what predicts a metric best given the lengths is "
        f"{', '.join(f'{kind} in {n}' for kind, n in kinds)} "
        f"of {len(best)} contrasts and models, of some projection or of all together; in {clear} with adjusted p (BH) "
        f"below 0.05. The strongest is {name} in {where}, ρ {rho}. The best of many measures is too large by chance."
    )


def best_of(rows: pl.DataFrame) -> dict[str, Any] | None:
    """Return the row of PREDICTORS with the largest partial ρ; None where none is known."""
    known = rows.filter(pl.col("partial").is_not_null())
    return known.sort(pl.col("partial").abs(), descending=True).row(0, named=True) if known.height else None
