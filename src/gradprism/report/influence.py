"""Influence on targets: what each metric `influence:NAME` of a comparison is, its verdicts, and its extreme rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from gradprism.comparison.comparison import Comparison, Finding
from gradprism.comparison.findings import finding, margin_of
from gradprism.core.errors import GradPrismError
from gradprism.report.listed_rows import ListedRow, Shown
from gradprism.runs.layout import is_influence
from gradprism.runs.run import open_run

_EXTREMES = 10  # rows at each end
_SHOWN = ("first", "second", "kind", "sentence", "details")


@dataclass(frozen=True)
class TargetInfluence:
    """The scores of one target in a comparison."""

    metric: str
    about: str  # what a score is, in words; empty where no run is there to say
    findings: tuple[Finding, ...]
    highest: tuple[ListedRow, ...]
    lowest: tuple[ListedRow, ...]

    @property
    def listed(self) -> tuple[ListedRow, ...]:
        """Rows of which the page shows the beginnings of the texts."""
        return (*self.highest, *self.lowest)

    def json(self, shown: Shown) -> dict[str, Any]:
        """Return what the page shows of it."""
        found = [{name: vars(each)[name] for name in _SHOWN} for each in self.findings]
        ends = {"highest": [*map(shown, self.highest)], "lowest": [*map(shown, self.lowest)]}
        return {"metric": self.metric, "about": self.about, "findings": found, **ends}


def read_influences(comparison: Comparison) -> list[TargetInfluence]:
    """Return the influence on each target that every run of a comparison was compared with."""
    names = [name for name in comparison.about.get("metrics", ()) if name in comparison.examples.columns]
    return [_read(comparison, name) for name in names if is_influence(name)]


def _read(comparison: Comparison, metric: str) -> TargetInfluence:
    known = comparison.examples.drop_nulls(metric).sort(metric, "group", "row", descending=[True, False, False])
    rows = known.select("group", "row", "example_id", "n_response_tokens", metric)
    n = min(_EXTREMES, -(-rows.height // 2))  # no row is at both ends
    ends = rows.head(n), rows.tail(min(n, rows.height - n)).reverse()
    highest, lowest = (tuple(ListedRow(*row) for row in end.iter_rows()) for end in ends)
    return TargetInfluence(metric, _about(comparison, metric), tuple(_findings(comparison, metric)), highest, lowest)


def _findings(comparison: Comparison, metric: str) -> Iterator[Finding]:
    by = (comparison.about.get("settings") or {}).get("by")
    for row in comparison.effects.filter(pl.col("layer").is_null(), measure=metric).iter_rows(named=True):
        yield finding(row, by, margin_of(comparison.about))


def _about(comparison: Comparison, metric: str) -> str:
    for run in dict.fromkeys(group.run for group in comparison.groups):
        try:
            return str(open_run(run).score_record(metric).get("about") or "")
        except (GradPrismError, OSError):
            continue
    return ""
