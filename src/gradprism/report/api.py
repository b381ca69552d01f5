"""Write comparisons or runs as one HTML file, within a given size."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gradprism.ablation.result import Ablation
from gradprism.comparison.opening import comparisons_of, folder_of
from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need
from gradprism.core.progress import Say, say_nothing
from gradprism.files.atomic import target_file
from gradprism.files.folder import written_file
from gradprism.files.paths import to_path
from gradprism.report.ablations import Shown, apart
from gradprism.report.draft import Draft, Rendered


@dataclass(frozen=True)
class WrittenReport:
    """A report that was written: where, how large, and how many of the examples it shows."""

    path: Path
    bytes: int
    n_examples: int  # in all comparisons together
    n_shown: int  # of them on the page, each with its curves and its text
    notes: tuple[str, ...]  # on sampling, as the page states them


def write_report(
    *given: Shown,
    out: str | Path | None = None,
    max_mb: float = 12.0,
    texts: bool = True,
    seed: int = 0,
    progress: Say | None = None,
) -> WrittenReport:
    """Write one HTML file that opens offline: curves, effects, length, correlations, and every example.

    `given`: comparisons (as objects or folders), runs, and ablations; runs of one model are compared, the folder of a
    training stands for its steps, and an ablation alone brings the run that its arms choose from. `out`: the file; of a
    single folder otherwise `report.html` in it. `texts`: whether it holds the texts of the examples, a turn cut at
    8,000 characters. Where the file would exceed `max_mb` megabytes, a share of every group's examples is shown, drawn
    by `seed`, the largest that fits; the page and `notes` say so. What a run or its data no longer gives is said on the
    page and is no error. `progress` hears what is being read. The same input gives the same bytes.

    Raises `GradPrismError` for no comparison, a missing plotly, or a file that cannot be written.
    """
    path = _output_path(given, out)
    target_file(path)
    compared, ablations = apart(given)
    comparisons = comparisons_of(compared, progress)
    need("plotly.offline", "report")
    draft = Draft(comparisons, seed, texts, progress or say_nothing, int(max_mb * 1e6), ablations)
    rendered = _largest_that_fits(draft)
    with written_file(path, "report") as file:
        file.write(rendered.content)
    return WrittenReport(path, len(rendered.content), draft.n_examples, rendered.n_shown, rendered.notes)


def _output_path(given: Sequence[Shown], out: str | Path | None) -> Path:
    if out is not None:
        return to_path(out)
    (only,) = given if len(given) == 1 else (None,)
    folder = only.path if isinstance(only, Ablation) else None if only is None else folder_of(only)
    if folder is None:
        raise GradPrismError(
            "Expected --out, the HTML file to write (a single comparison or run has its own, DIR/report.html)."
        )
    return folder / "report.html"


def _largest_that_fits(draft: Draft) -> Rendered:
    """Return the page with the largest share of the examples that fits, one of each group where none does."""
    share, rendered = draft.share, draft.render(draft.share)
    if len(rendered.content) <= draft.most_bytes:
        return rendered
    least = draft.render(0.0)
    while len(rendered.content) > draft.most_bytes and rendered.n_shown > least.n_shown:
        left = (draft.most_bytes - len(least.content)) / max(len(rendered.content) - len(least.content), 1)
        share *= 0.98 * max(left, 0)
        rendered = draft.render(share)
    return rendered
