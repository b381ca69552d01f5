"""Replay a recipe."""

from typing import TYPE_CHECKING

from gradprism.cli.load_settings import load_recipe
from gradprism.compare.command import replay_comparison
from gradprism.compare.settings import CompareRecipe
from gradprism.core.errors import GradPrismError
from gradprism.core.options import Flag, Json, Quiet, Several
from gradprism.engine.options import Engine
from gradprism.engine.settings import EngineSettings
from gradprism.files.places import place
from gradprism.interop.import_command import replay_import
from gradprism.interop.settings import ImportRecipe
from gradprism.measure.command import replay_spectra
from gradprism.measure.settings import SpectraRecipe
from gradprism.score.command import replay_scores
from gradprism.score.settings import ScoreRecipe
from gradprism.select.command import replay_selection
from gradprism.select.settings import SelectRecipe
from gradprism.study.command import located, replay_study, show_plan
from gradprism.study.settings import StudyRecipe

if TYPE_CHECKING:
    from gradprism.cli.load_settings import Recipe


def run(
    recipe: str,
    /,
    *,
    out: str | None = None,
    engine: Engine | None = None,
    by: str | None = None,
    data: str | None = None,
    model: Several = (),
    limit: int | None = None,
    plan: Flag = False,
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
    data
        Of a study: the folder below which its data lie. A set or pool that has a file of its own name there, NAME.json,
        NAME.jsonl or NAME.parquet, is read from it.
    model
        Of a study: only this model, MODEL or NAME=MODEL, in place of the recipe's; or the recipe's own of this name.
        Repeat it for several. Others than the recipe's also compute the scores that need a causal language model.
    limit
        Of a study: at most so many rows of each set, and ten times as many of each pool; in a folder of its own,
        OUT-first-N, unless --out names one.
    plan
        Of a study: say what it would do and how long that takes, and do nothing.
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
    if isinstance(loaded, StudyRecipe):
        if by is not None:
            raise GradPrismError(f"--by {by}: of a single run; a study names its sets and contrasts.")
        if limit and not out:  # other rows are another study, which must not meet the whole one
            loaded = loaded.model_copy(update={"out": f"{loaded.out}-first-{limit}"})
        study = located(loaded, place(recipe).resolve().parent, data, limit, model)
        if plan:
            return show_plan(study, quiet, json)
        return replay_study(study, quiet, json, _command(recipe, data, model, limit, out, engine))
    _refuse_for_others(loaded, data=data, model=model, limit=limit, plan=plan)
    if isinstance(loaded, ScoreRecipe):
        return replay_scores(loaded, False, quiet, json)
    if isinstance(loaded, CompareRecipe):
        return replay_comparison(loaded, quiet, json)
    if isinstance(loaded, SelectRecipe):
        return replay_selection(loaded, quiet, json)
    if isinstance(loaded, ImportRecipe):
        return replay_import(loaded, by, quiet, json)
    return replay_spectra(loaded, by, quiet, json)


def _command(
    recipe: str, data: str | None, model: Several, limit: int | None, out: str | None, engine: EngineSettings | None
) -> str:
    """What does the study again. Where the data lie is nobody's business."""
    others = engine.model_dump(exclude_defaults=True) if engine else {}
    options = [
        *(["--data DIR"] if data else []),
        *(f"--model {name}" for name in model),
        *([f"--limit {limit}"] if limit else []),
        *([f"--out {out}"] if out else []),
        *(f"--{name.replace('_', '-')} {value}" for name, value in others.items()),
    ]
    return " ".join(["gradprism run", recipe, *options])


def _refuse_for_others(recipe: "Recipe", **options: object) -> None:
    """They would do nothing."""
    given = [f"--{name}" for name, value in options.items() if value not in (None, False, ())]
    if given:
        raise GradPrismError(f"{', '.join(given)}: of a study; this is a recipe of `gradprism {recipe.verb}`.")


def _on(engine: EngineSettings, recipe: "Recipe") -> "Recipe":
    """The same work on another engine than it was done on."""
    if not isinstance(recipe, SpectraRecipe | ScoreRecipe | StudyRecipe):
        raise GradPrismError(f"--engine {engine.engine}: `gradprism {recipe.verb}` loads no model; it runs here.")
    return recipe.model_copy(update={"engine": engine})
