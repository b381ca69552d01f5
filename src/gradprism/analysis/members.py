"""Which rows of which run make each group of a comparison."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from gradprism.analysis.metrics import find_metric, known_metrics, metric_table, unknown_metric
from gradprism.analysis.ranking import lottery, order_by
from gradprism.compare_recipe import CompareSettings
from gradprism.errors import GradPrismError
from gradprism.store.run import Run

MOST_GROUPS = 24
_QUARTER = 0.25
_WHOLE = "all rows"


@dataclass(frozen=True)
class Members:
    """One group: its rows among the measured ones of a run, and the rule that chose them, in words."""

    name: str
    run: Run
    rule: str
    rows: pl.Series

    @property
    def is_whole(self) -> bool:
        """Whether it takes every row of its run."""
        return self.rule == _WHOLE


def whole_runs(runs: Mapping[str, Run]) -> list[Members]:
    """Each run is a group. Raises `GradPrismError` where one holds fewer than two measured rows."""
    found = [Members(name, run, _WHOLE, _measured(run)["row"]) for name, run in runs.items()]
    for members in found:
        if len(members.rows) < 2 <= len(runs):
            raise GradPrismError(
                f"The group {members.name} ({members.run.path}) has {_rows(len(members.rows))} measured. "
                f"Expected at least 2: nothing can be said of the spread of one.{_why_few(members.run)}"
            )
    return found


def split(run: Run, settings: CompareSettings) -> tuple[list[Members], list[str]]:
    """The groups that `settings.by` makes of one run, and notes on rows that are in none.

    Raises `GradPrismError` where the name is unknown or fewer than two groups of two rows come out.
    """
    by = str(settings.by)
    column = _column(run, by)
    if settings.quantile is None and column is not None and column["value"].n_unique() <= MOST_GROUPS:
        return _by_value(run, by, column, settings.wanted)
    if settings.wanted:
        raise GradPrismError(f"--groups {settings.groups} chooses among the values of a column, and --by is {by}.")
    return _by_quantile(run, by, column, settings)


def _by_value(run: Run, by: str, column: pl.DataFrame, wanted: tuple[str, ...]) -> tuple[list[Members], list[str]]:
    counts = Counter(column["value"].to_list())
    missing = [name for name in wanted if name not in counts]
    if missing:
        raise GradPrismError(f"--groups: {by} has no value {missing[0]!r}; it has {', '.join(sorted(counts))}.")
    names = [name for name in wanted or sorted(counts) if counts[name] >= 2]
    notes = [
        f"{by} = {name} is left out: one row, and nothing can be said of the spread of one."
        for name in wanted or sorted(counts)
        if counts[name] < 2
    ]
    if len(names) < 2:
        raise GradPrismError(
            f"--by {by} makes {len(names)} group(s) of at least 2 measured rows; expected two or more. "
            f"Its values: {_listed(counts)}."
        )
    name = by.removeprefix("column:")
    rows = {value: column.filter(pl.col("value") == value)["row"] for value in names}
    return [Members(value, run, f"{name} = {value}", rows[value]) for value in names], notes


def _by_quantile(
    run: Run, by: str, column: pl.DataFrame | None, settings: CompareSettings
) -> tuple[list[Members], list[str]]:
    spec = f"column:{by.removeprefix('column:')}" if column is not None else by
    share = settings.quantile or _QUARTER
    measured = _measured(run)
    table = measured.join(metric_table(run, spec), on="row", how="left").sort("row")
    places = np.flatnonzero(table["value"].is_not_null().to_numpy())
    n = int(share * len(places) + 1e-9)
    if n < 2:
        raise GradPrismError(
            f"--by {by} --quantile {share:g}: {_rows(len(places))} measured with a value, so {n} in each group; "
            "expected at least 2."
        )
    values = table.select(pl.col("value").alias(by))
    order = order_by(by, values, places, lottery(table, settings.seed, "ties"))
    ends = {"high": order.best_first[:n], "low": order.best_first[::-1][:n]}
    if values[int(ends["high"][-1]), 0] <= values[int(ends["low"][-1]), 0]:
        raise GradPrismError(f"--by {by} --quantile {share:g}: the highest and the lowest have the same value; "
                             "there are too few different ones.")  # fmt: skip
    found = [
        Members(name, run, _rule(by, values, chosen, name, share), table["row"][np.sort(chosen).tolist()])
        for name, chosen in ends.items()
    ]
    left = table.height - len(places)
    return found, [f"{_rows(left)} measured without a value of {by} are in no group."] if left else []


def _rule(by: str, values: pl.DataFrame, chosen: np.ndarray, end: str, share: float) -> str:
    cut = values[int(chosen[-1]), 0]
    return f"{by} {'at least' if end == 'high' else 'at most'} {cut:.4g}: the {end}est {share:.3g} of rows"


def _column(run: Run, by: str) -> pl.DataFrame | None:
    """`row` and `value` (as text) of a column of the data, measured rows that have one; None where there is none."""
    columns = run.columns
    name = by.removeprefix("column:")
    if name in ("row", "example_id") or name not in columns.columns:
        if find_metric(run, by) is None:
            own = [f"column:{n}" for n in columns.columns if n not in ("row", "example_id")]
            raise unknown_metric(by, dict.fromkeys([*own, *known_metrics(run)]))
        return None
    if name == by and find_metric(run, by) is not None:  # `length` is the metric, `column:length` the column
        return None
    table = columns.select("row", value=pl.col(name).cast(pl.String)).drop_nulls("value")
    return _measured(run).select("row").join(table, on="row")


def _measured(run: Run) -> pl.DataFrame:
    return run.scan("examples").filter(pl.col("status") == "ok").select("row", "example_id").sort("row").collect()


def _listed(counts: Mapping[str, int]) -> str:
    shown = [f"{name} ({n})" for name, n in list(counts.items())[:8]]
    return ", ".join(shown) + (" ..." if len(counts) > len(shown) else "") or "(none)"


def _why_few(run: Run) -> str:
    reasons = "; ".join(f"{n} x {reason}" for reason, n in list(run.counts.reasons.items())[:3])
    return f"\nThe others: {reasons}" if reasons else ""


def _rows(n: int) -> str:
    return f"{n:,} row" if n == 1 else f"{n:,} rows"
