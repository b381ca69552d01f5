"""correlate: Correlate metrics and measures with each other, raw and length-controlled."""

import sys

from gradprism.core.console import HarmlessConsole
from gradprism.core.options import Flag, Json, Quiet, Several

EXAMPLES = (
    "gradprism correlate runs/demo",
    "gradprism correlate runs/demo --metric length,loss,effective_rank --matrix",
)


def correlate(
    run: str,
    /,
    *,
    metric: Several = (),
    out: str | None = None,
    matrix: Flag = False,
    incomplete: Flag = False,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Correlate the metrics and measures of a run with each other, raw and length-controlled.

    Parameters
    ----------
    run
        A run directory, or its place in an object store.
    metric
        One or several (repeated, or with commas between them) such as ifd, reward, effective_rank:q, column:NAME;
        otherwise every score, length, loss, numeric column and measure, columns up to 200 metrics in all.
    out
        A folder for the pairs (Parquet and CSV) and the two matrices (CSV). Without it nothing is written.
    matrix
        Print the correlation of every two metrics, not of the strongest pairs alone.
    incomplete
        Correlate the rows that an incomplete run has.
    quiet
        Print nothing but errors.
    json
        Print the pairs as JSON on stdout.
    """
    from gradprism.correlation.api import correlate as correlate_run

    with HarmlessConsole(stderr=True, quiet=quiet).status("Correlating"):
        found = correlate_run(run, ",".join(metric), out=out, incomplete=incomplete)
    if json:
        sys.stdout.write(found.table.write_json() + "\n")
    elif not quiet:
        from gradprism.correlation.render import render_correlations

        console = HarmlessConsole()
        console.print(render_correlations(found, console.width, matrix=matrix))
        if out is not None:
            console.print(f"\nThe pairs and the matrices are in {out}.", soft_wrap=True)
    return 0
