"""show: Summarise a run: counts, reasons, measures per projection and layer group."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import polars as pl

from gradprism.core.console import HarmlessConsole, print_json
from gradprism.core.errors import GradPrismError
from gradprism.core.options import Json
from gradprism.core.settings import Settings
from gradprism.runs.layout import RUN_FILE
from gradprism.tracking.options import DEFAULT_TRACK
from gradprism.tracking.settings import TrackSettings
from gradprism.tracking.tracked import tracked

if TYPE_CHECKING:
    from gradprism.core.progress import Progress
    from gradprism.runs.run import Run


EXAMPLES = (
    "gradprism show runs/demo",
    "gradprism show runs/demo --by kind",
)


def show(run: str, /, *, by: str | None = None, json: Json = False) -> int:
    """Summarise a run: counts, skipped and failed rows with reasons, measures per projection and layer group.

    Parameters
    ----------
    run
        A run directory, or its URL in an object store, complete or not.
    by
        Compare groups, raw and length-controlled: the values of this column of the data, or the quarters of a metric
        or measure (length, effective_rank, nuclear_norm:q).
    json
        Print the summary as JSON.
    """
    from gradprism.runs.run import open_run

    print_summary(open_run(run), by, json)
    return 0


def run_job(
    job: "Callable[[Progress], Run]",
    out: str,
    quiet: bool,
    counted: "Callable[[Run], str]",
    report: "Callable[[Run], int]",
    track: TrackSettings = DEFAULT_TRACK,
    recipe: Settings | None = None,
) -> int:
    """Do a job that writes into the run `out`, and return the exit status of `report`, or of an interrupt.

    `counted` says how many rows of the run are there, for a job that was interrupted. `track` says where progress and
    results also go, `recipe` the settings to log there.
    """
    from gradprism.core.progress_bar import show_progress
    from gradprism.runs.run import open_run

    try:
        with show_progress(quiet) as progress, tracked(progress, track, recipe) as following:
            finished = job(following)
            if track.track:
                following.finish(tracked_results(finished), (finished.path / RUN_FILE,))
    except KeyboardInterrupt:
        err = HarmlessConsole(stderr=True)
        try:
            err.print(f"Stopped: {counted(open_run(out))} are in {out}.")
        except GradPrismError:
            err.print("Stopped before the run began.")
        err.print("Repeat the same command to resume.")
        return 130
    return report(finished)


def tracked_results(run: "Run") -> dict[str, float | None]:
    """Return the mean over examples of every number of a run, and how many rows there are of each status."""
    table = run.table()
    numbers = [
        name for name, kind in table.schema.items()
        if kind.is_numeric() and name != "row" and not name.startswith("column:")
    ]  # fmt: skip
    means = table.select(pl.col(name).cast(pl.Float64).mean().alias(f"mean/{name}") for name in numbers)
    counts = table["status"].value_counts().rows() if "status" in table.columns else []
    return {**means.row(0, named=True), "rows": table.height, **{f"rows/{status}": n for status, n in counts}}


def score_run(
    job: "Callable[[Progress], Run]",
    out: str,
    names: Sequence[str],
    quiet: bool,
    json: bool,
    track: TrackSettings = DEFAULT_TRACK,
    recipe: Settings | None = None,
) -> int:
    """Do a job that computes the scores `names` of a run, and print their summary."""
    from gradprism.runs.render_scores import scores_of
    from gradprism.runs.score_summary import summary_of_scores

    def counted(run: "Run") -> str:
        there = {name: run.scores(name).height for name in names if name in run.metrics}
        return ", ".join(f"{there.get(name, 0):,} of {run.record['data']['rows']:,} rows of {name}" for name in names)

    def report(run: "Run") -> int:
        summaries = [summary_of_scores(run, name) for name in names]
        if json:
            print_json([asdict(item) for item in summaries])
        elif not quiet:
            HarmlessConsole().print(scores_of(run, summaries))
        without = ", ".join(item.metric for item in summaries if not item.ok)
        if without:
            sys.stderr.write(f"gradprism: no row has a value of {without}; for the reasons: gradprism show {out}\n")
        return 1 if without else 0

    return run_job(job, out, quiet, counted, report, track, recipe)


def make_run(
    job: "Callable[[Progress], Run]",
    out: str,
    done: str,
    by: str | None,
    quiet: bool,
    json: bool,
    track: TrackSettings = DEFAULT_TRACK,
    recipe: Settings | None = None,
) -> int:
    """Do a job that makes a run, and print its summary; `done` is the participle for a row, such as "measured"."""

    def counted(run: "Run") -> str:
        return f"{run.counts.done:,} of {run.counts.rows:,} rows"

    def report(run: "Run") -> int:
        if json or not quiet:
            print_summary(run, by, json)
        if run.counts.ok:
            return 0
        sys.stderr.write(f"gradprism: no row could be {done}; for the reasons: gradprism show {out}\n")
        return 1

    return run_job(job, out, quiet, counted, report, track, recipe)


def print_summary(run: "Run", by: str | None, json: bool) -> None:
    """Print the summary of a run, as JSON or for the terminal."""
    from gradprism.runs.render import summary_of

    if json:
        print_json(run.summary() | _groups(run, by))
    else:
        HarmlessConsole().print(summary_of(run, by))


def _groups(run: "Run", by: str | None) -> dict[str, Any]:
    from gradprism.prism.measures import MAIN_MEASURES
    from gradprism.runs.groups import group_table

    if not by:
        return {}
    return {"by": by, "groups": {m: group_table(run, by, m).to_dicts() for m in MAIN_MEASURES}}
