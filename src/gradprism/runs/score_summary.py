"""Summarise the scores of one metric."""

from collections import Counter
from dataclasses import dataclass

import polars as pl

from gradprism.runs.own_settings import own_settings
from gradprism.runs.run import Run

_MOST_FREQUENT = 8


@dataclass(frozen=True)
class ScoreSummary:
    """The counts and the distribution of one metric's values."""

    metric: str
    about: str  # which model or judge
    own_settings: str  # how model and text differ from the spectra's; empty where they do not
    rows: int
    ok: int
    skipped: int
    failed: int
    mean: float | None
    quantiles: dict[str, float | None]  # min, 10%, median, 90%, max
    truncated: int  # of the rows with a value
    reasons: dict[str, int]  # of skipped and failed rows
    parsed: dict[str, int]  # answers of a judge by the way they were parsed
    different_tags: int | None  # for instag: number of different tags in the whole set
    frequent_tags: dict[str, int]  # the most frequent of them, with the number of rows that have them
    is_count: bool  # whether every value is a whole number
    retries: int  # number of shards that were retried because their worker had died


def summary_of_scores(run: Run, metric: str) -> ScoreSummary:
    """Summarise the published scores of one metric. Raises `GradPrismError` where the run has no such metric."""
    scores = run.scan_scores(metric)
    there = scores.collect_schema().names()
    wanted = ["value", "status", "reason", *(name for name in ("truncated", "parse", "tags") if name in there)]
    return _summary(run, metric, scores.select(wanted).collect())


def _summary(run: Run, metric: str, scores: pl.DataFrame) -> ScoreSummary:
    values = scores["value"].drop_nulls()
    by_status = Counter(scores["status"].to_list())
    points = {"min": 0.0, "10%": 0.1, "median": 0.5, "90%": 0.9, "max": 1.0}
    mean = values.mean()
    tags = corpus_tags(scores) if "tags" in scores.columns else None
    record = run.score_record(metric)
    return ScoreSummary(
        metric,
        str(record["about"]),
        own_settings(run, metric),
        scores.height,
        by_status["ok"],
        by_status["skipped"],
        by_status["failed"],
        mean if isinstance(mean, float) else None,
        {name: values.quantile(point, "linear") for name, point in points.items()},
        _counts(scores.filter(status="ok"), "truncated").get(True, 0),  # type: ignore[call-overload]
        _counts(scores, "reason"),
        _counts(scores.filter(status="ok"), "parse"),
        None if tags is None else tags.height,
        {} if tags is None else dict(tags.head(_MOST_FREQUENT).select("tag", "rows").iter_rows()),
        bool((values == values.round()).all()),
        sum(session.get("retries", 0) for session in record["sessions"]),
    )


def _counts(scores: pl.DataFrame, column: str) -> dict[str, int]:
    """Count the rows with each value of a column, most frequent first; empty where there is no such column."""
    if column not in scores.columns:
        return {}
    return dict(Counter(scores[column].drop_nulls().to_list()).most_common())


def corpus_tags(frame: pl.DataFrame) -> pl.DataFrame:
    """Count the tags of a set, most frequent first: `tag`, the `rows` that have it, their `share` of all scored rows.

    `frame` is the table of `Instag`. The height of the result is the number of different tags: the set's diversity.
    """
    scored = frame.filter(pl.col("value").is_not_null())
    tags = scored.select(tag=pl.col("tags").list.unique()).explode("tag").drop_nulls()
    counted = tags.group_by("tag").agg(rows=pl.len().cast(pl.Int64))
    shared = counted.with_columns(share=pl.col("rows") / max(scored.height, 1))
    return shared.sort("rows", "tag", descending=[True, False])
