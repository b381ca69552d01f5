"""Make the metrics of a recipe; find what the run already knows of the response's likelihood."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import Say
from gradprism.files.places import is_shared, place
from gradprism.metrics.context import KnownSums, MetricContext
from gradprism.metrics.metric import Metric
from gradprism.metrics.registry import find_metric_classes, known_metrics
from gradprism.models.builtin import cache_folder
from gradprism.models.sources import LoadedModel, ModelSource
from gradprism.prism.tables import MEASURES
from gradprism.runs.layout import RUN_FILE, published_parts, score_table
from gradprism.runs.run import open_run
from gradprism.scoring.settings import ScoreRecipe


def make_metric(
    name: str,
    recipe: ScoreRecipe,
    source: ModelSource | None,
    say: Say,
    *,
    will_score: bool = True,
    classifier: LoadedModel | None = None,
) -> Metric:
    """Make a metric, its models not yet loaded; `source` and `classifier` stand in for the recipe's models.

    With `will_score` False it is only to be planned: no weights are prepared, and no key is looked for. The recipe's
    text is settled (see `gradprism.models.text`). Raises `GradPrismError` where the model or judge that the metric
    needs is not named.
    """
    context = MetricContext(
        recipe, say, _answers_file(recipe), partial(known_sums, place(recipe.out)), source, classifier, will_score
    )
    metric = known_metrics()[name]
    if recipe.own and not metric.settings.model_fields:
        raise GradPrismError(f"--set {', '.join(recipe.own)}: the metric {name} has no settings of its own.")
    return metric.make(context)


def refuse_unknown(names: Sequence[str]) -> None:
    """Raise `GradPrismError` for a metric that there is not; of a measure say that it is none to score."""
    for name in names:
        if name.partition(":")[0] in MEASURES:
            raise GradPrismError(
                f"{name} is a measure of the gradient: `gradprism spectra` gives it, there is nothing to score. "
                f"With spectra in the run it is a metric like any other: gradprism select RUN --by {name}"
            )
    find_metric_classes(names)


def reads_text(names: Iterable[str]) -> bool:
    """Tell whether one of these metrics reads the text by a causal language model or its tokenizer."""
    return any(known_metrics()[name].needs in ("tokenizer", "model") for name in names)


def _answers_file(recipe: ScoreRecipe) -> Path:
    """Return the file of a judge's answers: in the run; of a run in an object store, in the user's cache folder."""
    run = place(recipe.out)
    return place(recipe.requests.cache or (cache_folder().parent if is_shared(run) else run) / "judge-cache.sqlite")


def known_sums(run: Path, identity: Mapping[str, Any]) -> KnownSums:
    """Return a function that gives the sums of the response's likelihood that the run already holds.

    They are of spectra (exact ones only) or scores of the same model and text. Read at the first call, 20 bytes a row.
    """

    @cache
    def sums() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        tables = _tables_with_sums(run, identity) if (run / RUN_FILE).exists() else []
        usable = [
            table.filter(pl.col("status") == "ok", pl.col("nll").is_not_null()).select("row", "nll", "n")
            for table in tables
        ]
        empty = pl.LazyFrame(schema={"row": pl.Int64, "nll": pl.Float64, "n": pl.Int32})
        found = pl.concat([empty, *usable]).unique("row", keep="last").sort("row").collect()
        return found["row"].to_numpy(), found["nll"].to_numpy(), found["n"].to_numpy()

    def known(rows: Sequence[int]) -> Mapping[int, tuple[float, int]]:
        there, nll, n = sums()
        places = np.searchsorted(there, rows)
        matched = [(row, place) for row, place in zip(rows, places, strict=True) if place < len(there)]
        return {row: (float(nll[place]), int(n[place])) for row, place in matched if there[place] == row}

    return known


def _tables_with_sums(path: Path, identity: Mapping[str, Any]) -> list[pl.LazyFrame]:
    run = open_run(path)

    def agrees(made: Mapping[str, Any]) -> bool:
        return all(made.get(name) == value for name, value in identity.items())

    tables = []
    for name in run.metrics:
        made = run.score_record(name)["identity"]
        metric = known_metrics().get(made["metric"])
        column = metric.sums_column if metric else None
        if column and agrees(made) and published_parts(path, score_table(name)):
            tables.append(run.scan_scores(name).with_columns(nll=column, n="n_tokens"))
    made = run.record.get("identity", {})
    if agrees(made) and made.get("prism.precision") == "exact":
        tables.append(run.scan("examples").with_columns(nll="nll_sum", n="n_response_tokens"))
    return tables
