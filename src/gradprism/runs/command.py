"""show: Summarise a run: counts, reasons, measures per projection and layer group."""

import json as jsonlib
import sys
from typing import TYPE_CHECKING, Any

from gradprism.core.console import HarmlessConsole
from gradprism.core.options import Json

if TYPE_CHECKING:
    from gradprism.runs.run import Run


def show(run: str, /, *, by: str | None = None, json: Json = False) -> int:
    """Summarise a run: counts, skipped and failed rows with reasons, measures per projection and layer group.

    Parameters
    ----------
    run
        A run directory, or its URL in an object store, complete or not.
    by
        Compare the groups of this column of the data, raw and length-controlled.
    json
        Print the summary as JSON.
    """
    from gradprism.runs.run import open_run

    print_summary(open_run(run), by, json)
    return 0


def print_summary(run: "Run", by: str | None, json: bool) -> None:
    from gradprism.runs.render import summary_of

    if json:
        sys.stdout.write(jsonlib.dumps(run.summary() | _groups(run, by), indent=2, ensure_ascii=False) + "\n")
    else:
        HarmlessConsole().print(summary_of(run, by))


def _groups(run: "Run", by: str | None) -> dict[str, Any]:
    from gradprism.runs.groups import group_table

    if not by:
        return {}
    return {"by": by, "groups": {m: group_table(run, by, m).to_dicts() for m in ("nuclear_norm", "effective_rank")}}
