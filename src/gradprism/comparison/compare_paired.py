"""Comparison of the same rows through two models or checkpoints: what changes in each row, on average over rows.

The row is its own control: its text, tokens and length are the same on both sides, so that a paired effect needs no
control of length. Groups of rows differ in length, so whether one of them changed more than another (the interaction)
is a contrast of two groups of paired effects, raw and length-controlled like every other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import polars as pl

from gradprism.comparison.comparable import comparable_metrics
from gradprism.comparison.comparison import Comparison, Paired
from gradprism.comparison.comparison_tables import INTERACTIONS, PAIRS
from gradprism.comparison.contrast import LENGTHS, ScaledValues, Side, contrast, effects_table
from gradprism.comparison.decay import decay_table
from gradprism.comparison.descriptive import describe_group
from gradprism.comparison.findings import findings, interaction_finding
from gradprism.comparison.group_matrix import GroupMatrix
from gradprism.comparison.grouping import WHOLE, GroupRows, split
from gradprism.comparison.layer_curves import mad_changes, mad_table, rd_table
from gradprism.comparison.notes import group_notes, run_notes
from gradprism.comparison.parts_in_common import about_groups, contrasts_of, example_table, generators, group_summary
from gradprism.comparison.row_cosines import row_cosines, why_no_cosines
from gradprism.comparison.row_pairs import RowPairs, pair_rows
from gradprism.comparison.same_depth import read_sides, with_common_values
from gradprism.comparison.settings import CompareSettings
from gradprism.core.errors import GradPrismError
from gradprism.core.numbers import number
from gradprism.correlation.tables import CORRELATIONS
from gradprism.files.paths import base_name
from gradprism.prism.measures import MEAN
from gradprism.runs.run import Run
from gradprism.stats.bootstrap import Resampled, resample_means
from gradprism.stats.missing import mean_present
from gradprism.stats.multiplicity import benjamini_hochberg
from gradprism.stats.paired import FEWEST_PAIRS, paired_interval
from gradprism.stats.permutation import sign_flip_p

_SHORT = 8  # characters of a revision: enough to tell two apart


def compare_paired(runs: Mapping[str, Run], settings: CompareSettings, about: Mapping[str, Any]) -> Comparison:
    """Compare the same rows of two runs: the later one given against the earlier, or the other against `against`.

    With `by`, each group of rows by itself too, and whether they changed by different factors. `about` is stored beside
    the tables. Raises `GradPrismError` where no rows can be paired.
    """
    (second, before), (first, after) = _ordered(runs, settings)
    pairs = pair_rows(after, before, (first, second))
    whole, on_values = _read(first, after, second, before, pairs, settings)
    groups, on_groups = _groups(before, pairs, settings)
    draws = generators(settings.seed)
    contrasts = [_contrast_sides(whole.taken(*group), settings, next(draws)) for group in groups]
    by = groups[-1][1].chosen_by if groups[1:] else None
    effects = [_effects(one, other, whole.scaled.logged, settings, draws) for one, other in contrasts]
    matrices = [side.group for pair in contrasts for side in pair]
    cosines = _cosines(after, before, pairs, settings, next(draws))
    against = None if settings.against in runs else settings.against
    interactions = _interactions(whole, groups[1:], against, settings, draws)
    measures, table = whole.first.features.measures, pl.concat(effects)
    names = tuple((one.name, other.name) for one, other in contrasts)
    return Comparison(
        groups=tuple(map(group_summary, matrices)),
        contrasts=names,
        findings=tuple(chain.from_iterable(
            findings(rows, measures, by if place else None, settings.margin) for place, rows in enumerate(effects)
        )),
        notes=(
            *pairs.notes, *on_values, *on_groups, *_notes(pairs, settings),
            *run_notes([side.group.chosen for side in contrasts[0]], whole.metrics),
            *group_notes(matrices[:2], names[:1], by, table),
        ),
        about={
            **about, **about_groups(matrices[:2], whole.metrics, settings),
            "model": _model_of_both(before, after),
            "models": {name: {**run.record["model"], "in_words": _in_words(run)}
                       for name, run in ((second, before), (first, after))},
            "cosine": cosines.about,
        },
        levels=pl.concat([describe_group(side) for pair in contrasts for side in pair]),
        effects=table,
        mad=mad_table([side for pair in contrasts for side in pair]),
        rd=rd_table(contrasts, paired=True),
        examples=pl.concat([example_table(matrix) for matrix in matrices], how="diagonal"),
        decay=pl.concat(_decays(contrasts, settings)),
        correlations=pl.DataFrame(schema=CORRELATIONS),
        paired=Paired(
            _pairs_table(whole, pairs, groups[1:], cosines),
            interactions,
            pl.concat([mad_changes(*pair, settings.resamples, next(draws)) for pair in contrasts]),
            tuple(_interaction_findings(interactions, measures, (first, second), by, settings)),
        ),
    )  # fmt: skip


def _ordered(runs: Mapping[str, Run], settings: CompareSettings) -> list[tuple[str, Run]]:
    """Return the run that the other is compared with, and the other. Raises `GradPrismError` where they are not two."""
    if len(runs) != 2:
        raise GradPrismError(
            f"--paired compares the same rows in two runs; given: {len(runs)}. Expected before=RUN after=RUN."
        )
    if settings.window is not None:
        raise GradPrismError(
            "--window controls length, and the same rows have the same lengths: leave it out with --paired."
        )
    if settings.against is not None and settings.against not in runs and settings.by is None:
        raise GradPrismError(f"--against {settings.against}: no such run. Expected one of {', '.join(runs)}.")
    (one, first), (other, second) = runs.items()
    if first.path.resolve() == second.path.resolve():
        raise GradPrismError(f"{one} and {other} are the same run, {first.path}: nothing can differ between them.")
    found = [(one, first), (other, second)]
    return found[::-1] if settings.against == other else found


@dataclass(frozen=True)
class _Whole:
    """All pairs of two runs: values of both sides in their order, as they are and on the scale of effects."""

    first: GroupMatrix
    second: GroupMatrix
    scaled: ScaledValues
    metrics: Sequence[str]

    @property
    def effects(self) -> np.ndarray:
        """Paired effects, (pairs, features): logarithms of ratios, or differences; NaN where a side has no value."""
        return np.asarray(self.scaled.first - self.scaled.second)

    def taken(self, rows: np.ndarray, chosen: GroupRows) -> tuple[GroupMatrix, GroupMatrix]:
        """Return both sides of some pairs, named by their group; those of all pairs have the names of the runs."""
        sides = []
        for side in (self.first, self.second):
            name, rule = side.name, side.chosen.rule
            if chosen.rule != WHOLE:
                name, rule = f"{side.name}: {chosen.name}", chosen.rule
            examples = side.examples[rows]
            group = GroupRows(name, side.run, rule, examples["row"], chosen.chosen_by)
            sides.append(GroupMatrix(group, examples, side.features, side.values[rows]))
        return sides[0], sides[1]


def _read(
    first: str, after: Run, second: str, before: Run, pairs: RowPairs, settings: CompareSettings
) -> tuple[_Whole, list[str]]:
    """Read the values of all pairs; with notes on what cannot be compared."""
    metrics, on_metrics = comparable_metrics([after, before])
    metrics = [name for name in metrics if name not in LENGTHS and not name.startswith("column:")]
    chosen = [
        GroupRows(name, run, WHOLE if run.counts.ok == len(pairs) else f"the rows that {other} has too", rows)
        for name, run, rows, other in (
            (first, after, pairs.table["row_first"], second), (second, before, pairs.table["row_second"], first),
        )
    ]  # fmt: skip
    sides, notes = read_sides(chosen[0], chosen[1], metrics, settings.measures)
    one, other = (_in_order(side, rows) for side, rows in zip(sides, (c.rows for c in chosen), strict=True))
    one, other, lost = with_common_values(one, other)
    if lost:
        notes.append(
            f"{lost:,} of {len(pairs):,} rows have some value on one side alone: it, and the means that it is part of, "
            "are left out of both."
        )
    return _Whole(one, other, ScaledValues.of(one, other), metrics), [*on_metrics, *notes]


def _in_order(matrix: GroupMatrix, rows: pl.Series) -> GroupMatrix:
    """Return a matrix with its rows in the order of the pairs."""
    places = {row: place for place, row in enumerate(matrix.examples["row"])}
    order = [places[row] for row in rows]
    return replace(matrix, examples=matrix.examples[order], values=matrix.values[order])


def _groups(
    before: Run, pairs: RowPairs, settings: CompareSettings
) -> tuple[list[tuple[np.ndarray, GroupRows]], list[str]]:
    """Return the positions of all pairs, then those of each group of `by`, which is read from the run before."""
    rows = pairs.table["row_second"]
    everything = (np.arange(len(pairs)), GroupRows(WHOLE, before, WHOLE, rows))
    if settings.by is None:
        return [everything], []
    found, notes = split(before, settings, among=rows)
    places = [(np.flatnonzero(rows.is_in(group.rows.implode()).to_numpy()), group) for group in found]
    return [everything, *places], notes


def _contrast_sides(
    sides: tuple[GroupMatrix, GroupMatrix], settings: CompareSettings, rng: np.random.Generator
) -> tuple[Side, Side]:
    """Resample both sides together, row by row."""
    both = resample_means(np.concatenate([side.values for side in sides], axis=1), settings.resamples, rng)
    width = len(sides[0].features.keys)
    first, second = both.map(lambda means: means[..., :width]), both.map(lambda means: means[..., width:])
    return Side(sides[0], first), Side(sides[1], second)


def _effects(
    first: Side, second: Side, logged: np.ndarray, settings: CompareSettings, draws: Iterator[np.random.Generator]
) -> pl.DataFrame:
    """Make the table EFFECTS of one paired contrast."""
    scaled = ScaledValues.of_scale(first.group, second.group, logged)
    effects = scaled.first - scaled.second
    n, n_values = (np.isfinite(values).sum(axis=0) for values in (effects, first.values))
    means = resample_means(effects, settings.resamples, next(draws))
    low, high = paired_interval(means, n=n)
    difference = _difference(first.means, second.means)
    difference_low, difference_high = paired_interval(difference, n=n_values)
    p = sign_flip_p(effects, settings.resamples, next(draws))
    families = [(measure, layer is None) for measure, _, layer in first.features.keys]
    columns = {
        "n_first": n_values, "n_second": n_values, "mean_first": first.means.observed,
        "mean_second": second.means.observed, "difference": difference.observed, "difference_low": difference_low,
        "difference_high": difference_high, "regression_scale": np.where(logged, "log", "linear"),
        "raw_effect": means.observed, "raw_effect_low": low, "raw_effect_high": high, "paired_rows": n,
        "paired_higher": (effects > 0).sum(axis=0), "p": p, "q": benjamini_hochberg(p, families),
    }  # fmt: skip
    return effects_table(first.name, second.name, first.features, columns)


def _difference(first: Resampled, second: Resampled) -> Resampled:
    width = len(first.observed)
    return Resampled.joined(first, second).map(lambda means: means[..., :width] - means[..., width:])


def _interactions(
    whole: _Whole,
    groups: Sequence[tuple[np.ndarray, GroupRows]],
    against: str | None,
    settings: CompareSettings,
    draws: Iterator[np.random.Generator],
) -> pl.DataFrame:
    """Make the table INTERACTIONS: every two groups of rows, by their paired effects."""
    effects = replace(whole.second, values=whole.effects)
    sides = {
        group.name: Side(
            GroupMatrix(group, effects.examples[rows], effects.features, effects.values[rows]),
            resample_means(effects.values[rows], settings.resamples, next(draws)),
        )
        for rows, group in groups
    }
    places = {group.name: rows for rows, group in groups}
    tables = []
    for one, other in contrasts_of([*sides], against):
        first, second = sides[one], sides[other]
        scaled = ScaledValues(first.values, second.values, whole.scaled.logged)
        gaps = {
            f"gap_{side}": mean_present(values[places[one]], 0) - mean_present(values[places[other]], 0)
            for side, values in (("first", whole.scaled.first), ("second", whole.scaled.second))
        }
        table = contrast(first, second, settings, draws, scaled=scaled)
        tables.append(table.with_columns(pl.Series(name, gap).fill_nan(None) for name, gap in gaps.items()))
    return pl.concat(tables) if tables else pl.DataFrame(schema=INTERACTIONS)


def _interaction_findings(
    table: pl.DataFrame, measures: Sequence[str], sides: tuple[str, str], by: str | None, settings: CompareSettings
) -> Iterator[Any]:
    means = table.filter(pl.col("layer").is_null(), pl.col("measure").is_in(measures), projection=MEAN)
    for row in means.iter_rows(named=True):
        yield interaction_finding(row, sides, by, settings.margin)


@dataclass(frozen=True)
class _Cosines:
    values: np.ndarray
    errors: np.ndarray
    about: Mapping[str, Any]


def _cosines(after: Run, before: Run, pairs: RowPairs, settings: CompareSettings, rng: np.random.Generator) -> _Cosines:
    """Estimate the cosine of each row's gradients and their mean, or say why there is none."""
    if why := why_no_cosines(after, before):
        missing = np.full(len(pairs), np.nan)
        return _Cosines(missing, missing, {"in_words": f"of a row's gradients in the two models: {why}."})
    values, errors = row_cosines(after, before, pairs)
    means = resample_means(values[:, None], settings.resamples, rng)
    low, high = paired_interval(means, n=np.isfinite(values).sum(keepdims=True))
    mean, error = float(means.observed[0]), float(np.nanmean(errors)) if np.isfinite(errors).any() else float("nan")
    dimension = after.record["identity"]["prism.sketch"]
    interval = "" if np.isnan(low[0]) else f" [{low[0]:.3f}, {high[0]:.3f}]"
    said = (
        f"of a row's gradients in the two models: mean {mean:.3f}{interval}, each known to about ±{number(error, 1)} "
        f"(sketches of dimension {dimension:,})"
    )
    numbers = {"mean": mean, "low": float(low[0]), "high": float(high[0]), "error": error}
    return _Cosines(values, errors, {"in_words": said, "dimension": dimension} | {
        name: None if np.isnan(value) else value for name, value in numbers.items()})  # fmt: skip


def _pairs_table(
    whole: _Whole, pairs: RowPairs, groups: Sequence[tuple[np.ndarray, GroupRows]], cosines: _Cosines
) -> pl.DataFrame:
    """Make the table PAIRS, with the effect in each layer mean and metric as a column."""
    names = np.full(len(pairs), None, dtype=object)
    for rows, group in groups:
        names[rows] = group.name
    lengths = whole.second.examples.select("n_prompt_tokens", "n_response_tokens", "truncated")
    table = pairs.table.hstack(lengths).with_columns(
        pl.Series("group", names.tolist(), dtype=pl.String),
        pl.Series("cosine", cosines.values).fill_nan(None),
        pl.Series("cosine_error", cosines.errors).fill_nan(None),
    )
    effects = [
        pl.Series(measure if projection is None else f"{measure}:{projection}", whole.effects[:, column]).fill_nan(None)
        for column, (measure, projection, layer) in enumerate(whole.first.features.keys)
        if layer is None
    ]
    return table.select(PAIRS.names()).cast(PAIRS).hstack(effects)


def _decays(contrasts: Sequence[tuple[Side, Side]], settings: CompareSettings) -> Iterator[pl.DataFrame]:
    """Make the table DECAY of both sides, of the same rows where they are a sample."""
    for place, pair in enumerate(contrasts):
        for side in pair:
            yield decay_table(side.group, np.random.default_rng([settings.seed, place]))


def _notes(pairs: RowPairs, settings: CompareSettings) -> Iterator[str]:
    if len(pairs) < FEWEST_PAIRS:
        yield f"{len(pairs):,} pairs are too few for any interval; expected at least {FEWEST_PAIRS}."
    if settings.by is not None and settings.quantile is not None:
        yield (
            f"The groups are extremes of {settings.by} in the run before: rows at the ends of anything that was "
            "measured once tend to fall back towards the middle when they are measured again."
        )


def _model_of_both(before: Run, after: Run) -> dict[str, Any]:
    """Return the record of the earlier model under a name that stands for both, with the fewer layers."""
    records = before.record["model"], after.record["model"]
    names = dict.fromkeys(base_name(str(model["name"])) for model in records)
    layers = [model["layers"] for model in records if model.get("layers")]
    return {**records[0], "name": " → ".join(names), "layers": min(layers, default=None)}


def _in_words(run: Run) -> str:
    """Describe a model on one line: what tells it from another checkpoint of the same name is among it."""
    model, identity = run.record["model"], run.record["identity"]
    adapter, revision = model.get("adapter"), str(model.get("revision") or "").split("+")
    parts = [
        model.get("class"),
        f"{model['layers']} layers" if model.get("layers") else None,
        model.get("dtype"),
        f"adapter {base_name(str(adapter))}" if adapter else None,
        f"revision {'+'.join(part[:_SHORT] for part in revision)}" if any(revision) else None,
        f"random weights {identity['checkpoint.init_seed']}" if identity.get("checkpoint.from_scratch") else None,
    ]
    return f"{base_name(str(model['name']))} ({', '.join(part for part in parts if part)})"
