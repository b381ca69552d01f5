"""What the scores of one metric come to."""

from collections import Counter
from dataclasses import dataclass

from gradprism.store.run import Run


@dataclass(frozen=True)
class ScoreSummary:
    """Counts and the distribution of one metric's values."""

    metric: str
    about: str  # which model or judge
    rows: int
    ok: int
    skipped: int
    failed: int
    mean: float | None
    quantiles: dict[str, float | None]  # min, 10%, median, 90%, max
    reasons: dict[str, int]  # of skipped and failed rows
    different_tags: int | None  # of instag: tags in the whole set


def summary_of_scores(run: Run, metric: str) -> ScoreSummary:
    """Summarise what is published of one metric. Raises `GradPrismError` where the run holds none of it."""
    scores = run.scores(metric)
    values = scores["value"].drop_nulls()
    by_status = Counter(scores["status"].to_list())
    points = {"min": 0.0, "10%": 0.1, "median": 0.5, "90%": 0.9, "max": 1.0}
    mean = values.mean()
    return ScoreSummary(
        metric,
        str(run.score_record(metric)["about"]),
        scores.height,
        by_status["ok"],
        by_status["skipped"],
        by_status["failed"],
        mean if isinstance(mean, float) else None,
        {name: values.quantile(point, "linear") for name, point in points.items()},
        dict(Counter(reason for reason in scores["reason"].to_list() if reason).most_common()),
        scores["tags"].explode().drop_nulls().n_unique() if "tags" in scores.columns else None,
    )
