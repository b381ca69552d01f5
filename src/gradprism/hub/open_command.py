"""open: Fetch a run from the hub, check every file of it, and summarise it."""

from gradprism.core.console import HarmlessConsole
from gradprism.core.options import Json, Quiet
from gradprism.runs.command import print_summary

EXAMPLES = (
    "gradprism open hub://me/demo-spectra -o runs/theirs",
    "gradprism open hub://me/demo-spectra@main --json",
)


def open(
    uri: str, /, *, out: str | None = None, by: str | None = None, quiet: Quiet = False, json: Json = False
) -> int:
    """Fetch a run from the hub, check every file of it, and summarise it.

    Parameters
    ----------
    uri
        hub://OWNER/NAME, with @REVISION for a branch or commit.
    out
        Folder to write the run into; otherwise it stays in the cache of the hub's client.
    by
        Compare the groups of this column of the data in the summary.
    quiet
        Print nothing but errors.
    json
        Print the summary as JSON.
    """
    from gradprism.hub.api import open_hub

    with HarmlessConsole(stderr=True, quiet=quiet or json).status("Fetching"):
        run = open_hub(uri, out)
    if json or not quiet:
        print_summary(run, by, json)
    return 0
