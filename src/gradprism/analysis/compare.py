"""Groups of examples compared: every table of a `Comparison`, from the cohorts' numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from gradprism.analysis import notes
from gradprism.analysis.cohort import Cohort, read_cohorts
from gradprism.analysis.comparable import comparable_metrics, refuse_other_models, refuse_unmeasured
from gradprism.analysis.comparison import Comparison, Group
from gradprism.analysis.comparison_tables import EFFECTS, EXAMPLES
from gradprism.analysis.contrast import Matched, Side, contrast
from gradprism.analysis.correlate import correlation_table
from gradprism.analysis.decay import decay_table
from gradprism.analysis.findings import findings
from gradprism.analysis.layer_curves import mad_table, rd_table
from gradprism.analysis.levels import level_table
from gradprism.analysis.members import Members
from gradprism.analysis.statistics.bootstrap import resample_means
from gradprism.compare_recipe import CompareSettings
from gradprism.errors import GradPrismError
from gradprism.store.run import Run
from gradprism.tables import MEASURES

MOST_FOR_ALL_PAIRS = 4


def compare_groups(
    members: Sequence[Members], settings: CompareSettings, about: Mapping[str, Any], remarks: Sequence[str] = ()
) -> Comparison:
    """Compare groups of one model. One group alone is described.

    `about` is what is known beside the tables, such as versions; `remarks` are notes on how the groups were made.
    Raises `GradPrismError` for groups of different models, an incomplete run (unless `settings.incomplete`), or no
    spectra.
    """
    refuse_unmeasured(members, settings.incomplete)
    refuse_other_models(members)
    metrics, metric_notes = comparable_metrics([each.run for each in members])
    draws = _Draws(settings.seed)
    cohorts = read_cohorts(members, metrics)
    sides = [_side(cohort, settings, draws) for cohort in cohorts]
    names = [side.cohort.members.name for side in sides]
    pairs = _contrasts(names, settings.against)
    found = [_contrast(sides, names, pair, settings, draws) for pair in pairs]
    effects = pl.concat([table for table, _ in found]) if found else pl.DataFrame(schema=EFFECTS)
    examples = pl.concat([_examples(cohort) for cohort in cohorts], how="diagonal")
    by_name = dict(zip(names, sides, strict=True))
    found_notes: list[str | None] = [
        *remarks, *notes.of_runs(members), *metric_notes, *notes.of_values(cohorts), *notes.of_contrasts(names, pairs),
        *(notes.of_matching(pair, found[i][1], cohorts, settings.caliper) for i, pair in enumerate(pairs)),
        *notes.of_sampling(cohorts),
    ]  # fmt: skip
    return Comparison(
        groups=tuple(_group(cohort) for cohort in cohorts),
        contrasts=tuple(pairs),
        findings=tuple(findings(effects, MEASURES)),
        notes=tuple(note for note in found_notes if note),
        about={**about, **_about(cohorts, metrics, settings)},
        levels=pl.concat([level_table(side, settings.confidence) for side in sides]),
        effects=effects,
        mad=mad_table(sides, settings.confidence),
        rd=rd_table([(by_name[first], by_name[second]) for first, second in pairs], settings.confidence),
        examples=examples,
        decay=pl.concat([decay_table(cohort, draws.next()) for cohort in cohorts]),
        correlations=_correlations(examples, metrics),
    )


@dataclass
class _Draws:
    """Generators that depend on the seed and on their number alone."""

    seed: int
    taken: int = 0

    def next(self) -> np.random.Generator:
        self.taken += 1
        return np.random.default_rng([self.seed, self.taken])


def _side(cohort: Cohort, settings: CompareSettings, draws: _Draws) -> Side:
    return Side(cohort, resample_means(cohort.values, settings.resamples, draws.next()))


def _contrasts(names: Sequence[str], against: str | None) -> list[tuple[str, str]]:
    if against is not None and against not in names:
        raise GradPrismError(f"--against {against}: there is no such group; there are {', '.join(names)}.")
    if against is not None:
        return [(name, against) for name in names if name != against]
    if len(names) <= MOST_FOR_ALL_PAIRS:
        return list(combinations(names, 2))
    return [(names[0], name) for name in names[1:]]


def _contrast(
    sides: Sequence[Side], names: Sequence[str], pair: tuple[str, str], settings: CompareSettings, draws: _Draws
) -> tuple[pl.DataFrame, Matched]:
    first, second = (sides[names.index(name)] for name in pair)
    return contrast(first, second, settings, draws.next())


def _examples(cohort: Cohort) -> pl.DataFrame:
    table = cohort.table.with_columns(pl.lit(cohort.members.name).alias("group"))
    return table.select("group", *cohort.table.columns).cast({name: EXAMPLES[name] for name in EXAMPLES})


def _correlations(examples: pl.DataFrame, metrics: Sequence[str]) -> pl.DataFrame:
    """Over the examples of all groups together."""
    spectral = [f"{measure}:mean" for measure in MEASURES]
    spectral += [
        c for c in examples.columns if c.startswith(("nuclear_norm:", "effective_rank:")) and c not in spectral
    ]
    wanted = [name for name in [*metrics, *spectral] if name in examples.columns]
    lengths = examples.select("n_prompt_tokens", "n_response_tokens")
    table, _ = correlation_table(examples.select(wanted), lengths)
    return table


def _group(cohort: Cohort) -> Group:
    members, counts = cohort.members, cohort.members.run.counts
    whole = members.is_whole
    medians = [cohort.examples[name].median() for name in ("n_prompt_tokens", "n_response_tokens")]
    return Group(
        members.name,
        str(members.run.path.resolve()),
        members.rule,
        cohort.examples.height,
        counts.skipped if whole else 0,
        counts.failed if whole else 0,
        counts.rows - counts.done,
        int(cohort.examples["truncated"].sum()),
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
        "precision": identity["prism.precision"],
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
