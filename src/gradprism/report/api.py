"""`gradprism.write_report`: one page of comparisons or of runs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradprism.comparison.opening import Given, comparisons_of, folder_of
from gradprism.core.errors import GradPrismError
from gradprism.files.atomic import target_file
from gradprism.files.paths import to_path

if TYPE_CHECKING:
    from gradprism.report import WrittenReport


def write_report(
    *given: Given,
    out: str | Path | None = None,
    max_mb: float = 12.0,
    texts: bool = True,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> "WrittenReport":
    """Write one HTML file that opens offline: curves, effects, length, correlations, and every example.

    `given`: comparisons (as objects or folders) and runs; runs of one model are compared. `out`: the file; of a single
    comparison's or run's folder otherwise `report.html` in it. `max_mb`: most megabytes of the file; above it examples
    are sampled by `seed`, which the page says. `texts`: whether it holds the texts of the examples. Raises
    `GradPrismError`.
    """
    from gradprism import report

    path = _output_path(given, out)
    target_file(path)
    comparisons = comparisons_of(given, progress)
    return report.write_report(comparisons, path, max_mb=max_mb, seed=seed, texts=texts, progress=progress)


def _output_path(given: Sequence[Given], out: str | Path | None) -> Path:
    if out is not None:
        return to_path(out)
    folder = folder_of(given[0]) if len(given) == 1 else None
    if folder is None:
        raise GradPrismError(
            "Expected --out, the HTML file to write (a single comparison or run has its own, DIR/report.html)."
        )
    return folder / "report.html"
