"""export: Write a run as published gradient statistics."""

from typing import Annotated, Literal

from cyclopts import Parameter

from gradprism.core.console import HarmlessConsole
from gradprism.core.options import Quiet

EXAMPLES = (
    "gradprism export runs/demo -o demo.jsonl",
    "gradprism export runs/demo -o demo.jsonl.gz --quiet",
)


def export(
    run: str,
    /,
    *,
    out: str,
    format_: Annotated[Literal["paper"], Parameter(name="--format")] = "paper",
    quiet: Quiet = False,
) -> int:
    """Export a run as the JSON Lines that Li et al. published (arXiv 2504.10766), which their scripts read.

    Rows that were not measured are left out. Singular values are those of the run, without noise.

    Parameters
    ----------
    run
        A run directory or its place in an object store.
    out
        FILE.jsonl, or its place in an object store. It appears when it is whole.
    format_
        The form to write; there is one.
    quiet
        Print nothing but errors.
    """
    from gradprism.core.progress_bar import show_progress
    from gradprism.interop.exporting import export_paper

    with show_progress(quiet) as observer:
        done = export_paper(run, out, observer=observer)
    console = HarmlessConsole(quiet=quiet)
    left_out = f"; left out, without gradients: {done.left_out:,}" if done.left_out else ""
    console.print(f"Exported: {done.path}  (rows: {done.lines:,}{left_out})", soft_wrap=True)
    for note in done.notes:
        console.print(note, style="dim")
    return 0
