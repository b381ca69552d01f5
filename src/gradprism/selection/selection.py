"""A `Selection`: every row in one group or left out with a reason, and the values at the cuts."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from gradprism.core.numbers import number
from gradprism.core.summary_lines import lines_as_html, lines_as_text
from gradprism.selection.cuts import Edge
from gradprism.selection.settings import SelectSettings

TABLE = ("row", "example_id", "group", "reason", "stratum", "baseline", "response_length", "mean rank")
_EDGES = {
    "group": pl.String, "stratum": pl.String, "metric": pl.String,
    "value": pl.Float64, "sharing": pl.Int64, "taken": pl.Int64,
}  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """All rows of the input, each either in a group or left out with a reason."""

    table: pl.DataFrame
    """`row`, `example_id`, `group`, `reason`, `stratum`, `baseline`, `response_length`, and a column each metric
    (`mean rank` too, where that decided)."""
    metrics: tuple[str, ...]
    settings: SelectSettings
    edges: tuple[Edge, ...]
    notes: tuple[str, ...] = ()
    length_unit: str = "tokens"
    length_correlations: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Spearman of what ranks with the lengths of response and prompt, over the rows that can be ranked: `metric`,
    `response`, `prompt`, `rows`."""
    diversity: pl.DataFrame = field(default_factory=pl.DataFrame)
    """Vendi score of each group beside random subsets of equal size, where sketches of gradients were read: `group`,
    `rows`, `vendi`, `random` (mean), `random_low`, `random_high`."""
    seed: int = 0
    files: tuple[Path, ...] = ()

    @property
    def selected(self) -> pl.DataFrame:
        """Rows of all groups."""
        return self.table.filter(pl.col("group").is_not_null()).drop("reason")

    @property
    def left_out(self) -> pl.DataFrame:
        """Rows left out, each with its `reason`."""
        return self.table.filter(pl.col("group").is_null()).drop("group")

    @property
    def baseline(self) -> pl.DataFrame:
        """Rows drawn at random; some are in a group too, as all rows that could be selected are drawn from."""
        return self.table.filter("baseline")

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups, also of empty ones."""
        return ("high", "low") if self.settings.is_two_groups else ("selected",)

    def rows_of(self, group: str) -> pl.DataFrame:
        """Return the rows of one group."""
        return self.table.filter(pl.col("group") == group)

    @property
    def reasons(self) -> dict[str, int]:
        """Number of rows left out for each reason (without its part in brackets), most frequent first."""
        kinds = self.left_out["reason"].str.replace(r" \(.*$", "")
        return dict(Counter(kinds.to_list()).most_common())

    @property
    def thresholds(self) -> pl.DataFrame:
        """Lowest, median and highest value of each metric in each group: `group`, `metric`, `lowest`, ..., `rows`."""
        found = [
            self.rows_of(group).select(
                group=pl.lit(group),
                metric=pl.lit(metric),
                lowest=pl.col(metric).min(),
                median=pl.col(metric).median(),
                highest=pl.col(metric).max(),
                rows=pl.col(metric).count().cast(pl.Int64),
            )
            for group in self.groups
            for metric in self.metrics
        ]
        return pl.concat(found) if found else pl.DataFrame()

    @property
    def cuts(self) -> pl.DataFrame:
        """Values at which each ranking was cut, the number of rows that share them, and the number of those taken.

        Counted at the cut: what --combine and --match-length took away after it still counts as taken.
        """
        return pl.DataFrame([asdict(edge) for edge in self.edges], schema=_EDGES)

    @property
    def ties(self) -> pl.DataFrame:
        """Cuts where several rows share the value."""
        return self.cuts.filter(pl.col("sharing") > 1)

    @property
    def lengths(self) -> pl.DataFrame:
        """Response lengths: `rows`, `median`, `mean`, `shortest`, `longest`, `total`, for each group and the rest."""
        parts = {group: self.rows_of(group) for group in self.groups}
        if self.settings.random:
            parts["random"] = self.baseline
        parts |= {"left out": self.left_out, "all rows": self.table}
        return pl.concat([_length_row(name, part["response_length"]) for name, part in parts.items()])

    @property
    def median_lengths(self) -> str:
        """Median response length of each group beside that of all rows, in a sentence."""
        medians = dict(self.lengths.select("group", "median").iter_rows())
        told = [f"{number(medians[name])} in {name}" for name in (*self.groups, "all rows")]
        return f"median response, in {self.length_unit}: {', '.join(told)}"

    @property
    def summary_lines(self) -> list[tuple[str, str]]:
        """Counts, reasons, notes and files, each a name and a line of text."""
        taken = [(group, f"{self.rows_of(group).height:,} rows") for group in self.groups]
        random = [("random", f"{self.baseline.height:,} rows")] if self.settings.random else []
        reasons = "; ".join(f"{n:,} {reason}" for reason, n in self.reasons.items())
        return [
            ("input", f"{self.table.height:,} rows"),
            *taken,
            *random,
            ("left out", f"{self.left_out.height:,} rows" + (f": {reasons}" if reasons else "")),
            *(("note", note) for note in self.notes),
            *(("file", str(file)) for file in self.files),
        ]

    def summary(self) -> dict[str, Any]:
        """Return counts, reasons, thresholds, cuts, lengths and files, as `--json` prints them."""
        random = {"random": self.baseline.height} if self.settings.random else {}
        return {
            "rows": self.table.height,
            "groups": {group: self.rows_of(group).height for group in self.groups} | random,
            "left_out": self.left_out.height,
            "reasons": self.reasons,
            "notes": list(self.notes),
            "thresholds": self.thresholds.to_dicts(),
            "cuts": self.cuts.to_dicts(),
            "length_unit": self.length_unit,
            "lengths": self.lengths.to_dicts(),
            "length_correlations": self.length_correlations.to_dicts(),
            "diversity": self.diversity.to_dicts(),
            "files": [str(file) for file in self.files],
        }

    def __repr__(self) -> str:
        """Return counts and reasons as text."""
        return lines_as_text(self.summary_lines)

    def _repr_html_(self) -> str:
        """Return counts, thresholds and lengths as HTML for a notebook."""
        frames = (self.thresholds, self.ties, self.lengths, self.length_correlations, self.diversity)
        return lines_as_html(self.summary_lines) + "".join(frame._repr_html_() for frame in frames if frame.height)


def _length_row(name: str, lengths: pl.Series) -> pl.DataFrame:
    known = lengths.drop_nulls()
    return pl.DataFrame(
        {
            "group": name,
            "rows": len(lengths),
            "median": known.median(),
            "mean": known.mean(),
            "shortest": known.min(),
            "longest": known.max(),
            "total": known.sum(),
        },
        schema_overrides=dict.fromkeys(("median", "mean", "shortest", "longest", "total"), pl.Float64),
    )
