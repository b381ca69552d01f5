"""Run a whole study, or say what it would do."""

import json as jsonlib
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gradprism.core.console import HarmlessConsole
from gradprism.files.places import place
from gradprism.study.overrides import with_data, with_limit, with_models
from gradprism.study.settings import StudyRecipe


def located(
    recipe: StudyRecipe, folder: Path, data: str | None, limit: int | None, models: Sequence[str] = ()
) -> StudyRecipe:
    """A recipe as it is meant where it lies: its root, or `data`, as an absolute path; at most `limit` rows a set."""
    own = folder if recipe.root == "." else folder / recipe.root
    root = place(data) if data is not None else own
    if models:
        recipe = with_models(recipe, models)
    recipe = recipe.model_copy(update={"root": str(root.resolve()), "out": str(place(recipe.out).resolve())})
    if data is not None:
        recipe = with_data(recipe, root.resolve())
    return recipe if limit is None else with_limit(recipe, limit)


def replay_study(recipe: StudyRecipe, quiet: bool, json: bool, command: str) -> int:
    """Do what a recipe says, and show it; 3 where some steps failed."""
    from gradprism.core.progress_bar import watching
    from gradprism.study.api import run_recipe
    from gradprism.study.render import study_of

    try:
        with watching(quiet or json) as observer:
            outcome = run_recipe(recipe, observer, command)
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. Repeat the same command to resume.\n")
        return 130
    if json:
        told = {"out": recipe.out, "verdicts": outcome.verdicts.to_dicts(), "failed": dict(outcome.failed)}
        sys.stdout.write(jsonlib.dumps(told, indent=2, ensure_ascii=False) + "\n")
    elif not quiet:
        HarmlessConsole().print(study_of(outcome))
    return 3 if outcome.failed else 0


def show_plan(recipe: StudyRecipe, quiet: bool, json: bool) -> int:
    """Say what a recipe would do."""
    from gradprism.core.progress_bar import watching
    from gradprism.study.api import plan_study
    from gradprism.study.plan_render import plan_of

    with watching(quiet) as observer:
        plan = plan_study(recipe, observer)
    if json:
        values = asdict(plan) | {"total": asdict(plan.total), "requests": plan.requests}
        sys.stdout.write(jsonlib.dumps(values, indent=2, ensure_ascii=False) + "\n")
    else:
        HarmlessConsole().print(plan_of(plan))
    return 0
