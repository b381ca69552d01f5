"""Groups of a comparison: which rows of which run each has, and by what rule."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from gradprism.comparison.settings import CompareSettings
from gradprism.core.errors import GradPrismError
from gradprism.runs.groups import MOST_GROUPS
from gradprism.runs.run import Run
from gradprism.runs.values import find_metric, metric_names, metric_table, unknown_metric
from gradprism.stats.ranking import order_by, tie_breakers

_QUARTER = 0.25
WHOLE = "all rows"


@dataclass(frozen=True)
class GroupRows:
    """Rows of a group among the measured ones of a run, and the rule that chose them, in words."""

    name: str
    run: Run
    rule: str
    rows: pl.Series
    chosen_by: str | None = None  # the metric of whose values these rows are an extreme

    @property
    def is_whole(self) -> bool:
        """True where the group takes every row of its run."""
        return self.rule == WHOLE


def whole_runs(runs: Mapping[str, Run]) -> list[GroupRows]:
    """Make each run a group. Raises `GradPrismError` where one holds fewer than two measured rows."""
    found = [GroupRows(name, run, WHOLE, _measured(run)["row"]) for name, run in runs.items()]
    for group in found:
        if len(group.rows) < 2 <= len(runs):
            raise GradPrismError(
                f"The group {group.name} ({group.run.path}) has {_count_of_rows(len(group.rows))} measured. "
                f"Expected at least 2: one row has no spread.{_reasons_for_few(group.run)}"
            )
    return found


def split(run: Run, settings: CompareSettings, among: pl.Series | None = None) -> tuple[list[GroupRows], list[str]]:
    """Split one run, or the rows `among` it, into groups by `settings.by`, with notes on rows that are in none.

    Raises `GradPrismError` where the name is unknown or fewer than two groups of two rows come out.
    """
    by, wanted, measured = str(settings.by), settings.groups, _measured(run)
    if among is not None:
        measured = measured.filter(pl.col("row").is_in(among.implode()))
    column = _column(run, by, measured)
    too_many = column is not None and column["value"].n_unique() > MOST_GROUPS
    if column is not None and settings.quantile is None and (wanted or not too_many):
        return _by_value(run, by, column, wanted, measured)
    if wanted:
        raise GradPrismError(f"--groups chooses among the values of a column, and --by is {by}.")
    if too_many and column is not None and column["value"].dtype == pl.String:
        raise GradPrismError(
            f"--by {by}: {column['value'].n_unique():,} different texts; expected at most {MOST_GROUPS} groups, or "
            "--groups to choose some of them."
        )
    return _by_quantile(run, by, column, settings, measured)


def _by_value(
    run: Run, by: str, column: pl.DataFrame, wanted: tuple[str, ...], measured: pl.DataFrame
) -> tuple[list[GroupRows], list[str]]:
    """Make a group of each value, in the order of the values: numbers as numbers, texts as texts."""
    parts = column.sort("value", "row").group_by("value", maintain_order=True)
    rows = {_group_name(value): part["row"] for (value,), part in parts}
    missing = [name for name in wanted if name not in rows]
    if missing or len({*wanted}) < len(wanted):
        why = f"{by} has no value {missing[0]!r}" if missing else "one value is named twice"
        raise GradPrismError(f"--groups: {why}; there are {', '.join(map(repr, rows))}.")
    names = [name for name in wanted or rows if len(rows[name]) >= 2]
    if len(names) < 2:
        raise GradPrismError(
            f"--by {by} makes {len(names)} group(s) of at least 2 measured rows; expected two or more. "
            f"Its values: {_values_in_words({name: len(found) for name, found in rows.items()})}."
        )
    rule = by.removeprefix("column:")
    chosen = [GroupRows(name, run, f"{rule} = {name}", rows[name].sort()) for name in names]
    return chosen, [*_single_rows(by, rows, wanted), *_ungrouped(by, chosen, measured)]


def _single_rows(by: str, rows: Mapping[str, pl.Series], wanted: tuple[str, ...]) -> list[str]:
    single = [name for name in wanted or rows if len(rows[name]) < 2]
    return [f"{by} = {name} is left out: one row, and one row has no spread." for name in single]


def _ungrouped(by: str, groups: Sequence[GroupRows], measured: pl.DataFrame) -> list[str]:
    """Note measured rows that are in no group, as they have no value or one that was not asked for."""
    left = measured.height - sum(len(group.rows) for group in groups)
    return [f"{_count_of_rows(left)} with no or another value of {by} measured and in no group."] if left else []


def _group_name(value: object) -> str:
    """Make the name of a group from a value: on one line, whatever it holds."""
    text = "".join(character if character.isprintable() else " " for character in str(value)).strip()
    return text or "(empty)"


def _by_quantile(
    run: Run, by: str, column: pl.DataFrame | None, settings: CompareSettings, measured: pl.DataFrame
) -> tuple[list[GroupRows], list[str]]:
    """Make the groups high and low of the rows with the highest and the lowest values of a metric."""
    spec = f"column:{by.removeprefix('column:')}" if column is not None else by
    share = settings.quantile or _QUARTER
    table = measured.join(metric_table(run, spec), on="row", how="left").sort("row")
    candidates = np.flatnonzero(table["value"].is_not_null().to_numpy())
    n = int(share * len(candidates) + 1e-9)
    if n < 2:
        raise GradPrismError(
            f"--by {by} --quantile {share:g}: {_count_of_rows(len(candidates))} measured with a value, so {n} in each "
            "group; expected at least 2."
        )
    values = table.select(pl.col("value").alias(by))
    order = order_by(by, values, candidates, tie_breakers(table, settings.seed, "ties"))
    ends = {"high": order.best_first[:n], "low": order.best_first[::-1][:n]}
    if values[int(ends["high"][-1]), 0] <= values[int(ends["low"][-1]), 0]:
        raise GradPrismError(f"--by {by} --quantile {share:g}: the highest and the lowest have the same value; "
                             "there are too few different ones.")  # fmt: skip
    found = [
        GroupRows(name, run, _quantile_rule(by, values, end, name, share), table["row"][np.sort(end).tolist()], spec)
        for name, end in ends.items()
    ]
    left = table.height - len(candidates)
    return found, [f"{_count_of_rows(left)} measured without a value of {by} are in no group."] if left else []


def _quantile_rule(by: str, values: pl.DataFrame, chosen: np.ndarray, end: str, share: float) -> str:
    cut = values[int(chosen[-1]), 0]
    return f"{by} {'at least' if end == 'high' else 'at most'} {cut:.4g}: the {end}est {share:.3g} of rows"


def _column(run: Run, by: str, measured: pl.DataFrame) -> pl.DataFrame | None:
    """Return `row` and `value` of a column of the data, of the measured rows that have one; None for no such column."""
    columns = run.columns
    name = by.removeprefix("column:")
    if name in ("row", "example_id") or name not in columns.columns:
        if find_metric(run, by) is None:
            own = [f"column:{n}" for n in columns.columns if n not in ("row", "example_id")]
            raise unknown_metric(by, dict.fromkeys([*own, *metric_names(run)]))
        return None
    if name == by and find_metric(run, by) is not None:  # `length` is the metric, `column:length` the column
        return None
    table = columns.select("row", value=name).drop_nulls("value")
    if table["value"].dtype.is_float():
        table = table.filter(pl.col("value").is_not_nan())
    return measured.select("row").join(table, on="row")


def _measured(run: Run) -> pl.DataFrame:
    return run.scan("examples").filter(pl.col("status") == "ok").select("row", "example_id").sort("row").collect()


def _values_in_words(counts: Mapping[str, int]) -> str:
    shown = [f"{name} ({n})" for name, n in list(counts.items())[:8]]
    return ", ".join(shown) + (" ..." if len(counts) > len(shown) else "") or "(none)"


def _reasons_for_few(run: Run) -> str:
    reasons = "; ".join(f"{n} x {reason}" for reason, n in list(run.counts.reasons.items())[:3])
    return f"\nThe others: {reasons}" if reasons else ""


def _count_of_rows(n: int) -> str:
    return f"{n:,} row" if n == 1 else f"{n:,} rows"
