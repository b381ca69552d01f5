"""`write_report`: comparisons as one HTML file, within a given size."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gradprism.comparison.comparison import Comparison
from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need
from gradprism.core.progress import Say, say_nothing
from gradprism.files.folder import written_file
from gradprism.files.paths import to_path
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
    comparisons: Sequence[Comparison],
    out: Path,
    *,
    max_mb: float = 12.0,
    seed: int = 0,
    texts: bool = True,
    progress: Say | None = None,
) -> WrittenReport:
    """Write comparisons, one a model, as one HTML file that opens offline.

    A turn of a text is cut at 8,000 characters. Where the file would exceed `max_mb`, a seeded share of every group's
    examples is shown, the largest that fits; the page and `notes` say so. What a run or its data no longer gives is
    said on the page and is no error. `progress` hears what is being read. The same input gives the same bytes.
    Raises `GradPrismError` for no comparison, a missing plotly, or a file that cannot be written.
    """
    if not comparisons:
        raise GradPrismError("A report needs at least one comparison; none was given.")
    need("plotly.offline", "report")
    path, most_bytes = to_path(out), int(max_mb * 1e6)
    draft = Draft(comparisons, seed, texts, progress or say_nothing, most_bytes)
    rendered = _largest_that_fits(draft)
    with written_file(path, "report") as file:
        file.write(rendered.content)
    return WrittenReport(path, len(rendered.content), draft.n_examples, rendered.n_shown, rendered.notes)


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
