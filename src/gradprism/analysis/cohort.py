"""The numbers of a group as one matrix: a row an example, a column each measure of each projection and layer."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from gradprism.analysis.comparison_tables import EXAMPLES
from gradprism.analysis.members import Members
from gradprism.analysis.metrics import find_metric
from gradprism.store.run import Run
from gradprism.tables import MEASURES

MEAN = "mean"  # over projections
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
        return np.asarray(np.log(counts.clip(min=1.0)))

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


def read_cohorts(groups: Sequence[Members], metrics: Sequence[str]) -> list[Cohort]:
    """Read the groups into matrices of the same columns: all measures, cosines, and the metrics named."""
    runs = {members.run.path: members.run for members in groups}
    read = {path: _Reading(run, metrics) for path, run in runs.items()}
    features = Features(tuple(_common(reading.keys for reading in read.values())))
    return [read[members.run.path].cohort(members, features) for members in groups]


def _common(keys: Iterable[Sequence[Key]]) -> list[Key]:
    """The columns that all have, in the order of the first."""
    first, *others = keys
    return [key for key in first if all(key in other for other in map(set, others))]


class _Reading:
    """Everything of one run, read once, whatever number of groups it is split into."""

    def __init__(self, run: Run, metrics: Sequence[str]):
        ok = run.scan("examples").filter(pl.col("status") == "ok")
        self.examples = ok.select([name for name in EXAMPLES if name != "group"]).sort("row").collect()
        blocks = [*_spectra(run, self.examples["row"]), *_cosines(run, self.examples["row"])]
        blocks += [_metric(run, spec, self.examples["row"]) for spec in metrics]
        self.keys: list[Key] = [key for keys, _ in blocks for key in keys]
        self._values = np.concatenate([values for _, values in blocks], axis=1)

    def cohort(self, members: Members, features: Features) -> Cohort:
        """The rows and columns wanted."""
        chosen = self.examples["row"].is_in(members.rows.implode()).to_numpy()
        place = {key: i for i, key in enumerate(self.keys)}
        columns = np.array([place[key] for key in features.keys], dtype=np.int64)
        return Cohort(members, self.examples.filter(chosen), features, self._values[np.ix_(chosen, columns)])


Block = tuple[list[Key], np.ndarray]


def _spectra(run: Run, rows: pl.Series) -> Iterator[Block]:
    """Of each measure: every projection and their mean, at every layer and in the mean over layers."""
    wanted = list(run.projections)
    spectra = run.scan("spectra").select("row", "layer", "projection", *MEASURES).collect()
    names = [*wanted, MEAN]
    for measure in MEASURES:
        layers, cube = _cube(spectra, rows, wanted, "projection", measure)
        cube = np.concatenate([cube, _mean(cube, 1)[:, None]], axis=1)  # (n, projections + 1, layers)
        whole = _mean(cube, 2)
        whole[:, -1] = _mean(cube[:, :-1].reshape(len(cube), -1), 1)  # over all cells, each the same weight
        yield _flattened(measure, names, layers, whole, cube)


def _cosines(run: Run, rows: pl.Series) -> Iterator[Block]:
    """Of neighbouring layers, under the lower one, and of two projections of a layer."""
    similarity = run.scan("similarity").select("row", "layer", "kind", "pair", "cosine").collect()
    for kind in ("adjacent", "same_layer"):
        table = similarity.filter((pl.col("kind") == kind) & pl.col("cosine").is_not_null())
        pairs = table["pair"].unique(maintain_order=True).to_list()
        if pairs:
            layers, cube = _cube(table, rows, pairs, "pair", "cosine")
            yield _flattened(f"{kind}_cosine", pairs, layers, _mean(cube, 2), cube)


def _metric(run: Run, spec: str, rows: pl.Series) -> Block:
    table = find_metric(run, spec)
    values = (
        rows.to_frame("row").join(table, on="row", how="left", maintain_order="left") if table is not None else None
    )
    column = (
        np.full(len(rows), np.nan) if values is None else values["value"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    )
    return [(spec, None, None)], column[:, None]


def _cube(
    table: pl.DataFrame, rows: pl.Series, names: Sequence[str], column: str, value: str
) -> tuple[list[int], np.ndarray]:
    """The layers there are, and the values (rows, names, layers); NaN where the table has none."""
    layers = table["layer"].unique().sort()
    table = table.filter(pl.col("row").is_in(rows.implode()))
    cube = np.full((len(rows), len(names), len(layers)), np.nan)
    numbered = {name: place for place, name in enumerate(names)}
    at = (
        np.searchsorted(rows.to_numpy(), table["row"].to_numpy()),
        table[column].replace_strict(numbered, return_dtype=pl.Int64).to_numpy(),
        np.searchsorted(layers.to_numpy(), table["layer"].to_numpy()),
    )
    cube[at] = table[value].fill_null(np.nan).to_numpy()
    return layers.to_list(), np.where(np.isfinite(cube), cube, np.nan)


def _flattened(measure: str, names: Sequence[str], layers: Sequence[int], whole: np.ndarray, cube: np.ndarray) -> Block:
    """Columns in the order: projection by projection, its mean over layers first, then layer by layer."""
    keys: list[Key] = [(measure, name, layer) for name in names for layer in (None, *layers)]
    return keys, np.concatenate([whole[:, :, None], cube], axis=2).reshape(len(cube), -1)


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    """Over the values there are; NaN where there is none."""
    there = np.isfinite(values)
    n = there.sum(axis=axis)
    total = np.where(there, values, 0.0).sum(axis=axis)
    return np.asarray(np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0))
