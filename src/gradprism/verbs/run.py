"""Replay a recipe."""

from typing import TYPE_CHECKING

from gradprism.compare_recipe import CompareRecipe
from gradprism.errors import GradPrismError
from gradprism.import_recipe import ImportRecipe
from gradprism.places import place
from gradprism.recipe import EngineSettings, ScoreRecipe, SpectraRecipe, load_recipe
from gradprism.select_recipe import SelectRecipe
from gradprism.verbs.compare import replay_comparison
from gradprism.verbs.import_ import replay_import
from gradprism.verbs.options import Engine, Json, Quiet
from gradprism.verbs.score import replay_scores
from gradprism.verbs.select import replay_selection
from gradprism.verbs.spectra import replay_spectra

if TYPE_CHECKING:
    from gradprism.recipe import Recipe


def run(
    recipe: str,
    /,
    *,
    out: str | None = None,
    engine: Engine | None = None,
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
    loaded = load_recipe(place(recipe))
    if out:
        loaded = loaded.model_copy(update={"out": out})
    if engine is not None:
        loaded = _on(engine, loaded)
    if isinstance(loaded, ScoreRecipe):
        return replay_scores(loaded, False, quiet, json)
    if isinstance(loaded, CompareRecipe):
        return replay_comparison(loaded, quiet, json)
    if isinstance(loaded, SelectRecipe):
        return replay_selection(loaded, quiet, json)
    if isinstance(loaded, ImportRecipe):
        return replay_import(loaded, by, quiet, json)
    return replay_spectra(loaded, by, quiet, json)


def _on(engine: EngineSettings, recipe: "Recipe") -> "Recipe":
    """The same work on another engine than it was done on."""
    if not isinstance(recipe, SpectraRecipe | ScoreRecipe):
        raise GradPrismError(f"--engine {engine.engine}: `gradprism {recipe.verb}` loads no model; it runs here.")
    return recipe.model_copy(update={"engine": engine})
