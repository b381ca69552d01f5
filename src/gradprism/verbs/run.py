"""Replay a recipe."""

from pathlib import Path

from gradprism.compare_recipe import CompareRecipe
from gradprism.recipe import ScoreRecipe, load_recipe
from gradprism.select_recipe import SelectRecipe
from gradprism.verbs.compare import replay_comparison
from gradprism.verbs.options import Json, Quiet
from gradprism.verbs.score import replay_scores
from gradprism.verbs.select import replay_selection
from gradprism.verbs.spectra import replay_spectra


def run(
    recipe: Path,
    /,
    *,
    out: str | None = None,
    by: str | None = None,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Replay a recipe: the recipe.yaml of a run, or one of your own.

    Parameters
    ----------
    recipe
        A YAML file.
    out
        Another run directory than the recipe's.
    by
        Compare the groups of this column of the data in the summary.
    quiet
        Print nothing but errors.
    json
        Print the summary as JSON on stdout.
    """
    loaded = load_recipe(recipe)
    if out:
        loaded = loaded.model_copy(update={"out": out})
    if isinstance(loaded, ScoreRecipe):
        return replay_scores(loaded, False, quiet, json)
    if isinstance(loaded, CompareRecipe):
        return replay_comparison(loaded, quiet, json)
    if isinstance(loaded, SelectRecipe):
        return replay_selection(loaded, quiet, json)
    return replay_spectra(loaded, by, quiet, json)
