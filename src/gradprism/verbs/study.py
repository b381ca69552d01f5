"""Run a whole study."""

import sys
from pathlib import Path

from rich.console import Console

from gradprism.places import place
from gradprism.study_recipe import StudyRecipe


def located(recipe: StudyRecipe, folder: Path, data: str | None, limit: int | None) -> StudyRecipe:
    """A recipe as it is meant where it lies: its root, or `data`, as an absolute path; at most `limit` rows a set."""
    root = place(data) if data is not None else folder / recipe.root
    texts = recipe.texts
    if limit is not None:
        texts = {
            name: how.model_copy(update={"rows": min(how.rows or limit, limit)}) for name, how in recipe.texts.items()
        }
    out = str(place(recipe.out).resolve())
    return recipe.model_copy(update={"root": str(root.resolve()), "texts": texts, "out": out})


def replay_study(recipe: StudyRecipe, quiet: bool) -> int:
    """Do what a recipe says, and show it."""
    from gradprism.jobs.study import run_recipe
    from gradprism.terminal.progress import watching
    from gradprism.terminal.study import study_of

    try:
        with watching(quiet) as observer:
            outcome = run_recipe(recipe, observer)
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. Repeat the same command to resume.\n")
        return 130
    if not quiet:
        Console(highlight=False).print(study_of(outcome))
    return 1 if outcome.failed else 0
