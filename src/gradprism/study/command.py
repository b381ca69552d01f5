"""study: Run a whole study: sets, models, comparisons, claims; or plan it."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from gradprism.core.console import HarmlessConsole, print_json
from gradprism.core.errors import GradPrismError
from gradprism.core.options import Flag, Json, Quiet, Several
from gradprism.core.settings import checked, read_yaml
from gradprism.engine.options import Engine
from gradprism.engine.settings import EngineSettings
from gradprism.files.paths import to_path
from gradprism.study.overrides import with_data, with_limit, with_models
from gradprism.study.settings import StudyRecipe

RECIPE = StudyRecipe


EXAMPLES = (
    "gradprism study examples/study.yaml --dry-run",
    "gradprism study studies/small.yaml --data DIR -n 20",
)
COMMON = ("out", "data", "model", "limit", "engine", "workers", "dry-run", "quiet", "json")


def study(
    recipe: str,
    /,
    *,
    out: str | None = None,
    engine: Engine | None = None,
    data: str | None = None,
    model: Several = (),
    limit: int | None = None,
    dry_run: Flag = False,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Run a whole study: sets of examples, models, comparisons of sets, verdicts on claims, and a page of them.

    The same command resumes; a step that is done is not done again.

    Parameters
    ----------
    recipe
        A YAML file; see studies/ for two.
    out
        Another folder than the recipe's.
    data
        The folder below which the data lie. A set or pool that has a file of its own name there, NAME.json, NAME.jsonl
        or NAME.parquet, is read from it.
    model
        Only this model, MODEL or NAME=MODEL, in place of the recipe's; or the recipe's own of this name. Repeat it for
        several. Others than the recipe's also compute the scores that need a causal language model.
    limit
        At most so many rows of each set, and ten times as many of each pool; in a folder of its own, OUT-first-N,
        unless --out names one.
    dry_run
        List the steps with their rows, tokens and time, and do nothing.
    quiet
        Print nothing but errors.
    json
        Print the verdicts as JSON on stdout.
    """
    path = to_path(recipe)
    values = read_yaml(path)
    if (verb := values.get("verb")) != "study":
        raise GradPrismError(
            f"{recipe} is a recipe of `gradprism {verb}`. Expected a study; others: gradprism run FILE."
        )
    loaded = checked(StudyRecipe, values)
    if out or limit:  # other rows are another study, which must not meet the whole one
        loaded = loaded.model_copy(update={"out": out or f"{loaded.out}-first-{limit}"})
    if engine is not None:
        loaded = loaded.model_copy(update={"engine": engine})
    located_study = located(loaded, path.resolve().parent, data, limit, model)
    if dry_run:
        return _show_plan(located_study, quiet, json)
    return _study(located_study, quiet, json, _command(recipe, data, model, limit, out, engine))


def replay(recipe: StudyRecipe, path: Path, *, quiet: bool, json: bool) -> int:
    """Run or resume a study as its recipe says; `path` is the file of the recipe."""
    return _study(located(recipe, path.resolve().parent, None, None), quiet, json, f"gradprism run {path}")


def _command(
    recipe: str, data: str | None, model: Several, limit: int | None, out: str | None, engine: EngineSettings | None
) -> str:
    """Return the command that does the study again; the place of the data stays private."""
    others = engine.model_dump(exclude_defaults=True) if engine else {}
    options = [
        *(["--data DIR"] if data else []),
        *(f"--model {name}" for name in model),
        *([f"--limit {limit}"] if limit else []),
        *([f"--out {out}"] if out else []),
        *(f"--{name.replace('_', '-')} {value}" for name, value in others.items()),
    ]
    return " ".join(["gradprism study", recipe, *options])


def located(
    recipe: StudyRecipe, folder: Path, data: str | None, limit: int | None, models: Sequence[str] = ()
) -> StudyRecipe:
    """Return a recipe with an absolute root, that of `data` if given; with these models, and `limit` rows a set."""
    own = folder if recipe.root == "." else folder / recipe.root
    root = to_path(data) if data is not None else own
    if models:
        recipe = with_models(recipe, models)
    recipe = recipe.model_copy(update={"root": str(root.resolve()), "out": str(to_path(recipe.out).resolve())})
    if data is not None:
        recipe = with_data(recipe, root.resolve())
    return recipe if limit is None else with_limit(recipe, limit)


def _study(recipe: StudyRecipe, quiet: bool, json: bool, command: str) -> int:
    """Run a study and show its result; return 3 where some steps failed."""
    from gradprism.core.progress_bar import show_progress
    from gradprism.study.api import run_recipe
    from gradprism.study.render import study_of

    try:
        with show_progress(quiet or json) as observer:
            result = run_recipe(recipe, observer, command)
    except KeyboardInterrupt:
        sys.stderr.write("Stopped. Repeat the same command to resume.\n")
        return 130
    if json:
        told = {"out": recipe.out, "verdicts": result.verdicts.to_dicts(), "failed": dict(result.failed)}
        print_json(told)
    elif not quiet:
        HarmlessConsole().print(study_of(result))
    return 3 if result.failed else 0


def _show_plan(recipe: StudyRecipe, quiet: bool, json: bool) -> int:
    """Print the plan of a study."""
    from gradprism.core.progress_bar import show_progress
    from gradprism.study.api import plan_study
    from gradprism.study.plan import total
    from gradprism.study.plan_render import plan_of

    with show_progress(quiet) as observer:
        plan = plan_study(recipe, observer)
    if json:
        values = asdict(plan) | {"total": asdict(total(plan.steps))}
        print_json(values)
    else:
        HarmlessConsole().print(plan_of(plan))
    return 0
