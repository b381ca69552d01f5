"""Run a whole study: every step that is not done yet, then tables, figures and the page."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gradprism.core.errors import DeviceError, GradPrismError
from gradprism.core.optional import need
from gradprism.core.progress import NoProgress, Progress
from gradprism.core.settings import recipe_text
from gradprism.files.folder import FolderKind, locked_folder
from gradprism.files.paths import is_remote, to_path
from gradprism.runs.layout import RECIPE_FILE
from gradprism.study.done import Done
from gradprism.study.files import publish, write
from gradprism.study.kinds import LastModel, kind_of
from gradprism.study.settings import StudyRecipe
from gradprism.study.steps import ReportSettings, Step, StepRecipe, steps_of

if TYPE_CHECKING:
    from gradprism.study.plan import Plan
    from gradprism.study.result import StudyResult


def run_recipe(recipe: StudyRecipe, observer: Progress | None = None, command: str = "") -> "StudyResult":
    """Do every step of a study, then write its tables, figures and page, which names the `command` that was given.

    A step that fails, whatever it raises, costs those that need it; its reason is kept, and the rest goes on. The same
    call resumes a study that was stopped. Raises `GradPrismError` where nothing at all could be compared, and where a
    device stopped working, and where another process works on this study.
    """
    for module in ("scipy", "matplotlib", "plotly"):
        need(module, "report")
    from gradprism.study.result import read_result

    watch, out = observer or NoProgress(), to_path(recipe.out)
    with locked_folder(out, FolderKind("study"), wait=0):
        write(out / RECIPE_FILE, recipe_text(recipe).encode())
        failed = _work_through(recipe, watch)
        watch.start(0, 0, "Judging")
        result = read_result(recipe, failed)
        if not result.compared:
            reasons = "\n".join(f"  {name}: {reason.splitlines()[0]}" for name, reason in [*failed.items()][:5])
            raise GradPrismError(f"Nothing could be compared in the study {recipe.out}:\n{reasons}")
        publish(result, watch, command)
    return result


def plan_study(recipe: StudyRecipe, observer: Progress | None = None) -> "Plan":
    """Plan a study as far as this machine can tell: no weights are loaded, nothing is fetched or written."""
    from gradprism.study.plan import Planner

    return Planner(recipe, (observer or NoProgress()).say).plan()


def _work_through(recipe: StudyRecipe, watch: Progress) -> dict[str, str]:
    """Do all steps that are not done; return the reasons of those that failed."""
    steps, failed, done, models = steps_of(recipe), dict[str, str](), Done(to_path(recipe.out)), LastModel()
    away = set[str]()  # models and data of a hub that were unavailable
    for number, planned in enumerate(steps, 1):
        step = _without_missing_comparisons(planned, failed)
        missing = [name for name in step.needs if name in failed]
        unavailable = [name for key, name in _hub_sources(step.recipe).items() if key in away]
        if missing:
            failed[step.name] = f"it needs {missing[0]}, which has failed"
        elif step in done:
            continue
        elif unavailable:
            failed[step.name] = f"it needs {unavailable[0]}, which was unavailable before"
        else:
            which = f"{number} of {len(steps)}"
            watch.say(f"{which}: {step.name}")
            watch.start(0, 0, f"{which}: {step.name}")  # until there are batches Ctrl-C acts at once
            try:
                kind_of(step.recipe).do(step.recipe, _StepProgress(watch, which), models)
                done.add(step)
            except DeviceError:  # no step after it would fare better
                raise
            except Exception as error:  # of one step: days of others must not be lost to it
                failed[step.name] = _reason_of(error)
                away |= {key for key, name in _hub_sources(step.recipe).items() if repr(name) in str(error)}
                watch.say(f"{step.name} has failed: {failed[step.name].splitlines()[0]}")
    return failed


def _reason_of(error: Exception) -> str:
    """Return the message of an error of this package; of any other its type and the first line of its message."""
    if isinstance(error, GradPrismError) and str(error).strip():
        return str(error).strip()
    first, *_ = [*str(error).strip().splitlines(), ""]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _without_missing_comparisons(step: Step, failed: Mapping[str, str]) -> Step:
    """Return a report without the comparisons that failed; other steps unchanged."""
    made = tuple(name for name in step.needs if name not in failed)
    if not isinstance(step.recipe, ReportSettings) or not made or made == step.needs:
        return step
    kept = tuple(out for name, out in zip(step.needs, step.recipe.comparisons, strict=True) if name in made)
    return replace(step, recipe=step.recipe.model_copy(update={"comparisons": kept}), needs=made)


def _hub_sources(recipe: StepRecipe) -> dict[str, str]:
    """Return the models and data that only a hub can give, by what a request names: without a hub each takes long."""
    read, checkpoint = getattr(recipe, "read", None), getattr(recipe, "checkpoint", None)
    named = [(f"data {name} {read.config} {read.split}", name) for name in getattr(recipe, "data", ()) if read]
    if checkpoint is not None:
        named.append((f"model {checkpoint.model} {checkpoint.revision}", checkpoint.model))
    return {key: name for key, name in named if not is_remote(to_path(name)) and not to_path(name).exists()}


@dataclass(frozen=True)
class _StepProgress:
    """Tells of the work of one step, with its number among all."""

    _watch: Progress
    _which: str

    def say(self, text: str) -> None:
        self._watch.say(text)

    def start(self, rows: int, done: int, what: str, unit: str = "rows") -> None:
        self._watch.start(rows, done, f"{self._which}, {what[:1].lower()}{what[1:]}", unit)

    def batch(self, examples: int, tokens: int | None) -> None:
        self._watch.batch(examples, tokens)

    def note(self, text: str) -> None:
        self._watch.note(text)
