"""A whole study: every step of a recipe, those that are done already left as they are; then what they come to."""

from typing import TYPE_CHECKING

from gradprism.compare_recipe import CompareRecipe
from gradprism.errors import GradPrismError
from gradprism.extras import need
from gradprism.jobs import compare, select, spectra
from gradprism.jobs.observer import Observer, Silent
from gradprism.jobs.report import write_report
from gradprism.jobs.score import run_scores
from gradprism.jobs.study_files import publish, write
from gradprism.places import is_shared, place
from gradprism.recipe import ScoreRecipe, SpectraRecipe, recipe_text
from gradprism.select_recipe import SelectRecipe
from gradprism.store.layout import RECIPE_FILE
from gradprism.study.done import Done
from gradprism.study.steps import ReportSettings, steps_of
from gradprism.study_recipe import StudyRecipe

if TYPE_CHECKING:
    from gradprism.recipe import Recipe
    from gradprism.study.outcome import Outcome
    from gradprism.study.plan import Plan


def run_recipe(recipe: StudyRecipe, observer: Observer | None = None) -> "Outcome":
    """Do every step of a study, then write its tables, figures and page.

    A step that fails costs those that need it; its reason is kept, and the rest goes on. The same call resumes a study
    that was stopped. Raises `GradPrismError` where nothing at all could be compared.
    """
    for module in ("scipy", "matplotlib", "plotly"):
        need(module, "report")
    from gradprism.study.outcome import outcome_of

    watch = observer or Silent()
    write(recipe, RECIPE_FILE, recipe_text(recipe).encode())
    failed = _work_through(recipe, watch)
    watch.start(0, 0, "Judging")
    outcome = outcome_of(recipe, failed)
    if not outcome.compared:
        reasons = "\n".join(f"  {name}: {reason.splitlines()[0]}" for name, reason in [*failed.items()][:5])
        raise GradPrismError(f"Nothing could be compared in the study {recipe.out}:\n{reasons}")
    publish(outcome, watch)
    return outcome


def plan_study(recipe: StudyRecipe, observer: Observer | None = None) -> "Plan":
    """What a study would do, as far as this machine can tell: no weights are loaded, nothing is fetched or written."""
    from gradprism.jobs.looking import Looker
    from gradprism.jobs.study_plan import Planner

    return Planner(recipe, Looker((observer or Silent()).say)).plan()


def _work_through(recipe: StudyRecipe, watch: Observer) -> dict[str, str]:
    """All steps; returns the reasons of those that failed."""
    steps, failed, done = steps_of(recipe), dict[str, str](), Done(place(recipe.out))
    away = dict[str, str]()  # models and data of a hub that were not to be had, and the step that asked
    for number, step in enumerate(steps, 1):
        missing = [name for name in step.needs if name in failed]
        asked = [name for name in _hub_names(step.recipe) if name in away]
        if missing:
            failed[step.name] = f"it needs {missing[0]}, which has failed"
        elif step in done:
            continue
        elif asked:
            failed[step.name] = f"it needs {asked[0]}, which was not to be had for {away[asked[0]]}"
        else:
            watch.say(f"{number} of {len(steps)}: {step.name}")
            try:
                _do(step.recipe, watch)
                done.add(step)
            except GradPrismError as error:
                failed[step.name] = str(error)
                away |= {name: step.name for name in _hub_names(step.recipe) if name in str(error)}
                watch.say(f"{step.name} has failed: {str(error).splitlines()[0]}")
    return failed


def _hub_names(recipe: "Recipe | ReportSettings") -> list[str]:
    """Names of models and data that are no files here: to ask for each again and again takes long where no hub is."""
    named = [*getattr(recipe, "data", ())]
    checkpoint = getattr(recipe, "checkpoint", None)
    if checkpoint is not None:
        named.append(checkpoint.model)
    return [name for name in named if "/" in name and not is_shared(place(name)) and not place(name).exists()]


def _do(recipe: "Recipe | ReportSettings", watch: Observer) -> None:
    if isinstance(recipe, SpectraRecipe):
        spectra.run_recipe(recipe, watch)
    elif isinstance(recipe, ScoreRecipe):
        run_scores(recipe, watch)
        return
    watch.start(0, 0, "Choosing and comparing")  # nothing is in batches there: Ctrl-C acts at once
    if isinstance(recipe, SelectRecipe):
        select.run_recipe(recipe)
    elif isinstance(recipe, CompareRecipe):
        compare.run_recipe(recipe)
    elif isinstance(recipe, ReportSettings):
        write_report(*recipe.comparisons, out=recipe.out)
