"""export: Write a run as a table, as scores for other tools, or as published gradient statistics."""

from typing import Annotated, Literal

from cyclopts import Parameter

from gradprism.core.console import HarmlessConsole
from gradprism.core.options import Quiet

EXAMPLES = (
    "gradprism export runs/demo -o demo.jsonl",
    "gradprism export runs/demo --format csv -o demo.csv",
)


def export(
    run: str,
    /,
    *,
    out: str,
    format_: Annotated[Literal["paper", "csv", "parquet", "oda"], Parameter(name="--format")] = "paper",
    quiet: Quiet = False,
) -> int:
    """Export a run: one table of every number, scores for other tools, or the papers' gradient statistics.

    In the papers' form rows that were not measured are left out; singular values are those of the run, without noise.

    Parameters
    ----------
    run
        A run directory or its place in an object store.
    out
        FILE.jsonl, .csv or .parquet, or its place in an object store. It appears when it is whole.
    format_
        paper: the JSON Lines that Li et al. published (arXiv 2504.10766), which their scripts read. csv, parquet: a row
        for each example with measures, metrics and columns. oda: scores as OpenDataArena's tools write them.
    quiet
        Print nothing but errors.
    """
    from gradprism.core.progress_bar import show_progress
    from gradprism.interop.exporting import export_paper
    from gradprism.interop.score_tables import export_table

    if format_ != "paper":
        HarmlessConsole(quiet=quiet).print(f"Exported: {export_table(run, out, format_)}", soft_wrap=True)
        return 0
    with show_progress(quiet) as observer:
        done = export_paper(run, out, observer=observer)
    console = HarmlessConsole(quiet=quiet)
    left_out = f"; left out, without gradients: {done.left_out:,}" if done.left_out else ""
    console.print(f"Exported: {done.path}  (rows: {done.lines:,}{left_out})", soft_wrap=True)
    for note in done.notes:
        console.print(note, style="dim")
    return 0
