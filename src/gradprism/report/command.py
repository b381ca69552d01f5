"""report: Write one interactive page of comparisons or runs, which opens offline."""

from typing import Annotated

from cyclopts import Parameter

from gradprism.core.console import HarmlessConsole
from gradprism.core.options import Quiet, Several
from gradprism.core.progress import NoProgress
from gradprism.tracking.options import DEFAULT_TRACK, Track
from gradprism.tracking.tracked import tracked

EXAMPLES = (
    "gradprism report runs/demo",
    "gradprism report comparisons/loss -o loss.html --max-mb 5",
)


def report(
    given: Annotated[Several, Parameter(name="dir-or-run")],
    /,
    *,
    out: str | None = None,
    max_mb: float = 12.0,
    texts: bool = True,
    seed: int = 0,
    track: Track = DEFAULT_TRACK,
    quiet: Quiet = False,
) -> int:
    """Write one interactive page that opens offline: curves, effects, length, correlations, and every example.

    Parameters
    ----------
    given
        Folders that compare or ablate have written, and runs; runs of one model are compared.
    out
        The HTML file, or its place in an object store; of a single folder otherwise DIR/report.html.
    max_mb
        Most megabytes (of 1,000,000 bytes) of the file; above it examples are sampled, which the page says.
    texts
        Whether the page holds the texts of the examples.
    seed
        Seed of that sample.
    quiet
        Print nothing but errors.
    """
    from gradprism.report.api import write_report

    with HarmlessConsole(stderr=True, quiet=quiet).status("Reading") as status:
        written = write_report(*given, out=out, max_mb=max_mb, texts=texts, seed=seed, progress=status.update)
    console = HarmlessConsole(quiet=quiet)
    shown = "all" if written.n_shown == written.n_examples else f"{written.n_shown:,}"
    console.print(
        f"Report: {written.path}  ({written.bytes / 1e6:.1f} MB, {shown} of {written.n_examples:,} examples)",
        soft_wrap=True,
    )  # fmt: skip
    for note in written.notes:
        console.print(note, style="dim")
    with tracked(NoProgress(), track, None) as following:
        following.finish({"shown": written.n_shown, "examples": written.n_examples}, (written.path,))
    return 0
