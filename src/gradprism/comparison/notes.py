"""Notes of a comparison: what may explain a difference beside the groups, and what is not compared."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product

import numpy as np
import polars as pl

from gradprism.comparison.contrast import LENGTHS
from gradprism.comparison.decay import MOST_EXAMPLES
from gradprism.comparison.group_matrix import GroupMatrix
from gradprism.comparison.grouping import GroupRows
from gradprism.comparison.length_controls import weighted_control
from gradprism.metrics.titles import title
from gradprism.prism.measures import MEAN, known_measures
from gradprism.runs.own_settings import DECIDING, notes_on_settings
from gradprism.runs.run import Run

_MOST_REASONS = 6
_MUST_AGREE = (
    "text.", "prism.precision", "prism.projections", "prism.loss", "prism.beta", "prism.reference", "prism.weights",
    "arithmetic", "spectra", "template digest", "architecture digest", "method",
)  # fmt: skip
_IN_WORDS = {"method": "how rows are read and their loss is taken (method; None of an earlier gradprism)"}


def run_notes(groups: Sequence[GroupRows], metrics: Sequence[str]) -> Iterator[str]:
    """Note incomplete runs, unmeasured and truncated rows, and other settings of runs and scores."""
    runs = [*{group.run.path: group.run for group in groups}.values()]
    for run in runs:
        if not run.is_complete:
            yield f"INCOMPLETE: the run {run.path.name} has {run.counts.done:,} of {run.counts.rows:,} rows so far."
        if run.counts.reasons and any(group.run is run and not group.is_whole for group in groups):
            yield f"In no group, as they could not be measured: {_reasons_in_words(run.counts.reasons)}."
    for group in groups:
        if truncated := _count_truncated(group):
            yield f"{group.name}: {truncated:,} of {len(group.rows):,} rows were cut at the greatest length."
    first, *others = runs
    for other in others:
        yield from _other_settings(first, other)
    for run in runs:
        chosen_by = [group.chosen_by for group in groups if group.run is run and group.chosen_by]
        for note in notes_on_settings(run, [*chosen_by, *metrics]):
            yield note if len(runs) == 1 else f"{run.path.name}: {note}"
    for other, name in product(others, metrics):
        if name in first.metrics and name in other.metrics and (different := _other_score_settings(first, other, name)):
            yield (
                f"The scores {name} of the runs {first.path.name} and {other.path.name} differ in "
                f"{', '.join(different)}. A difference between them may be that."
            )


def notes_on_shared_rows(groups: Sequence[GroupRows]) -> Iterator[str]:
    """Note examples that stand in two groups, of groups that are taken as independent."""
    for one, two in combinations(groups, 2):
        if both := len(_contents(one) & _contents(two)):
            yield (
                f"{both:,} different examples stand in both {one.name} and {two.name}: their difference is understated "
                "and the tests, which take rows as independent, are not exact."
            )


def group_notes(
    groups: Sequence[GroupMatrix], contrasts: Sequence[tuple[str, str]], by: str | None, effects: pl.DataFrame
) -> Iterator[str]:
    """Note missing values and lengths, contrasts left out, groups chosen by a metric, samples, and poor overlap."""
    for group in groups:
        yield from _missing_values(group)
        yield from _without_logarithm(group)
    for group in groups:
        if unknown := int((~np.isfinite(group.lengths)).any(axis=1).sum()):
            yield (
                f"{group.name}: the token counts of {unknown:,} of {group.examples.height:,} rows are not known, so "
                "that no length-controlled figure has them. gradprism import --model counts tokens."
            )
    if len(contrasts) < len(groups) * (len(groups) - 1) / 2 and len({first for first, _ in contrasts}) == 1:
        yield f"{len(groups)} groups: each is compared with {contrasts[0][0]} only; --against NAME chooses another."
    if by is not None:
        yield (
            f"The groups are the extremes of {by}: it is not tested, and correlations over both groups together are "
            "larger than among all rows."
        )
    if by in LENGTHS:
        yield "Groups chosen by length have no rows of like length: an effect of length cannot be told from any other."
    if any(group.examples.height > MOST_EXAMPLES for group in groups):
        yield f"The decay of singular values is of {MOST_EXAMPLES} rows of each group, drawn at random."
    named = {group.name: group for group in groups}
    for first, second in contrasts:
        yield from _overlap(named[first], named[second], effects)


def _other_settings(first: Run, other: Run) -> Iterator[str]:
    made, now = first.record["identity"], other.record["identity"]
    for name in sorted({*made, *now}):
        if name.startswith(_MUST_AGREE) and made.get(name) != now.get(name):
            yield (
                f"The runs {first.path.name} and {other.path.name} differ in {_IN_WORDS.get(name, name)}: "
                f"{made.get(name)!r} and {now.get(name)!r}. A difference between them may be that."
            )


def _other_score_settings(first: Run, other: Run, name: str) -> list[str]:
    """List the settings in which scores differ, except those that notes on the runs and their scores speak of."""
    made, now = (run.score_record(name).get("identity", {}) for run in (first, other))
    noted = (*DECIDING, "part_rows") if "text.template" in made and "text.template" in now else ("part_rows",)
    return [key for key in sorted({*made, *now}) if made.get(key) != now.get(key) and not key.startswith(noted)]


def _reasons_in_words(reasons: Mapping[str, int]) -> str:
    shown = [f"{n:,} x {reason}" for reason, n in list(reasons.items())[:_MOST_REASONS]]
    return "; ".join(shown) + ("; ..." if len(reasons) > _MOST_REASONS else "")


def _count_truncated(group: GroupRows) -> int:
    return int(_examples_of(group).select(pl.col("truncated").sum()).collect().item() or 0)


def _contents(group: GroupRows) -> set[str]:
    return set(_examples_of(group).select("content_hash").collect()["content_hash"].drop_nulls())


def _examples_of(group: GroupRows) -> pl.LazyFrame:
    return group.run.scan("examples").filter(pl.col("row").is_in(group.rows.implode()))


def _missing_values(group: GroupMatrix) -> Iterator[str]:
    for measure in group.features.measures:
        cells = [
            i for i, (m, p, layer) in enumerate(group.features.keys) if m == measure and p != MEAN and layer is not None
        ]
        missing = np.isnan(group.values[:, cells])
        if rows := int(missing.any(axis=1).sum()):
            yield (
                f"{group.name}: {rows:,} of {len(missing):,} rows have no {title(measure)} in some layer "
                f"({missing.mean():.1%} of all values; of a zero gradient it has none). Their means are of the layers "
                "that have one."
            )


def _without_logarithm(group: GroupMatrix) -> Iterator[str]:
    """Note rows whose mean of a measure of sizes is 0, which no ratio has."""
    for index, (measure, projection, layer) in enumerate(group.features.keys):
        if projection != MEAN or layer is not None or known_measures()[measure].scale != "log":
            continue
        if zeros := int((group.values[:, index] <= 0).sum()):
            yield (
                f"{group.name}: {zeros:,} of {len(group.values):,} rows have 0 as their {title(measure)}, which has "
                "no logarithm. No ratio, interval or p has them; the means do."
            )


def _overlap(first: GroupMatrix, second: GroupMatrix, effects: pl.DataFrame) -> Iterator[str]:
    """Note where two groups have no common support in length."""
    if not all(np.isfinite(group.lengths).all(axis=1).any() for group in (first, second)):
        return  # there is a note on unknown lengths
    rows = effects.filter(pl.col("weighted_n_first").is_not_null(), first=first.name, second=second.name)
    if rows.is_empty() or weighted_control(row := rows.row(0, named=True)).has_support:
        return
    smaller, pairs = min(first.examples.height, second.examples.height), row["matched_pairs"]
    yield (
        f"{first.name} and {second.name} hardly overlap in length: {pairs:,} pairs of at most {smaller:,} match. "
        "What of their difference is length, only windows of equally many tokens could tell (--window)."
    )
