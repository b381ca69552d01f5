"""Which rows of which run make each group of a comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from gradprism.comparison.settings import CompareSettings
from gradprism.core.errors import GradPrismError
from gradprism.runs.groups import MOST_GROUPS
from gradprism.runs.run import Run
from gradprism.runs.values import find_metric, known_metrics, metric_table, unknown_metric
from gradprism.stats.ranking import lottery, order_by

_QUARTER = 0.25
_WHOLE = "all rows"


@dataclass(frozen=True)
class Members:
    """One group: its rows among the measured ones of a run, and the rule that chose them, in words."""

    name: str
    run: Run
    rule: str
    rows: pl.Series
    chosen_by: str | None = None  # the metric of whose values these rows are an extreme

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
    by, wanted = str(settings.by), settings.groups
    column = _column(run, by)
    many = column is not None and column["value"].n_unique() > MOST_GROUPS
    if column is not None and settings.quantile is None and (wanted or not many):
        return _by_value(run, by, column, wanted)
    if wanted:
        raise GradPrismError(f"--groups chooses among the values of a column, and --by is {by}.")
    if many and column is not None and column["value"].dtype == pl.String:
        raise GradPrismError(
            f"--by {by}: {column['value'].n_unique():,} different texts; expected at most {MOST_GROUPS} groups, or "
            "--groups to choose some of them."
        )
    return _by_quantile(run, by, column, settings)


def _by_value(run: Run, by: str, column: pl.DataFrame, wanted: tuple[str, ...]) -> tuple[list[Members], list[str]]:
    """Groups in the order of the values themselves: numbers as numbers, texts as texts."""
    parts = column.sort("value", "row").group_by("value", maintain_order=True)
    rows = {_named(value): part["row"] for (value,), part in parts}
    missing = [name for name in wanted if name not in rows]
    if missing or len({*wanted}) < len(wanted):
        why = f"{by} has no value {missing[0]!r}" if missing else "one value is named twice"
        raise GradPrismError(f"--groups: {why}; there are {', '.join(map(repr, rows))}.")
    names = [name for name in wanted or rows if len(rows[name]) >= 2]
    if len(names) < 2:
        raise GradPrismError(
            f"--by {by} makes {len(names)} group(s) of at least 2 measured rows; expected two or more. "
            f"Its values: {_listed({name: len(found) for name, found in rows.items()})}."
        )
    rule = by.removeprefix("column:")
    chosen = [Members(name, run, f"{rule} = {name}", rows[name].sort()) for name in names]
    return chosen, [*_alone(by, rows, wanted), *_ungrouped(run, by, chosen)]


def _alone(by: str, rows: Mapping[str, pl.Series], wanted: tuple[str, ...]) -> list[str]:
    single = [name for name in wanted or rows if len(rows[name]) < 2]
    return [f"{by} = {name} is left out: one row, and nothing can be said of the spread of one." for name in single]


def _ungrouped(run: Run, by: str, groups: Sequence[Members]) -> list[str]:
    """Measured rows that are in no group, since they have no value or one that was not asked for."""
    left = _measured(run).height - sum(len(group.rows) for group in groups)
    return [f"{_rows(left)} with no or another value of {by} measured and in no group."] if left else []


def _named(value: object) -> str:
    """A value as the name of a group: on one line, whatever it holds."""
    text = "".join(character if character.isprintable() else " " for character in str(value)).strip()
    return text or "(empty)"


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
        Members(name, run, _rule(by, values, chosen, name, share), table["row"][np.sort(chosen).tolist()], spec)
        for name, chosen in ends.items()
    ]
    left = table.height - len(places)
    return found, [f"{_rows(left)} measured without a value of {by} are in no group."] if left else []


def _rule(by: str, values: pl.DataFrame, chosen: np.ndarray, end: str, share: float) -> str:
    cut = values[int(chosen[-1]), 0]
    return f"{by} {'at least' if end == 'high' else 'at most'} {cut:.4g}: the {end}est {share:.3g} of rows"


def _column(run: Run, by: str) -> pl.DataFrame | None:
    """`row` and `value` of a column of the data, measured rows that have one; None where there is no such column."""
    columns = run.columns
    name = by.removeprefix("column:")
    if name in ("row", "example_id") or name not in columns.columns:
        if find_metric(run, by) is None:
            own = [f"column:{n}" for n in columns.columns if n not in ("row", "example_id")]
            raise unknown_metric(by, dict.fromkeys([*own, *known_metrics(run)]))
        return None
    if name == by and find_metric(run, by) is not None:  # `length` is the metric, `column:length` the column
        return None
    table = columns.select("row", value=name).drop_nulls("value")
    if table["value"].dtype.is_float():
        table = table.filter(pl.col("value").is_not_nan())
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
