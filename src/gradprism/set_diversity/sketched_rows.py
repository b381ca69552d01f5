"""Rows of runs with the sketches of their gradients, and the source of each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from gradprism.comparison.comparable import made_by
from gradprism.core.errors import GradPrismError
from gradprism.runs.groups import group_column
from gradprism.runs.own_settings import DECIDING
from gradprism.runs.run import Run

_SKETCH = "prism.sketch"  # prefix of its settings in a run's identity
_COMPARED = (*DECIDING, "prism.projections", _SKETCH)


@dataclass(frozen=True)
class SketchedRows:
    """Rows with a sketch and a source, in the order of the runs and of their rows."""

    values: np.ndarray  # (n, dim) fp16, mapped from a file where it is a whole run
    rows: pl.DataFrame  # run, row, example_id, source, response_tokens, gradient_norm
    notes: tuple[str, ...]  # rows left out, and why

    @property
    def tokens(self) -> np.ndarray:
        """Response tokens of each row, 0 where not known."""
        return self.rows["response_tokens"].cast(pl.Float64).fill_null(0.0).to_numpy()

    @property
    def sources(self) -> dict[str, np.ndarray]:
        """Positions of the rows of each source, the largest first, then by name."""
        found = self.rows.with_row_index("at").group_by("source").agg("at")
        ordered = found.sort(pl.col("at").list.len(), "source", descending=[True, False])
        return {name: np.array(at, dtype=np.int64) for name, at in ordered.iter_rows()}


def refuse_unlike(runs: Mapping[str, Run], incomplete: bool) -> None:
    """Raise `GradPrismError` where a run has no sketches or not all, or where two cannot be put together."""
    for run in runs.values():
        refuse_without_sketches(run)
        if not run.is_complete and not incomplete:
            raise GradPrismError(
                f"The run {run.path} is incomplete: {run.counts.done:,} of {run.counts.rows:,} rows. Finish it by "
                "repeating the command that began it, or take what there is with --incomplete."
            )
    (first, one), *others = runs.items()
    for name, other in others:
        if made_by(one) != made_by(other):
            raise GradPrismError(
                f"The runs {first} and {name} are of different models, whose gradients have no common space:\n"
                f"  {made_by(one)}\n  {made_by(other)}\nMeasure the diversity of each by itself."
            )
        if different := [*sketch_differences(one, other)]:
            raise GradPrismError(
                f"The sketches of {first} and {name} have no common space. They differ in:\n  "
                + "\n  ".join(different)
                + "\nMeasure both with the same options of gradprism spectra."
            )


def refuse_without_sketches(run: Run) -> None:
    """Raise `GradPrismError` where a run holds no sketches: say how to make them."""
    if not run.has_sketches:
        raise GradPrismError(
            f"The run {run.path} holds no sketches of gradients. Measure them into a new run: "
            "gradprism spectra DATA --model MODEL --sketch 4096 --out RUN."
        )


def sketch_differences(one: Run, other: Run) -> Iterator[str]:
    """Yield the settings of text, projections and sketch in which two runs differ, with both values."""
    first, second = one.record["identity"], other.record["identity"]
    for name in sorted({*first, *second}):
        if name.startswith(_COMPARED) and first.get(name) != second.get(name):
            yield f"{name}: {first.get(name)} and {second.get(name)}"


def sketched_rows(runs: Mapping[str, Run], by: str | None) -> SketchedRows:
    """Gather the rows of runs that have a sketch and a source. Raises `GradPrismError` where fewer than two have."""
    parts = [_rows_of_run(name, run, by) for name, run in runs.items()]
    values, tables = [values for values, _ in parts], [table for _, table in parts]
    rows = pl.concat(tables)
    measured = rows["sketched"].to_numpy()
    sourced = rows["source"].is_not_null().to_numpy()
    counts = [(int((~measured).sum()), "without a gradient of finite size above 0")]
    counts += [(int((measured & ~sourced).sum()), f"without a value of {by}")]
    kept = measured & sourced
    if kept.sum() < 2:
        raise GradPrismError(
            f"{int(kept.sum())} of {rows.height:,} rows have a sketch{f' and a value of {by}' if by else ''}. "
            "Expected at least 2."
        )
    counted = [f"Left out: {n:,} row{'s' * (n != 1)} {why}." for n, why in counts if n]
    return SketchedRows(_chosen(values, tables, kept), rows.filter(kept).drop("sketched", "at"), tuple(counted))


def _rows_of_run(name: str, run: Run, by: str | None) -> tuple[np.ndarray, pl.DataFrame]:
    """Return the sketches of a run, and all its rows: `at` is the place of each among the sketches."""
    sketches = run.sketches
    found = pl.DataFrame({
        "row": sketches.rows, "gradient_norm": sketches.norms, "at": np.arange(len(sketches)),
        "has_direction": has_direction(sketches.values),
    })  # fmt: skip
    examples = run.scan("examples").select("row", "example_id", response_tokens="n_response_tokens").collect()
    source = group_column(run, by) if by else examples.select("row", group=pl.lit(name))
    table = (
        examples.join(source, on="row", how="left")
        .join(found, on="row", how="left")
        .sort("row")
        .with_columns(
            sketched=pl.col("gradient_norm").is_finite().fill_null(False)
            & (pl.col("gradient_norm") > 0).fill_null(False)
            & pl.col("has_direction").fill_null(False)
        )
    )
    return sketches.values, table.select(
        pl.lit(name).alias("run"), pl.col("row").cast(pl.Int64), "example_id", source=pl.col("group").cast(pl.String),
        response_tokens=pl.col("response_tokens").cast(pl.Int64), gradient_norm="gradient_norm", sketched="sketched",
        at="at",
    )  # fmt: skip


def has_direction(values: np.ndarray, block: int = 4096) -> np.ndarray:
    """Return which sketches are finite and not zero, reading a block at a time."""
    parts = [np.asarray(values[start : start + block], dtype=np.float32) for start in range(0, len(values), block)]
    found = [np.isfinite(part).all(axis=1) & (part != 0).any(axis=1) for part in parts]
    return np.concatenate([np.empty(0, dtype=bool), *found])


def _chosen(values: Sequence[np.ndarray], tables: Sequence[pl.DataFrame], kept: np.ndarray) -> np.ndarray:
    """Return the sketches of the rows that are kept; those of one whole run as they are, mapped from its file."""
    starts = np.cumsum([0, *(table.height for table in tables)])
    places = [table["at"].filter(pl.Series(kept[start : start + table.height])).to_numpy()
              for start, table in zip(starts, tables, strict=False)]  # fmt: skip
    if len(values) == 1 and np.array_equal(places[0], np.arange(len(values[0]))):
        return values[0]
    return np.concatenate([each[place] for each, place in zip(values, places, strict=True)])
