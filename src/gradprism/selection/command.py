"""select: Make subsets by any metric: top, bottom, quantile, budget, matched in length."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gradprism.core.console import HarmlessConsole, print_json
from gradprism.core.options import Data, Json, Quiet, of_group
from gradprism.core.settings import checked
from gradprism.data.options import DEFAULT_READ, Read
from gradprism.selection.settings import SelectRecipe, SelectSettings, TrainerName

DEFAULT_SELECT = SelectSettings()
Select = Annotated[SelectSettings, of_group("Rows to select", 2)]


EXAMPLES = (
    "gradprism select runs/demo --by effective_rank --top 20 -o best.jsonl",
    "gradprism select examples/sample.jsonl --where \"kind = 'careful'\" -o careful.jsonl",
)
COMMON = ("out", "for", "by", "top", "bottom", "quantile", "where", "tokens", "match-length", "random", "dedup",
          "diverse")  # fmt: skip


def select(
    data: Data,
    /,
    *,
    out: str | None = None,
    for_: Annotated[TrainerName | None, Parameter(name="--for")] = None,
    settings: Select = DEFAULT_SELECT,
    read: Read = DEFAULT_READ,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Make subsets by any metric: of a run, or of data files by their own columns.

    Every row of the input ends in exactly one of the groups or among the rows left out, with the reason.

    Parameters
    ----------
    data
        A run directory, or data files.
    out
        FILE.jsonl or FILE.parquet; files beside it get the other groups, the rows left out and why, and a data card.
        Without it nothing is written.
    for_
        Write the groups as this trainer reads them (chat messages, and which answers are trained on), and beside them
        what registers them there: a part of its configuration, or an entry of dataset_info.json.
    quiet
        Print nothing but errors.
    json
        Print counts, thresholds and ties as JSON on stdout.
    """
    values = {"data": data, "out": out, "trainer": for_, "select": settings, "read": read}
    return _select(checked(SelectRecipe, values), quiet, json)


RECIPE = SelectRecipe


def replay(recipe: SelectRecipe, path: Path, *, quiet: bool, json: bool) -> int:
    """Repeat the selection of a recipe; `path` is the file of the recipe."""
    return _select(recipe, quiet, json)


def _select(recipe: SelectRecipe, quiet: bool, json: bool) -> int:
    from gradprism.selection.api import run_recipe
    from gradprism.selection.render import render_selection

    with HarmlessConsole(stderr=True, quiet=quiet).status("Selecting"):
        found = run_recipe(recipe)
    if json:
        print_json(found.summary())
    elif not quiet:
        HarmlessConsole().print(render_selection(found))
    return 0
