"""Curves over layers and singular values of single examples, read from the runs of a comparison."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from gradprism.comparison.comparison import Comparison, Group
from gradprism.core.errors import GradPrismError
from gradprism.core.progress import Say
from gradprism.prism.measures import MAIN_MEASURES
from gradprism.report.packed import DECADES, Array, Codes, log_codes, log_range, packed
from gradprism.report.paths import first_line_without_paths, known_paths
from gradprism.runs.run import Run, open_run

_INDICES = 12  # singular values that are kept of each spectrum, evenly spaced in the logarithm of their index
_ROWS_AT_ONCE = 128
_CURVE_LEVELS, _SPECTRUM_LEVELS = 4095, 127  # within 0.1% and 6%, which no plot shows


@dataclass
class ExampleCurves:
    """Curves (example, measure, projection, layer) and relative singular values (example, projection, layer, index).

    Examples stand in the order of the table they were read for; NaN where nothing is known, and then `missing` says
    why, by group. The first singular value, which is 1, is left out.
    """

    curves: Array
    spectra: Codes
    indices: tuple[int, ...]
    missing: dict[str, str] = field(default_factory=dict)

    def json(self, rows: Sequence[int]) -> dict[str, Any]:
        """Pack some of the examples for the page."""
        curves, spectra = self.curves[list(rows)], self.spectra[list(rows)]
        ranges = [log_range(curves[:, measure]) for measure in range(len(MAIN_MEASURES))]
        codes = [log_codes(curves[:, i], low, high, _CURVE_LEVELS) for i, (low, high) in enumerate(ranges)]
        return {
            "curves": {
                "measures": MAIN_MEASURES,
                "ranges": ranges,
                "levels": _CURVE_LEVELS,
                **packed(np.stack(codes, axis=1), wide=True),
            },
            "spectra": {
                "indices": self.indices,
                "decades": DECADES,
                "levels": _SPECTRUM_LEVELS,
                **packed(spectra, wide=False),
            },
        }


def read_example_curves(comparison: Comparison, examples: pl.DataFrame, say: Say) -> ExampleCurves:
    """Read the curves and singular values of `examples`, rows of `Comparison.examples`.

    A run that is gone or has changed leaves a sentence in `missing` and never raises.
    """
    shape = (len(comparison.projections), len(comparison.layers))
    curves = np.full((examples.height, len(MAIN_MEASURES), *shape), np.nan)
    wanted = _log_spaced_indices(_largest_rank(comparison))
    spectra = np.zeros((examples.height, *shape, len(wanted)), dtype=np.uint16)
    found = ExampleCurves(curves, spectra, (1, *wanted))
    numbered = examples.with_row_index("index")
    for group in comparison.groups:
        rows = numbered.filter(pl.col("group") == group.name)
        if rows.height == 0:
            continue
        say(f"reading the spectra of {group.name}")
        try:
            _read_group(unchanged_run(group, rows), rows, comparison, found)
        except (GradPrismError, OSError, pl.exceptions.PolarsError) as problem:
            indices = rows["index"].to_numpy()
            curves[indices], spectra[indices] = np.nan, 0
            found.missing[group.name] = first_line_without_paths(problem, known_paths(comparison))
    return found


def unchanged_run(group: Group, rows: pl.DataFrame) -> Run:
    """Open the run of a group. Raises `GradPrismError` where its rows are no longer those that were compared."""
    run = open_run(group.run)
    known = run.scan("examples").select("row", "example_id", "n_response_tokens").collect()
    same = rows.join(known, on=["row", "example_id", "n_response_tokens"], how="semi", nulls_equal=True)
    if same.height != rows.height:
        raise GradPrismError(
            f"The run {group.run} has changed since it was compared: {rows.height - same.height:,} "
            f"of {rows.height:,} rows are no longer the same. Compare it again."
        )
    return run


def _read_group(run: Run, rows: pl.DataFrame, comparison: Comparison, found: ExampleCurves) -> None:
    projections = {name: index for index, name in enumerate(comparison.projections)}
    layers = {layer: index for index, layer in enumerate(comparison.layers)}
    for frame in _frames(run, rows.sort("row"), found.indices):
        kept = frame.filter(pl.col("projection").is_in(list(projections)) & pl.col("layer").is_in(list(layers)))
        at = kept["index"].to_numpy()
        projection = kept["projection"].replace_strict(projections, return_dtype=pl.Int64).to_numpy()
        layer = kept["layer"].replace_strict(layers, return_dtype=pl.Int64).to_numpy()
        for index, measure in enumerate(MAIN_MEASURES):
            found.curves[at, index, projection, layer] = kept[measure].to_numpy()
        found.spectra[at, projection, layer] = _relative_codes(kept["kept"], len(found.indices))


def _frames(run: Run, rows: pl.DataFrame, indices: Sequence[int]) -> Iterator[pl.DataFrame]:
    """Yield measures and chosen singular values of a few rows at a time: whole spectra are large."""
    kept = pl.col("singular_values").list.gather([index - 1 for index in indices], null_on_oob=True).alias("kept")
    for start in range(0, rows.height, _ROWS_AT_ONCE):
        some = rows.slice(start, _ROWS_AT_ONCE).select("row", "index")
        chosen = run.scan("spectra").filter(pl.col("row").is_in(some["row"].to_list()))
        yield chosen.select("row", "layer", "projection", *MAIN_MEASURES, kept).collect().join(some, on="row")


def _relative_codes(kept: pl.Series, n: int) -> Codes:
    """Encode singular values over the largest (gradient, index), the largest itself left out."""
    if not len(kept):
        return np.zeros((0, n - 1), dtype=np.uint16)
    values = np.stack([kept.list.get(i, null_on_oob=True).cast(pl.Float64).to_numpy() for i in range(n)], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = values[:, 1:] / values[:, :1]
    return log_codes(relative, -DECADES, 0.0, _SPECTRUM_LEVELS)


def _largest_rank(comparison: Comparison) -> int:
    """Return the length of the longest spectrum of the comparison."""
    largest = comparison.decay["index"].max() if comparison.decay.height else None
    return int(largest) if isinstance(largest, int) else 1


def _log_spaced_indices(largest: int) -> tuple[int, ...]:
    """Return indices from 2 to `largest`, evenly spaced in their logarithm."""
    return tuple(np.unique(np.rint(np.geomspace(2, max(largest, 2), _INDICES)).astype(int)).tolist())
