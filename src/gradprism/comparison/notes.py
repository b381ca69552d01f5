"""What a reader of a comparison must know beside its numbers."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product

import numpy as np
import polars as pl

from gradprism.comparison.cohort import MEAN, Cohort
from gradprism.comparison.contrast import pairs_of
from gradprism.comparison.decay import MOST_EXAMPLES
from gradprism.comparison.members import Members
from gradprism.metrics.titles import title
from gradprism.prism.tables import MEASURES
from gradprism.runs.own_settings import DECIDING, notes_on_settings
from gradprism.runs.run import Run
from gradprism.stats.length_match import overlap_in_length

_MOST_REASONS = 6
_ALIKE = 1.15  # as much may prompts differ in pairs
_MUST_AGREE = (
    "text.", "prism.precision", "prism.projections", "arithmetic", "template digest", "architecture digest", "method",
)  # fmt: skip
_IN_WORDS = {"method": "how rows are read and their loss is taken (method; None of an earlier gradprism)"}


def of_runs(groups: Sequence[Members]) -> Iterator[str]:
    """Incomplete runs, rows that were cut, other settings of the text, rows that stand in two groups."""
    runs = {group.run.path: group.run for group in groups}
    for run in runs.values():
        if not run.is_complete:
            yield f"INCOMPLETE: the run {run.path.name} has {run.counts.done:,} of {run.counts.rows:,} rows so far."
        if run.counts.reasons and any(group.run is run and not group.is_whole for group in groups):
            yield f"In no group, as they could not be measured: {_listed(run.counts.reasons)}."
    for group in groups:
        if cut := _truncated(group):
            yield f"{group.name}: {cut:,} of {len(group.rows):,} rows were cut at the greatest length."
    first, *others = runs.values()
    for other in others:
        yield from _differences(first, other)
    for one, two in combinations(groups, 2):
        if both := len(_contents(one) & _contents(two)):
            yield (
                f"{both:,} different examples stand in both {one.name} and {two.name}: their difference is understated "
                "and the tests, which take rows as independent, are not exact."
            )


def _differences(first: Run, other: Run) -> Iterator[str]:
    made, now = first.record["identity"], other.record["identity"]
    for name in sorted({*made, *now}):
        if name.startswith(_MUST_AGREE) and made.get(name) != now.get(name):
            yield (
                f"The runs {first.path.name} and {other.path.name} differ in {_IN_WORDS.get(name, name)}: "
                f"{made.get(name)!r} and {now.get(name)!r}. A difference between them may be that."
            )


def of_scores(groups: Sequence[Members], metrics: Sequence[str]) -> Iterator[str]:
    """Scores of other settings than the spectra beside them, and scores of one name that were made differently."""
    runs = [*{group.run.path: group.run for group in groups}.values()]
    for run in runs:
        chosen_by = [group.chosen_by for group in groups if group.run is run and group.chosen_by]
        for note in notes_on_settings(run, [*chosen_by, *metrics]):
            yield note if len(runs) == 1 else f"{run.path.name}: {note}"
    first, *others = runs
    for other, name in product(others, metrics):
        if name in first.metrics and name in other.metrics and (different := _made_differently(first, other, name)):
            yield (
                f"The scores {name} of the runs {first.path.name} and {other.path.name} differ in "
                f"{', '.join(different)}. A difference between them may be that."
            )


def _made_differently(first: Run, other: Run, name: str) -> list[str]:
    """Name the settings in which scores differ, those aside that notes on the runs and their scores speak of."""
    made, now = (run.score_record(name).get("identity", {}) for run in (first, other))
    told = (*DECIDING, "part_rows") if "text.template" in made and "text.template" in now else ("part_rows",)
    return [key for key in sorted({*made, *now}) if made.get(key) != now.get(key) and not key.startswith(told)]


def _listed(reasons: Mapping[str, int]) -> str:
    shown = [f"{n:,} x {reason}" for reason, n in list(reasons.items())[:_MOST_REASONS]]
    return "; ".join(shown) + ("; ..." if len(reasons) > _MOST_REASONS else "")


def _truncated(group: Members) -> int:
    examples = group.run.scan("examples").filter(pl.col("row").is_in(group.rows.implode()))
    return int(examples.select(pl.col("truncated").sum()).collect().item() or 0)


def _contents(group: Members) -> set[str]:
    examples = group.run.scan("examples").filter(pl.col("row").is_in(group.rows.implode())).select("content_hash")
    return set(examples.collect()["content_hash"].drop_nulls())


def of_values(cohorts: Sequence[Cohort]) -> Iterator[str]:
    """Rows that have no value of a measure in some layer, and such as have none at all."""
    for cohort in cohorts:
        for measure in MEASURES:
            cells = [i for i, (m, p, layer) in enumerate(cohort.features.keys)
                     if m == measure and p != MEAN and layer is not None]  # fmt: skip
            missing = np.isnan(cohort.values[:, cells])
            if rows := int(missing.any(axis=1).sum()):
                yield (
                    f"{cohort.members.name}: {rows:,} of {len(missing):,} rows have no {title(measure)} in some "
                    f"layer ({missing.mean():.1%} of all values; of a zero gradient it has none). Their means are of "
                    "the layers that have one."
                )


def of_contrasts(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """That not every two groups are compared."""
    if len(pairs) < len(names) * (len(names) - 1) / 2 and len({first for first, _ in pairs}) == 1:
        yield f"{len(names)} groups: each is compared with {pairs[0][0]} only; --against NAME chooses another."


def of_choice(by: str | None) -> Iterator[str]:
    """What follows from groups that are the extremes of a metric."""
    if by is None:
        return
    yield (
        f"The groups are the extremes of {by}: it is not tested, and correlations over both groups together are larger "
        "than among all rows."
    )
    if by in ("length", "prompt_length"):
        yield "Groups chosen by length have no rows of equal length: what length does cannot be told from the rest."


def of_lengths(cohorts: Sequence[Cohort]) -> Iterator[str]:
    """Groups of which nothing can be said at equal length."""
    for cohort in cohorts:
        unknown = int((~np.isfinite(cohort.lengths)).any(axis=1).sum())
        if unknown:
            yield (
                f"{cohort.members.name}: the token counts of {unknown:,} of {cohort.examples.height:,} rows are not "
                "known, so that these are in no figure at equal length. gradprism import --model counts tokens."
            )


def of_matching(first: Cohort, second: Cohort, caliper: float) -> Iterator[str]:
    """How many rows pair in length, whether models of length extrapolate, and whether prompts differ within pairs."""
    names = f"{first.members.name} and {second.members.name}"
    if not all(np.isfinite(cohort.lengths).any() for cohort in (first, second)):
        return  # there is a note on it
    one, two = pairs_of(first, second, caliper)
    smaller = min(first.examples.height, second.examples.height)
    pairs = f"{len(one):,} pairs of at most {smaller:,} agree in response tokens within {caliper:.0%}"
    if not overlap_in_length(len(one), first.examples.height, second.examples.height):
        yield (
            f"{names} hardly overlap in length: {pairs}. Regression and partial correlation extrapolate there, and are "
            "not taken as evidence."
        )
    if len(one) >= 2:
        ratio = float(np.exp(np.mean(first.lengths[one, 0] - second.lengths[two, 0])))
        if not 1 / _ALIKE < ratio < _ALIKE:
            yield (
                f"{names}: in the pairs the prompts of {first.members.name} are {ratio:.2f} times as long (geometric "
                "mean), so that pairs of equal responses are not of equal length altogether."
            )


def of_sampling(cohorts: Sequence[Cohort]) -> Iterator[str]:
    """That singular-value decay is of a sample."""
    if any(cohort.examples.height > MOST_EXAMPLES for cohort in cohorts):
        yield f"The decay of singular values is of {MOST_EXAMPLES} rows of each group, drawn at random."
