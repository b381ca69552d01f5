"""run: Replay a recipe."""

from inspect import signature

from gradprism.cli.recipes import load_verb_and_recipe
from gradprism.core.errors import GradPrismError
from gradprism.core.options import Json, Quiet
from gradprism.core.settings import Settings
from gradprism.engine.options import Engine
from gradprism.engine.settings import EngineSettings
from gradprism.files.paths import to_path

EXAMPLES = (
    "gradprism run runs/demo/recipe.yaml",
    "gradprism run runs/demo/recipe.yaml -o runs/again",
)


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
        Another folder or file than the recipe's.
    by
        Compare the groups of this column of the data in the summary of a run.
    quiet
        Print nothing but errors.
    json
        Print the summary as JSON on stdout.
    """
    path = to_path(recipe)
    module, loaded = load_verb_and_recipe(path)
    if out:
        loaded = loaded.model_copy(update={"out": out})
    if engine is not None:
        loaded = _with_engine(loaded, engine)
    options = {"by": by} if by is not None else {}
    if not {*options} <= {*signature(module.replay).parameters}:
        raise GradPrismError(
            f"--by {by} needs a recipe that measures one run (spectra, import); this one is of `gradprism "
            f"{_verb(loaded)}`. Leave --by out."
        )
    status: int = module.replay(loaded, path, quiet=quiet, json=json, **options)
    return status


def _with_engine(recipe: Settings, engine: EngineSettings) -> Settings:
    """Return the recipe with its engine replaced. Raises `GradPrismError` where its verb loads no model."""
    if "engine" not in type(recipe).model_fields:
        raise GradPrismError(
            f"--engine {engine.engine}: `gradprism {_verb(recipe)}` loads no model and always runs in this process. "
            "Leave --engine out."
        )
    return recipe.model_copy(update={"engine": engine})


def _verb(recipe: Settings) -> str:
    return str(getattr(recipe, "verb", "?"))
