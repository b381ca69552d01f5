"""One page of saved comparisons, or of runs."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gradprism.jobs.comparisons import Given, comparisons_of
from gradprism.places import place

if TYPE_CHECKING:
    from gradprism.report import ReportFacts


def write_report(
    *given: Given,
    out: str | Path = "report.html",
    max_mb: float = 12.0,
    texts: bool = True,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> "ReportFacts":
    """Write one HTML file that opens offline: curves, effects, length, correlations, and every example.

    `given`: comparisons (as objects or folders) and runs; runs of one model are compared. `max_mb`: most megabytes of
    the file; above it examples are sampled by `seed`, which the page says. `texts`: whether it holds the texts of the
    examples. Raises `GradPrismError`.
    """
    from gradprism import report

    comparisons = comparisons_of(given, progress)
    return report.write_report(comparisons, place(out), max_mb=max_mb, seed=seed, texts=texts, progress=progress)
