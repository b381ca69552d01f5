"""Comparison of groups of examples: every table of a `Comparison`, from the values of the groups."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, count
from typing import Any

import numpy as np
import polars as pl

from gradprism.comparison.comparable import comparable_metrics, refuse_other_models
from gradprism.comparison.comparison import Comparison, Finding, Group
from gradprism.comparison.comparison_tables import EFFECTS, EXAMPLES
from gradprism.comparison.contrast import Side, contrast
from gradprism.comparison.decay import decay_table
from gradprism.comparison.descriptive import describe_group
from gradprism.comparison.findings import findings, is_spectral
from gradprism.comparison.group_matrix import GroupMatrix, read_groups
from gradprism.comparison.grouping import GroupRows
from gradprism.comparison.layer_curves import mad_table, rd_table
from gradprism.comparison.notes import group_notes, run_notes
from gradprism.comparison.settings import CompareSettings
from gradprism.comparison.windows import advice, command_of, measure_windows, window_of, windowed_path
from gradprism.core.errors import GradPrismError
from gradprism.core.progress import Progress
from gradprism.correlation.correlations import correlation_table, spectral_metrics
from gradprism.runs.run import Run
from gradprism.stats.bootstrap import resample_means

MOST_FOR_ALL_PAIRS = 4


def compare_groups(
    chosen: Sequence[GroupRows],
    settings: CompareSettings,
    about: Mapping[str, Any],
    notes: Sequence[str] = (),
    observer: Progress | None = None,
) -> Comparison:
    """Compare groups of one model. One group alone is described.

    `observer` hears of windows that are measured. `about` is stored beside the tables, such as versions; `notes` are
    those on how the groups were made. Raises `GradPrismError` for groups of different models.
    """
    refuse_other_models(chosen)
    metrics, unshared_metrics = comparable_metrics([group.run for group in chosen])
    groups, unshared_features = read_groups(chosen, metrics, settings.measures)
    draws = _generators(settings.seed)
    sides = {group.name: Side(group, resample_means(group.values, settings.resamples, next(draws))) for group in groups}
    pairs = _contrasts([*sides], settings.against)
    by = chosen[0].chosen_by
    windows, on_windows = _windows(chosen, groups, settings, observer)
    tables = [
        _untested_by_choice(contrast(sides[one], sides[two], settings, draws, _both(windows, one, two)), by)
        for one, two in pairs
    ]
    effects = pl.concat(tables) if tables else pl.DataFrame(schema=EFFECTS)
    examples = pl.concat([_example_table(group) for group in groups], how="diagonal")
    return Comparison(
        groups=tuple(_group_summary(group) for group in groups),
        contrasts=tuple(pairs),
        findings=_findings(effects, groups, by, settings),
        notes=(
            *notes,
            *run_notes(chosen, metrics),
            *on_windows,
            *unshared_metrics,
            *unshared_features,
            *group_notes(groups, pairs, by, effects),
        ),
        about={**about, **_about(groups, metrics, settings)},
        levels=pl.concat([describe_group(side) for side in sides.values()]),
        effects=effects,
        mad=mad_table([*sides.values()]),
        rd=rd_table([(sides[first], sides[second]) for first, second in pairs]),
        examples=examples,
        decay=pl.concat([decay_table(group, next(draws)) for group in groups]),
        correlations=_correlations(examples, metrics, chosen[0].run.projections),
    )


def _findings(
    effects: pl.DataFrame, groups: Sequence[GroupMatrix], by: str | None, settings: CompareSettings
) -> tuple[Finding, ...]:
    """Judge every contrast and measure; those that are unclear name the window that would decide."""
    named = {group.name: group for group in groups}
    found = findings(effects, groups[0].features.measures, by, settings.margin)
    if settings.window is not None:
        return tuple(found)
    unclear = {(each.first, each.second) for each in found if each.kind == "unclear"}
    windows = {pair: advice(named[pair[0]], named[pair[1]]) for pair in unclear}
    return tuple(
        replace(each, advice=windows[each.first, each.second]) if each.kind == "unclear" else each for each in found
    )


def _windows(
    chosen: Sequence[GroupRows], groups: Sequence[GroupMatrix], settings: CompareSettings, observer: Progress | None
) -> tuple[Mapping[str, GroupMatrix], list[str]]:
    """Measure the groups in windows where that was asked for; with notes on what they are or why there are none."""
    if settings.window is None:
        return {}, []
    window = window_of(groups, settings.window)
    if window is None:
        return {}, [f"No windows: in one of the groups no row has {settings.window:,} response tokens."]
    try:
        found = measure_windows(chosen, window, settings.measures, observer)
    except GradPrismError as error:
        return {}, [f"No windows could be measured. {error} {command_of(chosen[0].run, window)}"]
    return found, [f"Windows: {window} of every row, measured in {windowed_path(chosen[0].run.path, window).name}."]


def _both(windows: Mapping[str, GroupMatrix], first: str, second: str) -> tuple[GroupMatrix, GroupMatrix] | None:
    return (windows[first], windows[second]) if first in windows and second in windows else None


def _generators(seed: int) -> Iterator[np.random.Generator]:
    """Yield random generators that depend on the seed and on their number alone."""
    return (np.random.default_rng([seed, number]) for number in count(1))


def _untested_by_choice(effects: pl.DataFrame, by: str | None) -> pl.DataFrame:
    """Null the tests of the metric whose extremes the groups are, since it differs by construction."""
    if by is None:
        return effects
    measure, _, projection = by.partition("@")[0].partition(":")
    chosen = pl.col("measure") == by
    if is_spectral(by):
        chosen = (pl.col("measure") == measure) & (pl.col("projection") == projection)
    tests = [name for name in EFFECTS if name in ("p", "q") or name.endswith(("_p", "_q"))]
    return effects.with_columns(pl.when(~chosen).then(pl.col(name)).alias(name) for name in tests)


def _contrasts(names: Sequence[str], against: str | None) -> list[tuple[str, str]]:
    """Pair every two groups; of many groups, or with `against`, each with one. Raises `GradPrismError` for no group."""
    if against is not None and against not in names:
        raise GradPrismError(f"--against {against}: no such group. Expected one of {', '.join(names)}.")
    if against is not None:
        return [(name, against) for name in names if name != against]
    if len(names) <= MOST_FOR_ALL_PAIRS:
        return list(combinations(names, 2))
    return [(names[0], name) for name in names[1:]]


def _example_table(group: GroupMatrix) -> pl.DataFrame:
    table = group.table.select(pl.lit(group.name).alias("group"), pl.all())
    return table.cast({name: EXAMPLES[name] for name in EXAMPLES})


def _correlations(examples: pl.DataFrame, metrics: Sequence[str], projections: Sequence[str]) -> pl.DataFrame:
    """Correlate metrics and measures over the examples of all groups together."""
    wanted = [name for name in [*metrics, *spectral_metrics(projections)] if name in examples.columns]
    lengths = examples.select("n_prompt_tokens", "n_response_tokens")
    table, _ = correlation_table(examples.select(wanted), lengths)
    return table


def _group_summary(group: GroupMatrix) -> Group:
    counts, whole = group.run.counts, group.chosen.is_whole
    truncated = group.examples["truncated"]
    medians = [group.examples[name].median() for name in ("n_prompt_tokens", "n_response_tokens")]
    return Group(
        group.name,
        str(group.run.path.resolve()),
        group.chosen.rule,
        group.examples.height,
        counts.skipped if whole else 0,
        counts.failed if whole else 0,
        counts.rows - counts.done,
        None if truncated.null_count() else int(truncated.sum()),
        counts.reasons if whole else {},
        *(float(median) if isinstance(median, int | float) else None for median in medians),
    )


def _about(groups: Sequence[GroupMatrix], metrics: Sequence[str], settings: CompareSettings) -> dict[str, Any]:
    """Record model, text and data of the groups, and the settings of the comparison."""
    runs = {group.run.path.resolve(): group.run for group in groups}
    first = groups[0].run
    identity, features = first.record["identity"], groups[0].features
    measures = features.measures
    curves = [curve for curve in features.curves if curve[0] in measures]
    return {
        "model": first.record["model"],
        "text": {name.removeprefix("text."): value for name, value in identity.items() if name.startswith("text.")},
        "precision": identity.get("prism.precision"),
        "data": [_data_record(run) for run in runs.values()],
        "runs": [str(path) for path in runs],
        "projections": [name for name in first.projections if name in {projection for _, projection in curves}],
        "layers": sorted(
            {layer for measure, _, layer in features.keys if measure == measures[0] and layer is not None}
        ),
        "measures": list(measures),
        "metrics": list(metrics),
        "settings": settings.model_dump(mode="json"),
    }


def _data_record(run: Run) -> dict[str, Any]:
    counts = run.counts
    return {
        **run.record["data"], "run": str(run.path.resolve()), "ok": counts.ok, "skipped": counts.skipped,
        "failed": counts.failed, "pending": counts.rows - counts.done, "truncated": counts.truncated,
        "reasons": counts.reasons,
    }  # fmt: skip
