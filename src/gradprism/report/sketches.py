"""Sketches of the examples of a comparison, read from its runs as unit vectors."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from gradprism.comparison.comparison import Comparison, Group
from gradprism.core.errors import GradPrismError
from gradprism.core.progress import Say
from gradprism.report.example_curves import unchanged_run
from gradprism.runs.run import Run, open_run
from gradprism.runs.sketches import Sketches
from gradprism.set_diversity.sketched_rows import has_direction, sketch_differences
from gradprism.stats.vendi import unit_rows

Places = npt.NDArray[np.int64]
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class ExampleSketches:
    """The examples that have a sketch, and where it lies: in which of `sources`, and at which place."""

    table: pl.DataFrame  # group, row, example_id, n_response_tokens, source, place
    sources: tuple[Sketches, ...]
    dimension: int

    @property
    def distinct(self) -> Places:
        """The rows of the table without those that another group has too."""
        return self.table.select(pl.struct("source", "row").is_first_distinct().arg_true()).to_series().to_numpy()

    def units(self, places: Places) -> npt.NDArray[np.float32]:
        """Return the sketches of some rows of the table, each scaled to unit length, (places, dimension)."""
        found = np.empty((len(places), self.dimension), dtype=np.float32)
        source, at = (self.table[name].to_numpy()[places] for name in ("source", "place"))
        for number, sketches in enumerate(self.sources):
            wanted, start = np.flatnonzero(source == number), 0
            for unit in unit_rows(sketches.values, at[wanted]):
                found[wanted[start : start + len(unit)]] = unit
                start += len(unit)
        return found

    def parts(self) -> Iterator[Places]:
        """Yield all rows of the table, a few at a time: their sketches together may be large."""
        for start in range(0, self.table.height, _ROWS_AT_ONCE):
            yield np.arange(start, min(start + _ROWS_AT_ONCE, self.table.height))


def read_sketches_of(comparison: Comparison, say: Say) -> ExampleSketches | None:
    """Read the sketches of a comparison's examples; None where fewer than two examples have one.

    Only those made with the options of the first group that has any are read: others have no common space. A run that
    is gone or has changed has none here; the page says so of its curves.
    """
    sources: dict[str, Sketches] = {}
    tables: list[pl.DataFrame] = []
    first: Run | None = None
    for group in comparison.groups:
        rows = comparison.examples.filter(pl.col("group") == group.name)
        run = _run_with_sketches(group, rows)
        if run is None or (first is not None and any(sketch_differences(first, run))):
            continue
        first = first or run
        if group.run not in sources:
            say(f"reading the sketches of {group.name}")
            sources[group.run] = run.sketches
        tables.append(_located(rows, sources[group.run], [*sources].index(group.run)))
    if not tables:
        return None
    read = tuple(sources.values())
    found = ExampleSketches(pl.concat(tables), read, read[0].values.shape[1])
    return found if len(found.distinct) > 1 else None


def _run_with_sketches(group: Group, rows: pl.DataFrame) -> Run | None:
    try:
        return unchanged_run(group, rows) if open_run(group.run).has_sketches else None
    except (GradPrismError, OSError, pl.exceptions.PolarsError):
        return None


def _located(rows: pl.DataFrame, sketches: Sketches, source: int) -> pl.DataFrame:
    places = pl.DataFrame({"row": sketches.rows, "place": np.arange(len(sketches))})
    known = rows.select("group", "row", "example_id", "n_response_tokens", pl.lit(source).alias("source"))
    return known.join(places.filter(has_direction(sketches.values)), on="row", maintain_order="left")
