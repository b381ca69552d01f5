"""Make the metrics of a recipe, and look up likelihoods of responses that the run already stores."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import Say
from gradprism.files.paths import is_remote, to_path
from gradprism.metrics.context import KnownSums, MetricContext
from gradprism.metrics.metric import Metric
from gradprism.metrics.registry import find_metric_classes, known_metrics
from gradprism.models.builtin import cache_folder
from gradprism.models.sources import LoadedModel, ModelSource
from gradprism.prism.measures import known_measures
from gradprism.runs.layout import RUN_FILE, published_parts, score_table
from gradprism.runs.run import open_run
from gradprism.runs.scores import score_identities
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
    """Make a metric whose models are not loaded yet; `source` and `classifier` replace the recipe's models.

    With `will_score` False it is only for planning: no weights are downloaded, and no key is needed. The recipe's
    text must be chosen (see `gradprism.models.text`). Raises `GradPrismError` where the recipe does not name the model
    or judge that the metric needs.
    """
    context = MetricContext(
        recipe, say, _answers_file(recipe), partial(known_sums, to_path(recipe.out)), source, classifier, will_score
    )
    metric = known_metrics()[name]
    if recipe.own and not metric.settings.model_fields:
        raise GradPrismError(f"--set {', '.join(recipe.own)}: the metric {name} has no such settings. Leave --set out.")
    return metric.make(context)


def refuse_unknown(names: Sequence[str]) -> None:
    """Raise `GradPrismError` for an unknown metric, or for a spectral measure, which is not scored."""
    for name in names:
        if name.partition(":")[0] in known_measures():
            raise GradPrismError(
                f"{name} is a spectral measure: `gradprism spectra` computes it, and it is not scored. "
                f"With spectra in the run it is used like a metric: gradprism select RUN --by {name}"
            )
    find_metric_classes(names)


def reads_text(names: Iterable[str]) -> bool:
    """Return whether one of these metrics needs a causal language model or its tokenizer."""
    known = known_metrics()
    return any(known[name].needs in ("tokenizer", "model") for name in names if name in known)


def _answers_file(recipe: ScoreRecipe) -> Path:
    """Return the cache file of a judge's answers: in the run, or in the user's cache folder for a run in a store."""
    run = to_path(recipe.out)
    return to_path(recipe.requests.cache or (cache_folder().parent if is_remote(run) else run) / "judge-cache.sqlite")


def known_sums(run: Path, identity: Mapping[str, Any]) -> KnownSums:
    """Return a function that looks up the response's summed log-likelihoods that the run already stores.

    They come from spectra (of precision exact only) or from scores, of the same model and text. They are read at the
    first call and take 20 bytes a row.
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
        indices = np.searchsorted(there, rows)
        matched = [(row, index) for row, index in zip(rows, indices, strict=True) if index < len(there)]
        return {row: (float(nll[index]), int(n[index])) for row, index in matched if there[index] == row}

    return known


def _tables_with_sums(path: Path, identity: Mapping[str, Any]) -> list[pl.LazyFrame]:
    run = open_run(path)

    def agrees(made: Mapping[str, Any]) -> bool:
        return all(made.get(name) == value for name, value in identity.items())

    tables = []
    for name, made in score_identities(path).items():
        metric = known_metrics().get(made.get("metric", ""))  # those of a target name none
        column = metric.sums_column if metric else None
        if column and agrees(made) and published_parts(path, score_table(name)):
            with suppress(GradPrismError):  # what is not whole is computed again
                tables.append(run.scan_scores(name).with_columns(nll=column, n="n_tokens"))
    made = run.record.get("identity", {})
    if agrees(made) and made.get("prism.precision") == "exact" and made.get("prism.loss", "sft") == "sft":
        with suppress(GradPrismError):
            tables.append(run.scan("examples").with_columns(nll="nll_sum", n="n_response_tokens"))
    return tables
