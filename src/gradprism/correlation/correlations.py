"""Rank correlations of the scores, measures and columns of a run, raw and length-controlled."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from gradprism.core.errors import GradPrismError
from gradprism.core.summary_lines import lines_as_html, lines_as_text
from gradprism.correlation.table_files import write_csv, write_tables
from gradprism.correlation.tables import CORRELATIONS
from gradprism.files.folder import FolderKind, written_folder
from gradprism.prism.measures import MAIN_MEASURES, known_measures
from gradprism.runs.layout import COMPARISON_FILE, RUN_FILE
from gradprism.runs.own_settings import notes_on_settings
from gradprism.runs.run import Run
from gradprism.runs.values import find_metric, metric_names, metric_values
from gradprism.stats.multiplicity import benjamini_hochberg
from gradprism.stats.rank_correlation import Correlation, partial_spearman, spearman

FEWEST_VALUES = 4  # below, no interval exists
MOST_BY_DEFAULT = 200  # metrics, where none is named: 19,900 pairs
MOST_NAMED = 1000
_LENGTHS = {"n_prompt_tokens": "prompt_length", "n_response_tokens": "length"}


@dataclass(frozen=True)
class Correlations:
    """Spearman correlations of every two metrics of a run: the table CORRELATIONS, and two matrices."""

    run: str  # absolute path
    names: tuple[str, ...]  # in clustered order
    table: pl.DataFrame
    notes: tuple[str, ...]  # metrics left out, and why

    @property
    def raw(self) -> pl.DataFrame:
        """Raw correlations, a row and a column for each metric; null where there is none."""
        return self._square("spearman")

    @property
    def partial(self) -> pl.DataFrame:
        """Correlations given prompt and response tokens, in the form of `raw`; of those lengths themselves null."""
        return self._square("partial")

    def save(self, folder: Path) -> None:
        """Write correlations.parquet and .csv, matrix_raw.csv and matrix_partial.csv.

        Raises `GradPrismError` where the folder is a run or a comparison, or cannot be written.
        """
        if any((folder / name).exists() for name in (RUN_FILE, COMPARISON_FILE)):
            raise GradPrismError(f"{folder} is a run or a comparison, with tables of its own. Choose another --out.")
        with written_folder(folder, FolderKind("correlations")) as new:
            write_tables(new, {"correlations": self.table})
            write_csv(new, "matrix_raw", self.raw)
            write_csv(new, "matrix_partial", self.partial)

    @property
    def summary_lines(self) -> list[tuple[str, str]]:
        """Run, metrics and notes, each a name and a line of text."""
        rows = max(self.table["n"], default=0)
        metrics = f"{len(self.names)}, on at most {rows:,} rows: {', '.join(self.names)}"
        return [("run", self.run), ("metrics", metrics), *(("note", note) for note in self.notes)]

    def __repr__(self) -> str:
        """Return what was correlated, and the strongest correlations, as text."""
        strongest = self.table.sort(pl.col("spearman").abs(), descending=True, nulls_last=True)
        shown = strongest.select("x", "y", "n", "spearman", "q", "partial", "partial_q")
        return f"{lines_as_text(self.summary_lines)}\n{shown}"

    def _repr_html_(self) -> str:
        return lines_as_html(self.summary_lines) + str(self.raw._repr_html_()) + str(self.partial._repr_html_())

    def _square(self, column: str) -> pl.DataFrame:
        index = {name: i for i, name in enumerate(self.names)}
        cells: list[list[float | None]] = [[None] * len(index) for _ in index]
        for x, y, value in self.table.select("x", "y", column).iter_rows():
            i, j = index[x], index[y]
            cells[i][j] = cells[j][i] = value
            if value is not None:
                cells[i][i] = cells[j][j] = 1.0
        columns = [pl.Series(name, cells[i], dtype=pl.Float64) for name, i in index.items()]
        return pl.DataFrame([pl.Series("metric", self.names, dtype=pl.String), *columns])


def correlate(run: Run, metrics: Sequence[str] = (), *, incomplete_ok: bool = False) -> Correlations:
    """Correlate the metrics of a run with each other, each pair on the rows that have both.

    `metrics` are names of `gradprism.runs.values`; without any: every score, the lengths, the loss, the data's
    numeric columns (as many as make 200 metrics, the others noted), each measure of all projections, and nuclear norm
    and effective rank of each. Raises `GradPrismError` for a name that the run does not have, for more than 1,000, for
    an incomplete run (unless `incomplete_ok`) and where fewer than two metrics vary.
    """
    names, not_taken = _chosen_metrics(run, metrics)
    if not names:
        raise GradPrismError(f"The run {run.path} holds nothing to correlate: no scores, spectra or numeric columns.")
    tables = {name: metric_values(run, name) for name in names}
    pending = _pending(run, tables)
    if pending and not incomplete_ok:
        raise GradPrismError(
            f"{pending} Finish it, or correlate the rows that it has with --incomplete (incomplete=True)."
        )
    values = _join_on_rows(tables).select(names)
    lengths, without_control = _lengths_of(run, tables)
    table, order = correlation_table(values, lengths)
    left_out = "; ".join(f"{name} {why}" for name in names if (why := _why_left_out(values[name])))
    if len(order) < 2:
        raise GradPrismError(
            f"{run.path}: expected two metrics that vary. {left_out or f'{names[0]} is the only one'}."
        )
    own = notes_on_settings(run, [*names, *_LENGTHS.values()])
    notes = (pending, not_taken, f"Left out: {left_out}." if left_out else "", without_control, *own)
    return Correlations(str(run.path.resolve()), tuple(order), table, tuple(filter(None, notes)))


def _chosen_metrics(run: Run, metrics: Sequence[str]) -> tuple[list[str], str]:
    """Return the names to correlate, and a note on columns of the data that are too many; empty where none is."""
    if len(named := list(dict.fromkeys(metrics))) > MOST_NAMED:
        raise GradPrismError(f"{len(named):,} metrics are named. Expected at most {MOST_NAMED:,}: choose some of them.")
    names = named or default_metrics(run)
    columns = [name for name in names if name.startswith("column:")]
    n_taken = max(0, MOST_BY_DEFAULT - (len(names) - len(columns)))
    if named or len(columns) <= n_taken:
        return names, ""
    left, first = {*columns[n_taken:]}, columns[n_taken]
    return [name for name in names if name not in left], (
        f"Left out: {len(left):,} of {len(columns):,} columns of the data, {first} and those after it, since "
        f"at most {MOST_BY_DEFAULT} metrics are correlated where none is named. Choose others with --metric NAME,NAME."
    )


def default_metrics(run: Run) -> list[str]:
    """List the metrics that are correlated by default, in the order scores, lengths, loss, columns, measures."""
    known = dict.fromkeys(metric_names(run))
    projections = run.projections if len(run.projections) > 1 else ()  # the mean over one projection is that projection
    wanted = [
        *run.metrics,
        *("length", "prompt_length", "loss"),
        *(name for name in known if name.startswith("column:")),
        *spectral_metrics(projections),
    ]
    return [name for name in dict.fromkeys(wanted) if name in known]


def spectral_metrics(projections: Iterable[str]) -> list[str]:
    """List every measure of the mean over projections, and nuclear norm and effective rank of each projection."""
    each = [f"{measure}:{projection}" for measure in MAIN_MEASURES for projection in projections]
    compared = (name for name, measure in known_measures().items() if measure.compared and not measure.of_layer)
    return [*(f"{name}:mean" for name in compared), *each]


def correlation_table(values: pl.DataFrame, lengths: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Correlate every two columns: return the table CORRELATIONS, and the names in clustered order.

    `values` and `lengths` (n_prompt_tokens, n_response_tokens) have the same rows. Columns that are constant or have
    fewer than four values are left out of both. Where one of the lengths has no value, all partial correlations are
    null.
    """
    names = [name for name in values.columns if not _why_left_out(values[name])]
    if not names:
        return pl.DataFrame(schema=CORRELATIONS), []
    numbers, controls = _float_matrix(values.select(names)), _float_matrix(lengths.select(list(_LENGTHS)))
    raw = spearman(numbers, numbers)
    order = _clustered(raw.value)
    below, above = np.triu_indices(len(names), k=1)
    pairs = order[below], order[above]  # columns of x and of y: x first in clustered order
    partial = partial_spearman(numbers, numbers, controls[:, _varies(controls)])
    columns = {
        "x": [names[index] for index in pairs[0]],
        "y": [names[index] for index in pairs[1]],
        "n": raw.n[pairs],
        **_columns_of_pairs(raw, pairs, ("spearman", "low", "high", "p", "q")),
        **_columns_of_pairs(partial, pairs, ("partial", "partial_low", "partial_high", "partial_p", "partial_q")),
    }
    return pl.DataFrame(columns, schema=CORRELATIONS).fill_nan(None), [names[index] for index in order]


def _columns_of_pairs(found: Correlation, pairs: tuple[np.ndarray, ...], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return value, ends, p, and p adjusted over all pairs, as columns of these names."""
    numbers = [each[pairs] for each in (found.value, found.low, found.high, found.p)]
    q = benjamini_hochberg(numbers[-1], [None] * len(pairs[0]))
    return dict(zip(names, [*numbers, q], strict=True))


def _clustered(correlation: np.ndarray) -> np.ndarray:
    """Order columns so that like ones are neighbours: average linkage of 1 - |correlation|."""
    if len(correlation) < 2:
        return np.arange(len(correlation))
    distance = 1 - np.nan_to_num(np.abs(correlation))
    np.fill_diagonal(distance, 0.0)
    condensed = squareform((distance + distance.T) / 2, checks=False)
    return np.asarray(leaves_list(linkage(condensed, method="average", optimal_ordering=True)))


def _why_left_out(column: pl.Series) -> str:
    """Say why a column has no correlations; empty where it has."""
    present = column.cast(pl.Float64).drop_nulls()
    present = present.filter(present.is_finite())
    if len(present) < FEWEST_VALUES:
        return f"has {len(present)} values, fewer than {FEWEST_VALUES}"
    return f"is {present[0]:g} throughout" if present.n_unique() == 1 else ""


def _varies(columns: np.ndarray) -> np.ndarray:
    """Mask the columns that are no constant, as that controls for nothing; one without values counts as varying."""
    return np.array([len(np.unique(column[np.isfinite(column)])) != 1 for column in columns.T], dtype=bool)


def _float_matrix(frame: pl.DataFrame) -> np.ndarray:
    """Convert a frame to (rows, columns), null as NaN."""
    return frame.cast(pl.Float64).to_numpy()


def _join_on_rows(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Join tables of `row` and `value` into a column each, on the rows that any has."""
    named = [table.rename({"value": name}) for name, table in tables.items()]
    rows = pl.concat([table.select("row") for table in named]).unique().sort("row")
    for table in named:
        rows = rows.join(table, on="row", how="left", maintain_order="left")
    return rows


def _lengths_of(run: Run, tables: Mapping[str, pl.DataFrame]) -> tuple[pl.DataFrame, str]:
    """Return token counts on the rows of `_join_on_rows(tables)`; null, with a note, where the run lacks either."""
    rows = _join_on_rows(tables).select("row")
    found = {column: find_metric(run, metric) for column, metric in _LENGTHS.items()}
    unknown = [_LENGTHS[column] for column, table in found.items() if table is None or not table["value"].count()]
    known = {column: table.select("row", "value") for column, table in found.items() if table is not None}
    if unknown:
        empty = rows.select(pl.lit(None, dtype=pl.Float64).alias(column) for column in _LENGTHS)
        return empty, f"No correlation is length-controlled: the run does not know {' and '.join(unknown)}."
    return rows.join(_join_on_rows(known), on="row", how="left", maintain_order="left").select(list(_LENGTHS)), ""


def _pending(run: Run, tables: Mapping[str, pl.DataFrame]) -> str:
    """Say which metrics lack rows of the run; empty where none does."""
    rows = run.record["data"]["rows"]
    short = [f"{name} has {table.height:,} of {rows:,} rows" for name, table in tables.items() if table.height < rows]
    more = f", and {len(short) - 3} more" if len(short) > 3 else ""
    return f"The run {run.path} is incomplete: {', '.join(short[:3])}{more}." if short else ""
