"""A whole study: every step of a recipe, those that are done already left as they are; then what they come to."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from gradprism.compare_recipe import CompareRecipe
from gradprism.errors import GradPrismError
from gradprism.extras import need
from gradprism.jobs import compare, select, spectra
from gradprism.jobs.observer import Observer, Silent
from gradprism.jobs.record import of_machine
from gradprism.jobs.score import run_scores
from gradprism.places import place
from gradprism.recipe import ScoreRecipe, SpectraRecipe, recipe_text
from gradprism.select_recipe import SelectRecipe
from gradprism.store.disk import disk_errors, parquet_bytes, replace
from gradprism.store.layout import RECIPE_FILE
from gradprism.store.run import Run
from gradprism.study.steps import steps_of
from gradprism.study_recipe import StudyRecipe

if TYPE_CHECKING:
    import polars as pl

    from gradprism.recipe import Recipe
    from gradprism.study.outcome import Outcome
    from gradprism.study.plan import Plan

PAGE = "README.md"


def run_recipe(recipe: StudyRecipe, observer: Observer | None = None) -> "Outcome":
    """Do every step of a study, then write its tables, figures and page.

    A step that fails costs those that need it; its reason is kept, and the rest goes on. The same call resumes a study
    that was stopped. Raises `GradPrismError` where nothing at all could be compared.
    """
    for module in ("scipy", "matplotlib"):
        need(module, "report")
    from gradprism.study.outcome import outcome_of

    watch = observer or Silent()
    _write(recipe, RECIPE_FILE, recipe_text(recipe).encode())
    failed = _work_through(recipe, watch)
    watch.start(0, 0, "Judging")
    outcome = outcome_of(recipe, failed)
    if not outcome.compared:
        reasons = "\n".join(f"  {name}: {reason.splitlines()[0]}" for name, reason in [*failed.items()][:5])
        raise GradPrismError(f"Nothing could be compared in the study {recipe.out}:\n{reasons}")
    _publish(outcome, watch)
    return outcome


def plan_study(recipe: StudyRecipe, observer: Observer | None = None) -> "Plan":
    """What a study would do, as far as this machine can tell: no weights are loaded, nothing is fetched or written."""
    from gradprism.jobs.looking import Looker
    from gradprism.jobs.study_plan import Planner

    return Planner(recipe, Looker((observer or Silent()).say)).plan()


def _work_through(recipe: StudyRecipe, watch: Observer) -> dict[str, str]:
    """All steps; returns the reasons of those that failed."""
    steps, failed = steps_of(recipe), dict[str, str]()
    for number, step in enumerate(steps, 1):
        missing = [name for name in step.needs if name in failed]
        if missing:
            failed[step.name] = f"it needs {missing[0]}, which has failed"
            continue
        watch.say(f"{number} of {len(steps)}: {step.name}")
        try:
            _do(step.recipe, watch)
        except GradPrismError as error:
            failed[step.name] = str(error)
            watch.say(f"{step.name} has failed: {str(error).splitlines()[0]}")
    return failed


def _do(recipe: "Recipe", watch: Observer) -> None:
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


def _publish(outcome: "Outcome", watch: Observer) -> None:
    """Tables, figures, and the page that holds both."""
    from gradprism.study.page import page

    recipe = outcome.recipe
    for name, table in _tables(outcome):
        _write(recipe, f"tables/{name}.parquet", parquet_bytes(table))
        _write(recipe, f"tables/{name}.csv", table.write_csv().encode())
    figures = _draw(outcome, watch)
    _write(recipe, PAGE, page(outcome, figures, [*_made(outcome)]).encode())


def _tables(outcome: "Outcome") -> "Iterator[tuple[str, pl.DataFrame]]":
    yield from outcome.tables.items()
    yield "verdicts", outcome.verdicts
    for each in outcome.judged:
        if each.table.width:
            yield f"claim-{each.name}", each.table


def _draw(outcome: "Outcome", watch: Observer) -> dict[str, str]:
    """A figure for each claim on a measure: its file below the study, by the claim's name."""
    from gradprism.figures.claims import claim_plot
    from gradprism.figures.files import figure_bytes, make
    from gradprism.figures.plot import Missing
    from gradprism.figures.styles import style_named

    style, drawn = style_named("neurips"), dict[str, str]()
    texts = outcome.recipe.texts
    whole = next(iter(texts))
    for each in outcome.judged:
        cut = {text: n for text in each.cut if (n := texts[text].response_tokens)}
        plot = claim_plot(each.name, each.claim.says, each.table, whole, cut)
        if isinstance(plot, Missing):
            continue
        watch.say(f"Drawing {plot.name}")
        figure = make(plot, style)
        for kind in ("png", "pdf"):
            _write(outcome.recipe, f"figures/{plot.name}.{kind}", figure_bytes(figure, kind, style))
        _write(outcome.recipe, f"figures/{plot.name}.csv", plot.data.write_csv().encode())
        drawn[each.name] = f"figures/{plot.name}.png"
    return drawn


def _made(outcome: "Outcome") -> Iterator[str]:
    """What it was made of, in lines: models, sets, time, machine."""
    from gradprism.study.outcome import runs_of

    recipe, machine, found = outcome.recipe, of_machine(), runs_of(outcome.recipe, outcome.failed)
    for model in recipe.models:
        for text in recipe.texts:
            own = [run for (of_model, of_text, _), run in found.items() if (of_model, of_text) == (model, text)]
            yield _summed(f"{model}, {text}", own)
    hardware: Mapping[str, object] = machine["hardware"]
    yield "machine: " + ", ".join(f"{name} {value}" for name, value in hardware.items())
    yield "versions: " + ", ".join(f"{name} {value}" for name, value in machine["versions"].items())


def _summed(name: str, runs: list[Run]) -> str:
    ok, tokens = sum(run.counts.ok for run in runs), sum(run.counts.tokens or 0 for run in runs)
    skipped = sum(run.counts.skipped + run.counts.failed for run in runs)
    seconds = sum(session["seconds"] for run in runs for session in run.record["sessions"])
    return f"{name}: {len(runs)} sets, {ok:,} rows measured, {skipped:,} skipped, {tokens:,} tokens, {seconds:,.0f} s"


def _write(recipe: StudyRecipe, name: str, content: bytes) -> None:
    path = place(recipe.out) / name
    with disk_errors(path, "the study"):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, content)
