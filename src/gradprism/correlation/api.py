"""Correlation of the metrics and measures of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradprism.core.optional import need
from gradprism.core.settings import one_or_several
from gradprism.files.paths import to_path
from gradprism.runs.run import Run, open_run

if TYPE_CHECKING:
    from gradprism.correlation.correlations import Correlations


def correlate(
    run: str | Path | Run,
    metrics: str | Sequence[str] = (),
    *,
    out: str | Path | None = None,
    incomplete: bool = False,
) -> "Correlations":
    """Correlate every two metrics and measures of a run by rank, raw and length-controlled.

    `metrics`: names, with commas between them or as a list; otherwise every score, length, loss, numeric column and
    measure, columns up to 200 metrics in all. `out`: a folder for the pairs and the matrices. `incomplete`: accept a
    run that is not complete.
    Raises `GradPrismError`.
    """
    need("scipy", "report")
    from gradprism.correlation import correlations as analysis

    opened = run if isinstance(run, Run) else open_run(run)
    found = analysis.correlate(opened, one_or_several(metrics), incomplete_ok=incomplete)
    if out is not None:
        found.save(to_path(out))
    return found
