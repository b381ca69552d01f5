"""Comparison of groups of examples: every table of a `Comparison`, from the values of the groups."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from gradprism.comparison.comparable import comparable_metrics, refuse_other_models
from gradprism.comparison.comparison import Comparison, Finding
from gradprism.comparison.comparison_tables import EFFECTS
from gradprism.comparison.contrast import Side, contrast
from gradprism.comparison.decay import decay_table
from gradprism.comparison.descriptive import describe_group
from gradprism.comparison.findings import findings
from gradprism.comparison.group_matrix import GroupMatrix, read_groups
from gradprism.comparison.grouping import GroupRows
from gradprism.comparison.layer_curves import mad_table, rd_table
from gradprism.comparison.notes import group_notes, notes_on_shared_rows, run_notes
from gradprism.comparison.parts_in_common import (
    about_groups,
    contrasts_of,
    correlations_of,
    example_table,
    generators,
    group_summary,
    untested_by_choice,
)
from gradprism.comparison.settings import CompareSettings
from gradprism.comparison.windows import advice, command_of, measure_windows, window_of, windowed_path
from gradprism.core.errors import GradPrismError
from gradprism.core.progress import Progress
from gradprism.stats.bootstrap import resample_means


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
    draws = generators(settings.seed)
    sides = {group.name: Side(group, resample_means(group.values, settings.resamples, next(draws))) for group in groups}
    pairs = contrasts_of([*sides], settings.against)
    by = chosen[0].chosen_by
    windows, on_windows = _windows(chosen, groups, settings, observer)
    tables = [
        untested_by_choice(contrast(sides[one], sides[two], settings, draws, _both(windows, one, two)), by)
        for one, two in pairs
    ]
    effects = pl.concat(tables) if tables else pl.DataFrame(schema=EFFECTS)
    examples = pl.concat([example_table(group) for group in groups], how="diagonal")
    return Comparison(
        groups=tuple(group_summary(group) for group in groups),
        contrasts=tuple(pairs),
        findings=_findings(effects, groups, by, settings),
        notes=(
            *notes,
            *run_notes(chosen, metrics),
            *notes_on_shared_rows(chosen),
            *on_windows,
            *unshared_metrics,
            *unshared_features,
            *group_notes(groups, pairs, by, effects),
        ),
        about={**about, **about_groups(groups, metrics, settings)},
        levels=pl.concat([describe_group(side) for side in sides.values()]),
        effects=effects,
        mad=mad_table([*sides.values()]),
        rd=rd_table([(sides[first], sides[second]) for first, second in pairs]),
        examples=examples,
        decay=pl.concat([decay_table(group, next(draws)) for group in groups]),
        correlations=correlations_of(examples, metrics, chosen[0].run.projections),
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
