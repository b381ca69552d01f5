"""Groups of examples compared: every table of a `Comparison`, from the cohorts' numbers."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, count
from typing import Any

import numpy as np
import polars as pl

from gradprism.comparison import notes
from gradprism.comparison.cohort import Cohort, read_cohorts
from gradprism.comparison.comparable import comparable_metrics, refuse_other_models
from gradprism.comparison.comparison import Comparison, Group
from gradprism.comparison.comparison_tables import EFFECTS, EXAMPLES
from gradprism.comparison.contrast import Side, contrast
from gradprism.comparison.decay import decay_table
from gradprism.comparison.findings import findings, is_spectral
from gradprism.comparison.layer_curves import mad_table, rd_table
from gradprism.comparison.levels import level_table
from gradprism.comparison.members import Members
from gradprism.comparison.settings import CompareSettings
from gradprism.core.errors import GradPrismError
from gradprism.correlation.correlations import correlation_table, spectral_metrics
from gradprism.prism.tables import MEASURES
from gradprism.runs.run import Run
from gradprism.stats.bootstrap import resample_means

MOST_FOR_ALL_PAIRS = 4


def compare_groups(
    members: Sequence[Members], settings: CompareSettings, about: Mapping[str, Any], remarks: Sequence[str] = ()
) -> Comparison:
    """Compare groups of one model. One group alone is described.

    `about` is what is known beside the tables, such as versions; `remarks` are notes on how the groups were made.
    Raises `GradPrismError` for groups of different models.
    """
    refuse_other_models(members)
    metrics, metric_notes = comparable_metrics([each.run for each in members])
    cohorts, dropped = read_cohorts(members, metrics)
    draws = _draws(settings.seed)
    sides = {cohort.members.name: _side(cohort, settings, draws) for cohort in cohorts}
    pairs = _contrasts([*sides], settings.against)
    by = members[0].chosen_by
    tables = [_known_by_choice(contrast(sides[one], sides[two], settings, draws), by) for one, two in pairs]
    effects = pl.concat(tables) if tables else pl.DataFrame(schema=EFFECTS)
    examples = pl.concat([_examples(cohort) for cohort in cohorts], how="diagonal")
    remarked = [
        *remarks, *notes.of_runs(members), *notes.of_scores(members, metrics), *metric_notes, *dropped,
        *notes.of_values(cohorts),
        *notes.of_lengths(cohorts), *notes.of_contrasts([*sides], pairs), *notes.of_choice(by),
        *notes.of_sampling(cohorts),
        *(note for one, two in pairs for note in
          notes.of_matching(sides[one].cohort, sides[two].cohort, settings.caliper)),
    ]  # fmt: skip
    return Comparison(
        groups=tuple(_group(cohort) for cohort in cohorts),
        contrasts=tuple(pairs),
        findings=tuple(findings(effects, MEASURES, by)),
        notes=tuple(remarked),
        about={**about, **_about(cohorts, metrics, settings)},
        levels=pl.concat([level_table(side) for side in sides.values()]),
        effects=effects,
        mad=mad_table([*sides.values()]),
        rd=rd_table([(sides[first], sides[second]) for first, second in pairs]),
        examples=examples,
        decay=pl.concat([decay_table(cohort, next(draws)) for cohort in cohorts]),
        correlations=_correlations(examples, metrics, members[0].run.projections),
    )


def _draws(seed: int) -> Iterator[np.random.Generator]:
    """Generators that depend on the seed and on their number alone."""
    return (np.random.default_rng([seed, number]) for number in count(1))


def _known_by_choice(effects: pl.DataFrame, by: str | None) -> pl.DataFrame:
    """Without tests of the metric whose extremes the groups are: it differs by construction."""
    if by is None:
        return effects
    measure, _, projection = by.partition("@")[0].partition(":")
    chosen = pl.col("measure") == by
    if is_spectral(by):
        chosen = (pl.col("measure") == measure) & (pl.col("projection") == projection)
    tests = [name for name in EFFECTS if name in ("p", "q") or name.endswith(("_p", "_q"))]
    return effects.with_columns(pl.when(~chosen).then(pl.col(name)).alias(name) for name in tests)


def _side(cohort: Cohort, settings: CompareSettings, draws: Iterator[np.random.Generator]) -> Side:
    return Side(cohort, resample_means(cohort.values, settings.resamples, next(draws)))


def _contrasts(names: Sequence[str], against: str | None) -> list[tuple[str, str]]:
    if against is not None and against not in names:
        raise GradPrismError(f"--against {against}: there is no such group; there are {', '.join(names)}.")
    if against is not None:
        return [(name, against) for name in names if name != against]
    if len(names) <= MOST_FOR_ALL_PAIRS:
        return list(combinations(names, 2))
    return [(names[0], name) for name in names[1:]]


def _examples(cohort: Cohort) -> pl.DataFrame:
    table = cohort.table.with_columns(pl.lit(cohort.members.name).alias("group"))
    return table.select("group", *cohort.table.columns).cast({name: EXAMPLES[name] for name in EXAMPLES})


def _correlations(examples: pl.DataFrame, metrics: Sequence[str], projections: Sequence[str]) -> pl.DataFrame:
    """Over the examples of all groups together."""
    wanted = [name for name in [*metrics, *spectral_metrics(projections)] if name in examples.columns]
    lengths = examples.select("n_prompt_tokens", "n_response_tokens")
    table, _ = correlation_table(examples.select(wanted), lengths)
    return table


def _group(cohort: Cohort) -> Group:
    members, counts = cohort.members, cohort.members.run.counts
    whole = members.is_whole
    truncated = cohort.examples["truncated"]
    medians = [cohort.examples[name].median() for name in ("n_prompt_tokens", "n_response_tokens")]
    return Group(
        members.name,
        str(members.run.path.resolve()),
        members.rule,
        cohort.examples.height,
        counts.skipped if whole else 0,
        counts.failed if whole else 0,
        counts.rows - counts.done,
        None if truncated.null_count() else int(truncated.sum()),
        counts.reasons if whole else {},
        *(float(median) if isinstance(median, int | float) else None for median in medians),
    )


def _about(cohorts: Sequence[Cohort], metrics: Sequence[str], settings: CompareSettings) -> dict[str, Any]:
    """Model, text and data of the groups, and how they were compared."""
    runs = {cohort.members.run.path.resolve(): cohort.members.run for cohort in cohorts}
    first = cohorts[0].members.run
    identity, features = first.record["identity"], cohorts[0].features
    return {
        "model": first.record["model"],
        "text": {name.removeprefix("text."): value for name, value in identity.items() if name.startswith("text.")},
        "precision": identity.get("prism.precision"),
        "data": [_data(run) for run in runs.values()],
        "runs": [str(path) for path in runs],
        "projections": [name for name in first.projections if (MEASURES[0], name, None) in features.place],
        "layers": sorted({layer for measure, _, layer in features.keys if measure in MEASURES and layer is not None}),
        "measures": list(MEASURES),
        "metrics": list(metrics),
        "settings": settings.model_dump(mode="json"),
    }


def _data(run: Run) -> dict[str, Any]:
    counts = run.counts
    return {
        **run.record["data"], "run": str(run.path.resolve()), "ok": counts.ok, "skipped": counts.skipped,
        "failed": counts.failed, "pending": counts.rows - counts.done, "truncated": counts.truncated,
        "reasons": counts.reasons,
    }  # fmt: skip
