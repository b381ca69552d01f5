"""The numbers of a group as one matrix: a row an example, a column each measure of each projection and layer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
import polars as pl

from gradprism.comparison.comparison_tables import EXAMPLES
from gradprism.comparison.members import Members
from gradprism.core.errors import GradPrismError
from gradprism.prism.tables import MEASURES
from gradprism.runs.run import Run
from gradprism.runs.values import metric_table
from gradprism.stats.least_squares import log_lengths
from gradprism.stats.missing import mean_present

MEAN = "mean"  # over projections
T = TypeVar("T")
Key = tuple[str, str | None, int | None]  # measure, projection, layer


@dataclass(frozen=True)
class Features:
    """What the columns of a matrix are, in order."""

    keys: tuple[Key, ...]

    @cached_property
    def frame(self) -> pl.DataFrame:
        """`measure`, `projection`, `layer`, a row a column of the matrix."""
        schema = {"measure": pl.String, "projection": pl.String, "layer": pl.Int16}
        return pl.DataFrame(self.keys, schema=schema, orient="row")

    @cached_property
    def place(self) -> dict[Key, int]:
        """The column of each key."""
        return {key: place for place, key in enumerate(self.keys)}

    def curve(self, measure: str, projection: str) -> np.ndarray:
        """The columns of one measure and projection over layers, ascending."""
        places = [i for i, key in enumerate(self.keys) if key[:2] == (measure, projection) and key[2] is not None]
        return np.array(places, dtype=np.int64)

    @property
    def curves(self) -> Iterator[tuple[str, str]]:
        """Each measure and projection that has layers."""
        yield from dict.fromkeys((m, p) for m, p, layer in self.keys if p is not None and layer is not None)


@dataclass(frozen=True)
class Cohort:
    """A group's examples and their values (n, features), NaN where there is none; rows ascending."""

    members: Members
    examples: pl.DataFrame  # comparison_tables.EXAMPLES, without `group`
    features: Features
    values: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Log prompt tokens and log response tokens, (n, 2)."""
        counts = self.examples.select("n_prompt_tokens", "n_response_tokens").to_numpy().astype(float)
        return log_lengths(counts)

    @property
    def table(self) -> pl.DataFrame:
        """The examples with every layer mean (`measure:projection`) and metric as a column."""
        columns = [
            pl.Series(measure if projection is None else f"{measure}:{projection}", self.values[:, place])
            for place, (measure, projection, layer) in enumerate(self.features.keys)
            if layer is None
        ]
        own = [column for column in columns if column.name not in EXAMPLES]
        return self.examples.with_columns(column.fill_nan(None) for column in own)


def read_cohorts(groups: Sequence[Members], metrics: Sequence[str]) -> tuple[list[Cohort], list[str]]:
    """Read the groups into matrices of the same columns; notes on what only some of their runs have.

    All measures, cosines, and the metrics named, over the projections, pairs and layers that every run has: a mean over
    projections or layers must be of the same ones everywhere. Raises `GradPrismError` where there are none.
    """
    runs = {members.run.path: members.run for members in groups}
    shared, dropped = _shared([*runs.values()])
    read = {path: _Reading(run, metrics, shared) for path, run in runs.items()}
    features = Features(tuple(next(iter(read.values())).keys))
    return [read[members.run.path].cohort(members, features) for members in groups], dropped


@dataclass(frozen=True)
class _Shared:
    """What every run has, in the order of the first."""

    projections: list[str]
    layers: list[int]
    cosines: dict[str, tuple[list[str], list[int]]]  # of each kind: pairs and layers


def _shared(runs: Sequence[Run]) -> tuple[_Shared, list[str]]:
    dropped = list[str]()

    def common(what: str, found: Sequence[list[T]]) -> list[T]:
        kept = [item for item in found[0] if all(item in other for other in found)]
        others = sorted({str(item) for items in found for item in items} - {str(item) for item in kept})
        if others:
            dropped.append(f"Not compared, since only some of the runs have them: {what} {', '.join(others)}.")
        return kept

    projections = common("projections", [list(run.projections) for run in runs])
    layers = common("layers", [_distinct(run, "spectra", "layer") for run in runs])
    if not projections or not layers:
        raise GradPrismError("The runs have no projection and layer in common: measure the same ones in each.")
    cosines = {}
    for kind in ("adjacent", "same_layer"):
        measured = [_measured_cosines(run, kind) for run in runs]
        pairs = common(f"{kind.replace('_', '-')} cosines of", [found[0] for found in measured])
        cosines[kind] = pairs, common(f"layers of {kind.replace('_', '-')} cosines", [found[1] for found in measured])
    return _Shared(projections, layers, cosines), dropped


def _distinct(run: Run, table: str, column: str) -> list[int]:
    return run.scan(table).select(column).unique().sort(column).collect()[column].to_list()


def _measured_cosines(run: Run, kind: str) -> tuple[list[str], list[int]]:
    """Pairs in the order of the table, layers ascending; of cosines that have a value."""
    there = run.scan("similarity").filter((pl.col("kind") == kind) & pl.col("cosine").is_not_null())
    found = there.select("pair", "layer").unique(maintain_order=True).collect()
    return found["pair"].unique(maintain_order=True).to_list(), found["layer"].unique().sort().to_list()


class _Reading:
    """Everything of one run, read once, whatever number of groups it is split into."""

    def __init__(self, run: Run, metrics: Sequence[str], shared: _Shared):
        ok = run.scan("examples").filter(pl.col("status") == "ok")
        self.examples = ok.select([name for name in EXAMPLES if name != "group"]).sort("row").collect()
        rows = self.examples["row"]
        blocks = [*_spectra(run, rows, shared), *_cosines(run, rows, shared)]
        blocks += [_metric(run, spec, rows) for spec in metrics]
        self.keys: list[Key] = [key for keys, _ in blocks for key in keys]
        self._values = np.concatenate([values for _, values in blocks], axis=1)

    def cohort(self, members: Members, features: Features) -> Cohort:
        """The rows wanted."""
        chosen = self.examples["row"].is_in(members.rows.implode()).to_numpy()
        return Cohort(members, self.examples.filter(chosen), features, self._values[chosen])


Block = tuple[list[Key], np.ndarray]


def _spectra(run: Run, rows: pl.Series, shared: _Shared) -> Iterator[Block]:
    """Of each measure: every projection and their mean, at every layer and in the mean over layers."""
    spectra = run.scan("spectra").select("row", "layer", "projection", *MEASURES).collect()
    names = [*shared.projections, MEAN]
    for measure in MEASURES:
        cube = _cube(spectra, rows, shared.projections, shared.layers, "projection", measure)
        cube = np.concatenate([cube, mean_present(cube, 1)[:, None]], axis=1)  # (n, projections + 1, layers)
        whole = mean_present(cube, 2)
        whole[:, -1] = mean_present(cube[:, :-1].reshape(len(cube), -1), 1)  # over all cells, each the same weight
        yield _flattened(measure, names, shared.layers, whole, cube)


def _cosines(run: Run, rows: pl.Series, shared: _Shared) -> Iterator[Block]:
    """Of neighbouring layers, under the lower one, and of two projections of a layer."""
    similarity = run.scan("similarity").select("row", "layer", "kind", "pair", "cosine").collect()
    for kind, (pairs, layers) in shared.cosines.items():
        if pairs and layers:
            cube = _cube(similarity.filter(pl.col("kind") == kind), rows, pairs, layers, "pair", "cosine")
            yield _flattened(f"{kind}_cosine", pairs, layers, mean_present(cube, 2), cube)


def _metric(run: Run, spec: str, rows: pl.Series) -> Block:
    values = rows.to_frame("row").join(metric_table(run, spec), on="row", how="left", maintain_order="left")["value"]
    return [(spec, None, None)], values.cast(pl.Float64).fill_null(np.nan).to_numpy()[:, None]


def _cube(
    table: pl.DataFrame, rows: pl.Series, names: Sequence[str], layers: Sequence[int], column: str, value: str
) -> np.ndarray:
    """The values (rows, names, layers); NaN where the table has none."""
    wanted = pl.col("row").is_in(rows.implode()) & pl.col(column).is_in(names) & pl.col("layer").is_in(layers)
    table = table.filter(wanted)
    cube = np.full((len(rows), len(names), len(layers)), np.nan)
    numbered = {name: place for place, name in enumerate(names)}
    at = (
        np.searchsorted(rows.to_numpy(), table["row"].to_numpy()),
        table[column].replace_strict(numbered, return_dtype=pl.Int64).to_numpy(),
        np.searchsorted(np.array(layers), table["layer"].to_numpy()),
    )
    cube[at] = table[value].fill_null(np.nan).to_numpy()
    return np.where(np.isfinite(cube), cube, np.nan)


def _flattened(measure: str, names: Sequence[str], layers: Sequence[int], whole: np.ndarray, cube: np.ndarray) -> Block:
    """Columns in the order: projection by projection, its mean over layers first, then layer by layer."""
    keys: list[Key] = [(measure, name, layer) for name in names for layer in (None, *layers)]
    return keys, np.concatenate([whole[:, :, None], cube], axis=2).reshape(len(cube), -1)
