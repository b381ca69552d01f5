"""Run a whole study."""

from pathlib import Path

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

    with watching(quiet) as observer:
        done = run_recipe(recipe, observer)
    return 1 if done.failed else 0
