"""What the runs of a comparison say of single examples: their curves over layers and their singular values."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from gradprism.comparison.comparison import Comparison, Group
from gradprism.core.errors import GradPrismError
from gradprism.report.packed import DECADES, Array, Codes, decoded, log_codes, log_range, packed
from gradprism.report.paths import first_line, known_paths
from gradprism.runs.run import Run, open_run

CURVES = ("nuclear_norm", "effective_rank")
_INDICES = 12  # singular values that are kept of each spectrum, evenly spaced in the logarithm of their index
_ROWS_AT_ONCE = 128
_CURVE_LEVELS, _SPECTRUM_LEVELS = 4095, 127  # within 0.1% and 6%, which no plot shows

Say = Callable[[str], None]
Presence = npt.NDArray[np.bool_]  # (example, projection, layer)


@dataclass
class Measured:
    """Curves (example, measure, projection, layer) and relative singular values (example, projection, index, layer).

    Examples stand in the order of the comparison's table that was asked for; NaN where nothing is known, and then
    `missing` says why, by group. The first singular value, which is 1, is left out.
    """

    curves: Array
    spectra: Codes
    indices: tuple[int, ...]
    missing: dict[str, str] = field(default_factory=dict)

    def json(self, places: Sequence[int], per_layer: bool) -> dict[str, Any]:
        """Packed for the page, of some of the examples; singular values by layer, or their median over layers."""
        curves = self.curves[list(places)]
        ranges = [log_range(curves[:, place]) for place in range(len(CURVES))]
        codes = [log_codes(curves[:, i], low, high, _CURVE_LEVELS) for i, (low, high) in enumerate(ranges)]
        spectra = self.spectra[list(places)]
        kept = spectra if per_layer else over_layers(spectra, curves[:, 0] > 0)
        return {
            "curves": {
                "measures": CURVES,
                "ranges": ranges,
                "levels": _CURVE_LEVELS,
                **packed(np.stack(codes, axis=1), wide=True),
            },
            "spectra": {
                "indices": self.indices,
                "per_layer": per_layer,
                "decades": DECADES,
                "levels": _SPECTRUM_LEVELS,
                **packed(kept, wide=False),
            },
            "missing": self.missing,
        }


def read_measured(comparison: Comparison, examples: pl.DataFrame, say: Say) -> Measured:
    """Read the curves and singular values of `examples`, rows of `Comparison.examples`.

    A run that is gone or has changed leaves a sentence in `missing` and never raises.
    """
    shape = (len(comparison.projections), len(comparison.layers))
    curves = np.full((examples.height, len(CURVES), *shape), np.nan)
    wanted = _indices(_largest_rank(comparison))
    spectra = np.zeros((examples.height, shape[0], len(wanted), shape[1]), dtype=np.uint16)
    measured = Measured(curves, spectra, (1, *wanted))
    numbered = examples.with_row_index("place")
    for group in comparison.groups:
        rows = numbered.filter(pl.col("group") == group.name)
        if rows.height == 0:
            continue
        say(f"reading the spectra of {group.name}")
        try:
            _read_group(_unchanged(group, rows), rows, comparison, measured)
        except (GradPrismError, OSError, pl.exceptions.PolarsError) as problem:
            places = rows["place"].to_numpy()
            curves[places], spectra[places] = np.nan, 0
            measured.missing[group.name] = first_line(problem, known_paths(comparison))
    return measured


def _unchanged(group: Group, rows: pl.DataFrame) -> Run:
    run = open_run(group.run)
    known = run.scan("examples").select("row", "example_id", "n_response_tokens").collect()
    same = rows.join(known, on=["row", "example_id", "n_response_tokens"], how="semi", nulls_equal=True)
    if same.height != rows.height:
        raise GradPrismError(
            f"The run {group.run} has changed since it was compared: {rows.height - same.height:,} "
            f"of {rows.height:,} rows are no longer the same."
        )
    return run


def _read_group(run: Run, rows: pl.DataFrame, comparison: Comparison, measured: Measured) -> None:
    projections = {name: place for place, name in enumerate(comparison.projections)}
    layers = {layer: place for place, layer in enumerate(comparison.layers)}
    for frame in _frames(run, rows.sort("row"), measured.indices):
        kept = frame.filter(pl.col("projection").is_in(list(projections)) & pl.col("layer").is_in(list(layers)))
        at = kept["place"].to_numpy()
        projection = kept["projection"].replace_strict(projections, return_dtype=pl.Int64).to_numpy()
        layer = kept["layer"].replace_strict(layers, return_dtype=pl.Int64).to_numpy()
        for place, measure in enumerate(CURVES):
            measured.curves[at, place, projection, layer] = kept[measure].to_numpy()
        measured.spectra[at, projection, :, layer] = _relative(kept["kept"], len(measured.indices))


def _frames(run: Run, rows: pl.DataFrame, indices: Sequence[int]) -> Iterator[pl.DataFrame]:
    """A few rows at a time: whole spectra are large."""
    kept = pl.col("singular_values").list.gather([index - 1 for index in indices], null_on_oob=True).alias("kept")
    for start in range(0, rows.height, _ROWS_AT_ONCE):
        some = rows.slice(start, _ROWS_AT_ONCE).select("row", "place")
        chosen = run.scan("spectra").filter(pl.col("row").is_in(some["row"].to_list()))
        yield chosen.select("row", "layer", "projection", *CURVES, kept).collect().join(some, on="row")


def _relative(kept: pl.Series, n: int) -> Codes:
    """Codes of singular values over the largest (gradient, index), the largest itself left out."""
    if not len(kept):
        return np.zeros((0, n - 1), dtype=np.uint16)
    columns = [kept.list.get(place, null_on_oob=True).cast(pl.Float64).to_numpy() for place in range(n)]
    values = np.stack(columns, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = values[:, 1:] / values[:, :1]
    return log_codes(relative, -DECADES, 0.0, _SPECTRUM_LEVELS)


def over_layers(codes: Codes, present: Presence) -> Codes:
    """Median over the layers that have a gradient (example, projection, index); what is beyond its rank counts as 0."""
    values = np.nan_to_num(decoded(codes, -DECADES, 0.0, _SPECTRUM_LEVELS))
    ordered = np.sort(np.where(present[:, :, None, :], values, np.inf), axis=-1)
    n = np.broadcast_to(present.sum(axis=-1)[:, :, None, None], (*values.shape[:-1], 1))
    middle = [np.take_along_axis(ordered, np.maximum(place, 0), axis=-1) for place in ((n - 1) // 2, n // 2 - (n == 0))]
    return log_codes(np.mean(middle, axis=0)[..., 0], -DECADES, 0.0, _SPECTRUM_LEVELS)


def _largest_rank(comparison: Comparison) -> int:
    """The longest spectrum that any gradient of the comparison has."""
    largest = comparison.decay["index"].max() if comparison.decay.height else None
    return int(largest) if isinstance(largest, int) else 1


def _indices(largest: int) -> tuple[int, ...]:
    """Places from the second on, evenly spaced in their logarithm."""
    places = np.unique(np.rint(np.geomspace(2, max(largest, 2), _INDICES)).astype(int))
    return tuple(int(place) for place in places)
