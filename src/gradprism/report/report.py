"""`write_report`: comparisons as one HTML file, within a given size."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradprism.comparison.comparison import Comparison
from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need
from gradprism.files.atomic import replace
from gradprism.files.places import place
from gradprism.report.draft import Draft, Rendered
from gradprism.report.room import FIDELITIES, Fidelity

_LEAST_SHARE = 1e-9  # of the examples: one row of every group


@dataclass(frozen=True)
class ReportFacts:
    """What was written."""

    path: Path
    bytes: int
    n_examples: int  # in all comparisons together
    n_shown: int  # of them on the page, each with its curves and its text
    notes: tuple[str, ...]  # sampling and other losses, as the page states them


def write_report(
    comparisons: Sequence[Comparison],
    out: Path,
    *,
    max_mb: float = 12.0,
    seed: int = 0,
    texts: bool = True,
    progress: Callable[[str], None] | None = None,
) -> ReportFacts:
    """Write comparisons, one a model, as one HTML file that opens offline.

    Where the file would exceed `max_mb`, texts are cut shorter, then singular values pooled over layers, then a
    seeded share of every group's examples is shown; the page and `notes` say which. What a run or its data no longer
    gives is said on the page and is no error. `progress` hears what is being read. The same input gives the same bytes.
    Raises `GradPrismError` for no comparison, a missing plotly, or a file that cannot be written.
    """
    if not comparisons:
        raise GradPrismError("A report needs at least one comparison; none was given.")
    need("plotly.offline", "report")
    path, most_bytes = place(out), int(max_mb * 1e6)
    draft = Draft(comparisons, seed, texts, progress or (lambda _: None), most_bytes)
    rendered = _fitted(draft, most_bytes)
    _write(path, rendered.content)
    return ReportFacts(path, len(rendered.content), draft.n_examples, rendered.n_shown, rendered.notes)


def _fitted(draft: Draft, most_bytes: int) -> Rendered:
    """The page that shows most and fits; where none fits, the smallest."""
    for share, fidelity in _attempts(draft, most_bytes):
        rendered = draft.render(share, fidelity)
        if len(rendered.content) <= most_bytes:
            return rendered
    return draft.render(_LEAST_SHARE, FIDELITIES[-1])


def _attempts(draft: Draft, most_bytes: int) -> Iterator[tuple[float, Fidelity]]:
    """Less of every example first, then fewer examples."""
    yield from ((draft.share, fidelity) for fidelity in FIDELITIES)
    least, share = FIDELITIES[-1], draft.share
    empty = len(draft.render(_LEAST_SHARE, least).content)
    while share > _LEAST_SHARE and empty <= most_bytes:
        used = len(draft.render(share, least).content) - empty
        share = min(0.98 * share, 0.98 * share * (most_bytes - empty) / max(used, 1))
        yield share, least


def _write(path: Path, content: bytes) -> None:
    if path.is_dir():
        raise GradPrismError(f"{path} is a folder; --out of a report is the file to write, such as report.html.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, content)
    except OSError as error:
        raise GradPrismError(f"Cannot write the report {path}: {error}. Choose another --out.") from error
