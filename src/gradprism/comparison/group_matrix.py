"""Values of a group as one matrix: a row an example, a column each measure of each projection and layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import polars as pl

from gradprism.comparison.comparison_tables import COSINES, EXAMPLES
from gradprism.comparison.grouping import GroupRows
from gradprism.core.errors import GradPrismError
from gradprism.prism.measures import LAYER, MEAN
from gradprism.runs.run import Run
from gradprism.runs.values import metric_table
from gradprism.stats.least_squares import log_lengths
from gradprism.stats.missing import mean_present

T = TypeVar("T")
Key = tuple[str, str | None, int | None]  # measure, projection, layer
Block = tuple[list[Key], np.ndarray]  # some columns of a matrix, (n, keys)


@dataclass(frozen=True)
class Features:
    """Measure, projection and layer of each column of a matrix, in order."""

    keys: tuple[Key, ...]

    @cached_property
    def frame(self) -> pl.DataFrame:
        """`measure`, `projection` and `layer` as a frame, a row for each column of the matrix."""
        schema = {"measure": pl.String, "projection": pl.String, "layer": pl.Int16}
        return pl.DataFrame(self.keys, schema=schema, orient="row")

    @cached_property
    def measures(self) -> tuple[str, ...]:
        """Spectral measures, each with every projection and layer; cosines and metrics are not among them."""
        return tuple(dict.fromkeys(m for m, p, _ in self.keys if p is not None and m not in COSINES))

    def curve(self, measure: str, projection: str) -> np.ndarray:
        """Return the columns of one measure and projection over layers, ascending."""
        columns = [i for i, key in enumerate(self.keys) if key[:2] == (measure, projection) and key[2] is not None]
        return np.array(columns, dtype=np.int64)

    @property
    def curves(self) -> Iterator[tuple[str, str]]:
        """Pairs of measure and projection that have layers."""
        yield from dict.fromkeys((m, p) for m, p, layer in self.keys if p is not None and layer is not None)


@dataclass(frozen=True)
class GroupMatrix:
    """Examples of a group, rows ascending, and their values (n, features), NaN where there is none."""

    chosen: GroupRows
    examples: pl.DataFrame  # comparison_tables.EXAMPLES, without `group`
    features: Features
    values: np.ndarray

    @property
    def name(self) -> str:
        """Name of the group."""
        return self.chosen.name

    @property
    def run(self) -> Run:
        """Run that holds the group."""
        return self.chosen.run

    @property
    def lengths(self) -> np.ndarray:
        """Log prompt tokens and log response tokens, (n, 2)."""
        counts = self.examples.select("n_prompt_tokens", "n_response_tokens").to_numpy().astype(float)
        return log_lengths(counts)

    @property
    def truncated(self) -> np.ndarray:
        """1 for each row cut at the greatest length, 0 for the others and where it is not known, (n,)."""
        return self.examples["truncated"].fill_null(False).to_numpy().astype(float)

    @property
    def table(self) -> pl.DataFrame:
        """Examples with every layer mean (`measure:projection`) and metric as a column."""
        columns = [
            pl.Series(measure if projection is None else f"{measure}:{projection}", self.values[:, column])
            for column, (measure, projection, layer) in enumerate(self.features.keys)
            if layer is None
        ]
        own = [column for column in columns if column.name not in EXAMPLES]
        return self.examples.with_columns(column.fill_nan(None) for column in own)


def read_groups(
    groups: Sequence[GroupRows], metrics: Sequence[str], measures: Sequence[str] = ()
) -> tuple[list[GroupMatrix], list[str]]:
    """Read the groups into matrices of the same columns, with notes on what only some of their runs have.

    The measures named (or those compared by default), cosines, and the metrics named, over the projections, pairs and
    layers that every run has: a mean over projections or layers must be of the same ones everywhere. Raises
    `GradPrismError` where there are none.
    """
    runs = {group.run.path: group.run for group in groups}
    shared, dropped = _shared_features([*runs.values()], measures)
    read = {path: _RunMatrix(run, metrics, shared) for path, run in runs.items()}
    features = Features(tuple(next(iter(read.values())).keys))
    return [read[group.run.path].rows_of(group, features) for group in groups], dropped


@dataclass(frozen=True)
class _SharedFeatures:
    """Measures, projections, layers and cosines that every run has, in the order of the first."""

    measures: list[str]
    projections: list[str]
    layers: list[int]
    cosines: dict[str, tuple[list[str], list[int]]]  # kind -> pairs and layers


def _shared_features(runs: Sequence[Run], named: Sequence[str]) -> tuple[_SharedFeatures, list[str]]:
    """Find what every run has, and note what only some have."""
    dropped = list[str]()

    def common(what: str, found: Sequence[list[T]]) -> list[T]:
        kept = [item for item in found[0] if all(item in other for other in found)]
        others = sorted({str(item) for items in found for item in items} - {str(item) for item in kept})
        if others:
            dropped.append(f"Not compared, since only some of the runs have them: {what} {', '.join(others)}.")
        return kept

    measures = common("measures", [_compared_measures(run, named) for run in runs])
    projections = common("projections", [list(run.projections) for run in runs])
    layers = common("layers", [_layers_with_spectra(run) for run in runs])
    if not projections or not layers:
        raise GradPrismError("The runs have no projection and layer in common: measure the same ones in each.")
    cosines = {}
    for kind in ("adjacent", "same_layer"):
        measured = [_measured_cosines(run, kind) for run in runs]
        pairs = common(f"{kind.replace('_', '-')} cosines of", [found[0] for found in measured])
        cosines[kind] = pairs, common(f"layers of {kind.replace('_', '-')} cosines", [found[1] for found in measured])
    return _SharedFeatures(measures, projections, layers, cosines), dropped


def _compared_measures(run: Run, named: Sequence[str]) -> list[str]:
    """Return the measures of a run to compare. Raises `GradPrismError` where it has none of a name."""
    if [*named] == ["all"]:
        return [*run.measures]
    if unknown := [name for name in named if name not in run.measures]:
        raise GradPrismError(
            f"--measures {', '.join(unknown)}: the run {run.path} has {', '.join(run.measures)}. Expected some of "
            "these, or all."
        )
    return [name for name, measure in run.measures.items() if (name in named if named else measure.compared)]


def _layers_with_spectra(run: Run) -> list[int]:
    return run.scan("spectra").select("layer").unique().sort("layer").collect()["layer"].to_list()


def _measured_cosines(run: Run, kind: str) -> tuple[list[str], list[int]]:
    """Return the pairs, in the order of the table, and the layers, ascending, of the cosines that have a value."""
    present = run.scan("similarity").filter((pl.col("kind") == kind) & pl.col("cosine").is_not_null())
    found = present.select("pair", "layer").unique(maintain_order=True).collect()
    return found["pair"].unique(maintain_order=True).to_list(), found["layer"].unique().sort().to_list()


class _RunMatrix:
    """All measured examples of a run and their values, read once for however many groups it is split into."""

    def __init__(self, run: Run, metrics: Sequence[str], shared: _SharedFeatures):
        ok = run.scan("examples").filter(pl.col("status") == "ok")
        self.examples = ok.select([name for name in EXAMPLES if name != "group"]).sort("row").collect()
        rows = self.examples["row"]
        blocks = [*_spectral_blocks(run, rows, shared), *_cosine_blocks(run, rows, shared)]
        blocks += [_metric_block(run, spec, rows) for spec in metrics]
        self.keys: list[Key] = [key for keys, _ in blocks for key in keys]
        self._values = np.concatenate([values for _, values in blocks], axis=1)

    def rows_of(self, group: GroupRows, features: Features) -> GroupMatrix:
        """Take the rows of a group."""
        mask = self.examples["row"].is_in(group.rows.implode()).to_numpy()
        return GroupMatrix(group, self.examples.filter(mask), features, self._values[mask])


def _spectral_blocks(run: Run, rows: pl.Series, shared: _SharedFeatures) -> Iterator[Block]:
    """Yield each measure: every projection and their mean, at every layer and in the mean over layers.

    A measure of whole layers has one value of all projections together, which stands in the place of their mean.
    """
    of_layers = [name for name in shared.measures if run.measures[name].of_layer]
    spectra = run.scan_measures([name for name in shared.measures if name not in of_layers]).collect()
    names = [*shared.projections, MEAN]
    for measure in shared.measures:
        if measure in of_layers:
            layers = run.scan_layer_measure(measure, shared.projections).collect()
            cube = _value_cube(layers, rows, [LAYER], shared.layers, "projection", measure)
            yield _layer_block(measure, [MEAN], shared.layers, mean_present(cube, 2), cube)
            continue
        cube = _value_cube(spectra, rows, shared.projections, shared.layers, "projection", measure)
        cube = np.concatenate([cube, mean_present(cube, 1)[:, None]], axis=1)  # (n, projections + 1, layers)
        whole = mean_present(cube, 2)
        whole[:, -1] = mean_present(cube[:, :-1].reshape(len(cube), -1), 1)  # over all cells, each the same weight
        yield _layer_block(measure, names, shared.layers, whole, cube)


def _cosine_blocks(run: Run, rows: pl.Series, shared: _SharedFeatures) -> Iterator[Block]:
    """Yield cosines of neighbouring layers, under the lower one, and of two projections of a layer."""
    similarity = run.scan("similarity").select("row", "layer", "kind", "pair", "cosine").collect()
    for kind, (pairs, layers) in shared.cosines.items():
        if pairs and layers:
            cube = _value_cube(similarity.filter(pl.col("kind") == kind), rows, pairs, layers, "pair", "cosine")
            yield _layer_block(f"{kind}_cosine", pairs, layers, mean_present(cube, 2), cube)


def _metric_block(run: Run, spec: str, rows: pl.Series) -> Block:
    values = rows.to_frame("row").join(metric_table(run, spec), on="row", how="left", maintain_order="left")["value"]
    return [(spec, None, None)], values.cast(pl.Float64).fill_null(np.nan).to_numpy()[:, None]


def _value_cube(
    table: pl.DataFrame, rows: pl.Series, names: Sequence[str], layers: Sequence[int], column: str, value: str
) -> np.ndarray:
    """Arrange the values as (rows, names, layers); NaN where the table has none."""
    wanted = pl.col("row").is_in(rows.implode()) & pl.col(column).is_in(names) & pl.col("layer").is_in(layers)
    table = table.filter(wanted)
    cube = np.full((len(rows), len(names), len(layers)), np.nan)
    numbered = {name: index for index, name in enumerate(names)}
    at = (
        np.searchsorted(rows.to_numpy(), table["row"].to_numpy()),
        table[column].replace_strict(numbered, return_dtype=pl.Int64).to_numpy(),
        np.searchsorted(np.array(layers), table["layer"].to_numpy()),
    )
    cube[at] = table[value].fill_null(np.nan).to_numpy()
    return np.where(np.isfinite(cube), cube, np.nan)


def _layer_block(
    measure: str, names: Sequence[str], layers: Sequence[int], whole: np.ndarray, cube: np.ndarray
) -> Block:
    """Flatten projection by projection, its mean over layers first, then layer by layer."""
    keys: list[Key] = [(measure, name, layer) for name in names for layer in (None, *layers)]
    return keys, np.concatenate([whole[:, :, None], cube], axis=2).reshape(len(cube), -1)
