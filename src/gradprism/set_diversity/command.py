"""diversity: Say how diverse the gradients of a set of rows are, and its sources."""

from pathlib import Path
from typing import Annotated

from gradprism.core.console import HarmlessConsole, print_json
from gradprism.core.options import Json, Quiet, Several, of_group
from gradprism.core.settings import checked
from gradprism.set_diversity.settings import DiversityRecipe, DiversitySettings

_DEFAULT = DiversitySettings()


EXAMPLES = (
    "gradprism diversity runs/demo --by column:kind",
    "gradprism diversity runs/a runs/b -o diversity/both",
)
COMMON = ("out", "by", "rows", "duplicate", "quiet", "json")


def diversity(
    runs: Several,
    /,
    *,
    out: str | None = None,
    settings: Annotated[DiversitySettings, of_group("Sources and subsets", 2)] = _DEFAULT,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Say how diverse the gradients of a set of rows are, and what each source and row adds.

    Reads the sketches of gradients that `gradprism spectra --sketch` stores. Several runs are measured as one set.

    Parameters
    ----------
    runs
        One or several runs of one model with sketches; NAME=RUN names a source.
    out
        A folder for the tables (Parquet and CSV). Without it nothing is written.
    quiet
        Print nothing but errors.
    json
        Print scores, sources, unions and notes as JSON on stdout.
    """
    from gradprism.comparison.api import names_of_runs

    values = {"runs": names_of_runs(runs), "out": out, "diversity": settings}
    return _diversity(checked(DiversityRecipe, values), quiet, json)


RECIPE = DiversityRecipe


def replay(recipe: DiversityRecipe, path: Path, *, quiet: bool, json: bool) -> int:
    """Repeat the measurement of a recipe; `path` is the file of the recipe."""
    return _diversity(recipe, quiet, json)


def _diversity(recipe: DiversityRecipe, quiet: bool, json: bool) -> int:
    from gradprism.set_diversity.api import run_recipe
    from gradprism.set_diversity.render import render_diversity

    with HarmlessConsole(stderr=True, quiet=quiet).status("Measuring diversity"):
        found = run_recipe(recipe)
    if json:
        print_json(found.summary())
    elif not quiet:
        console = HarmlessConsole()
        console.print(render_diversity(found))
        if recipe.out:
            console.print(f"\nThe tables are in {recipe.out}.", soft_wrap=True)
    return 0
