"""A whole study: every step of a recipe, those that are done already left as they are."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gradprism.compare_recipe import CompareRecipe
from gradprism.errors import GradPrismError
from gradprism.jobs import compare, select, spectra
from gradprism.jobs.observer import Observer, Silent
from gradprism.jobs.score import run_scores
from gradprism.recipe import ScoreRecipe, SpectraRecipe
from gradprism.select_recipe import SelectRecipe
from gradprism.study.steps import Step, steps_of
from gradprism.study_recipe import StudyRecipe

if TYPE_CHECKING:
    from gradprism.recipe import Recipe


@dataclass
class Done:
    """What became of the steps."""

    steps: list[Step]
    failed: dict[str, str] = field(default_factory=dict)  # reasons by the names of steps


def run_recipe(recipe: StudyRecipe, observer: Observer | None = None) -> Done:
    """Do every step of a study. A step that fails costs those that need it; its reason is kept, and the rest goes on.

    The same call resumes a study that was stopped.
    """
    watch = observer or Silent()
    done = Done(steps_of(recipe))
    for place, step in enumerate(done.steps, 1):
        missing = [name for name in step.needs if name in done.failed]
        if missing:
            done.failed[step.name] = f"it needs {missing[0]}, which has failed"
            continue
        watch.say(f"{place} of {len(done.steps)}: {step.name}")
        try:
            _do(step.recipe, watch)
        except GradPrismError as error:
            done.failed[step.name] = str(error)
            watch.say(f"{step.name} has failed: {str(error).splitlines()[0]}")
    return done


def _do(recipe: "Recipe", watch: Observer) -> None:
    if isinstance(recipe, SpectraRecipe):
        spectra.run_recipe(recipe, watch)
    elif isinstance(recipe, ScoreRecipe):
        run_scores(recipe, watch)
    elif isinstance(recipe, SelectRecipe):
        select.run_recipe(recipe)
    elif isinstance(recipe, CompareRecipe):
        compare.run_recipe(recipe)
