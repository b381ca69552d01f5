"""import: Read published gradient statistics (arXiv 2504.10766) into a run."""

from functools import partial
from pathlib import Path
from typing import Annotated

from gradprism.core.options import Data, Json, Quiet, of_group
from gradprism.core.settings import checked
from gradprism.data.options import DEFAULT_READ, DEFAULT_TEXT, Read, Text
from gradprism.interop.settings import ImportRecipe, OriginSettings
from gradprism.runs.command import make_run

_DEFAULT = OriginSettings()


EXAMPLES = (
    "gradprism import demo.jsonl -o runs/imported",
    "gradprism import demo.jsonl -o runs/imported -m smollm2-135m -n 10",
)
COMMON = ("out", "model", "made-by", "limit", "template", "max-length", "rows", "by", "quiet", "json")


def import_(
    data: Data,
    /,
    *,
    out: str,
    origin: Annotated[OriginSettings, of_group("The model that made the file", 2)] = _DEFAULT,
    read: Read = DEFAULT_READ,
    text: Text = DEFAULT_TEXT,
    part_rows: int = 32,
    by: str | None = None,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Import the gradient statistics that Li et al. published (arXiv 2504.10766, 2410.23743) as a run.

    The same command resumes an import that was stopped.

    Parameters
    ----------
    data
        Files of JSON Lines (also compressed) of one model: instruction, output, loss, statistics of each weight.
    out
        The run directory, or its place in an object store: s3://BUCKET/RUN.
    part_rows
        Rows in one published part: as many are held in memory.
    by
        Compare the groups of this column of the data in the summary.
    quiet
        Print nothing but errors.
    json
        Print the summary as JSON on stdout.
    """
    values = {"data": data, "out": out, "origin": origin, "read": read, "text": text, "part_rows": part_rows}
    return _import(checked(ImportRecipe, values), by, quiet, json)


RECIPE = ImportRecipe


def replay(recipe: ImportRecipe, path: Path, *, by: str | None = None, quiet: bool, json: bool) -> int:
    """Import again what a recipe says, or go on with it; `path` is the file of the recipe."""
    return _import(recipe, by, quiet, json)


def _import(recipe: ImportRecipe, by: str | None, quiet: bool, json: bool) -> int:
    from gradprism.interop.importing import run_recipe

    return make_run(partial(run_recipe, recipe), recipe.out, "imported", by, quiet, json)
