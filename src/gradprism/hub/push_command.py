"""push: Put a run or a selection on the hub, as a data set with a card."""

from gradprism.core.console import HarmlessConsole
from gradprism.core.options import Flag, Quiet

EXAMPLES = (
    "gradprism push runs/demo me/demo-spectra",
    "gradprism push best.jsonl me/best-rows --public",
)


def push(given: str, repo: str, /, *, public: Flag = False, quiet: Quiet = False) -> int:
    """Put a run or a selection on the hub, as a data set with a card.

    A run holds no texts of its data; run.json and the recipe name where those lay. A selection holds the rows.

    Parameters
    ----------
    given
        A run directory, or the file of a selection.
    repo
        OWNER/NAME of the data set, made if it is not there.
    public
        Make a new repository public; otherwise it is private.
    quiet
        Print nothing but errors.
    """
    from gradprism.hub.api import push as push_to_hub

    with HarmlessConsole(stderr=True, quiet=quiet).status("Pushing"):
        done = push_to_hub(given, repo, public=public)
    HarmlessConsole(quiet=quiet).print(f"Pushed: {done.url}  ({done.files:,} files)", soft_wrap=True)
    return 0
