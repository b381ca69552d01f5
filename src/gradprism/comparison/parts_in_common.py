"""Parts of a `Comparison` that groups and paired runs have in common: summaries, records, choice of contrasts."""

from collections.abc import Iterator, Sequence
from itertools import combinations, count
from typing import Any

import numpy as np
import polars as pl

from gradprism.comparison.comparison import Group
from gradprism.comparison.comparison_tables import EFFECTS, EXAMPLES
from gradprism.comparison.findings import is_spectral
from gradprism.comparison.group_matrix import GroupMatrix
from gradprism.comparison.settings import CompareSettings
from gradprism.core.errors import GradPrismError
from gradprism.correlation.correlations import correlation_table, spectral_metrics
from gradprism.runs.run import Run

MOST_FOR_ALL_PAIRS = 4


def generators(seed: int) -> Iterator[np.random.Generator]:
    """Yield random generators that depend on the seed and on their number alone."""
    return (np.random.default_rng([seed, number]) for number in count(1))


def untested_by_choice(effects: pl.DataFrame, by: str | None) -> pl.DataFrame:
    """Null the tests of the metric whose extremes the groups are, since it differs by construction."""
    if by is None:
        return effects
    measure, _, projection = by.partition("@")[0].partition(":")
    chosen = pl.col("measure") == by
    if is_spectral(by):
        chosen = (pl.col("measure") == measure) & (pl.col("projection") == projection)
    tests = [name for name in EFFECTS if name in ("p", "q") or name.endswith(("_p", "_q"))]
    return effects.with_columns(pl.when(~chosen).then(pl.col(name)).alias(name) for name in tests)


def contrasts_of(names: Sequence[str], against: str | None) -> list[tuple[str, str]]:
    """Pair every two groups; of many groups, or with `against`, each with one. Raises `GradPrismError` for no group."""
    if against is not None and against not in names:
        raise GradPrismError(f"--against {against}: no such group. Expected one of {', '.join(names)}.")
    if against is not None:
        return [(name, against) for name in names if name != against]
    if len(names) <= MOST_FOR_ALL_PAIRS:
        return list(combinations(names, 2))
    return [(names[0], name) for name in names[1:]]


def example_table(group: GroupMatrix) -> pl.DataFrame:
    table = group.table.select(pl.lit(group.name).alias("group"), pl.all())
    return table.cast({name: EXAMPLES[name] for name in EXAMPLES})


def correlations_of(examples: pl.DataFrame, metrics: Sequence[str], projections: Sequence[str]) -> pl.DataFrame:
    """Correlate metrics and measures over the examples of all groups together."""
    wanted = [name for name in [*metrics, *spectral_metrics(projections)] if name in examples.columns]
    lengths = examples.select("n_prompt_tokens", "n_response_tokens")
    table, _ = correlation_table(examples.select(wanted), lengths)
    return table


_PRECISION = ("prism.precision", "arithmetic", "spectra")


def group_summary(group: GroupMatrix) -> Group:
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


def about_groups(groups: Sequence[GroupMatrix], metrics: Sequence[str], settings: CompareSettings) -> dict[str, Any]:
    """Record model, text and data of the groups, and the settings of the comparison."""
    runs = {group.run.path.resolve(): group.run for group in groups}
    first = groups[0].run
    identity, features = first.record["identity"], groups[0].features
    measures = features.measures
    curves = [curve for curve in features.curves if curve[0] in measures]
    return {
        "model": first.record["model"],
        "text": {name.removeprefix("text."): value for name, value in identity.items() if name.startswith("text.")},
        "precision": "; ".join(map(str, filter(None, map(identity.get, _PRECISION)))) or None,
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
