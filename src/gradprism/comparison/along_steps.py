"""Means along the steps of a training: of each projection, and of a few layers."""

from collections.abc import Mapping, Sequence

import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.prism.measures import MAIN_MEASURES, MEAN

LOSS = "loss"
MOST_LAYERS = 5  # from the first to the last, evenly spread
_COLUMNS = ("step", "measure", "line", "n", "mean", "mean_low", "mean_high")


def steps_of(comparisons: Sequence[Comparison]) -> dict[int, Comparison]:
    """Return the comparisons by step; empty where they are not two or more steps of one training, and nothing else."""
    steps = {step: made for made in comparisons if (step := step_of(made)) is not None}
    return dict(sorted(steps.items())) if 2 <= len(steps) == len(comparisons) else {}


def step_of(made: Comparison) -> int | None:
    training = made.about["model"].get("training")
    return None if training is None else int(training["step"])


def along_projections(steps: Mapping[int, Comparison]) -> pl.DataFrame:
    """Return loss and main measures over the steps, means over layers: `step`, `measure`, `line`, `n`, interval."""
    whole = pl.col("layer").is_null() & pl.col("projection").ne_missing(MEAN)
    return _along(steps, whole, pl.col("projection").fill_null(MEAN), (LOSS, *MAIN_MEASURES))


def along_layers(steps: Mapping[int, Comparison]) -> pl.DataFrame:
    """Return main measures of a few layers over the steps, means over projections, as `along_projections` does."""
    first = next(iter(steps.values()))
    spread = (len(first.layers) - 1) / max(min(MOST_LAYERS, len(first.layers)) - 1, 1)
    layers = sorted({first.layers[round(spread * i)] for i in range(min(MOST_LAYERS, len(first.layers)))})
    of_layers = pl.col("layer").is_in(layers) & (pl.col("projection") == MEAN)
    return _along(steps, of_layers, pl.format("layer {}", pl.col("layer")), MAIN_MEASURES)


def _along(steps: Mapping[int, Comparison], rows: pl.Expr, line: pl.Expr, measures: Sequence[str]) -> pl.DataFrame:
    """Return the means of each step, one row for each measure and line."""
    wanted = pl.DataFrame({"measure": list(measures)})
    found = [
        made.levels.filter(rows).with_columns(step=pl.lit(step, pl.Int64), line=line.cast(pl.String))
        for step, made in steps.items()
    ]
    data = wanted.join(pl.concat(found), on="measure", maintain_order="left_right")
    return data.select(_COLUMNS)
