"""Compare the gradients of a run's rows with those of target rows: scores `influence:NAME` of the run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import NoProgress, Progress, Say
from gradprism.core.python_options import PythonOptions
from gradprism.core.settings import checked, read_yaml, recipe_text
from gradprism.engine.run import refuse_engine, run_task
from gradprism.files.paths import absolute_path, to_path
from gradprism.measurement.settings import SpectraRecipe
from gradprism.measurement.targets import open_targets, targets_identity
from gradprism.measurement.task import MeasureTask
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.sources import LoadedModel, ModelSource
from gradprism.runs.layout import RECIPE_FILE, influence_in_words, influence_on
from gradprism.runs.record import machine_record
from gradprism.runs.resume_checks import refuse_differences
from gradprism.runs.run import Run, open_run
from gradprism.runs.scores import ScoreWriter, locked_run
from gradprism.runs.source_data import open_source_data
from gradprism.targets.settings import InfluenceRecipe
from gradprism.targets.task import InfluenceTask, TargetScores

_OPTIONS = PythonOptions(InfluenceRecipe, but=("target",))


@_OPTIONS
def influence(
    run: str | Path | Run,
    target: str | Sequence[str] | Mapping[str, str | Path],
    *,
    model: Any = None,
    tokenizer: Any = None,
    data: Any = None,
    observer: Progress | None = None,
    retry_failed: bool = False,
    target_mean: Literal["plain", "unit"] = "plain",
    target_rank: int = 8,
    device: str = "auto",
    batch_tokens: int | None = None,
    threads: int | None = None,
    device_map: str | Path | None = None,
    max_memory: str | Mapping[str, str] | None = None,
    offload_folder: str | Path | None = None,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    cpus_per_worker: float | None = None,
    part_rows: int = 128,
) -> Run:
    """Compare the gradient of every row of a run with the mean gradient of target rows, and return the opened run.

    `target`: `{"gsm": "gsm.jsonl"}`, or `"gsm=gsm.jsonl"`, one or several. The scores are
    `run.scores("influence:gsm")`, with the columns of `gradprism.prism.tables.INFLUENCE`, and
    `gradprism.select(run, by="influence:gsm")` ranks by them.
    `model` with its `tokenizer`: that of the run, loaded, where the run names none; `data` likewise its data.
    Model, template and projections are those of the run. Raises `GradPrismError` where its data or its model have
    changed, or a target has no usable row.
    """
    options = _OPTIONS.given(locals())
    path = run.path if isinstance(run, Run) else run
    recipe = InfluenceRecipe.from_options(str(path), target=target, **options)
    source = None if model is None else LoadedModel(model, tokenizer)
    return run_recipe(recipe, observer, data=data, model=source, retry_failed=retry_failed)


def run_recipe(
    recipe: InfluenceRecipe,
    observer: Progress | None = None,
    *,
    data: Any = None,
    model: ModelSource | None = None,
    retry_failed: bool = False,
) -> Run:
    """Compare as a recipe says, and return the opened run. The options are those of `influence`."""
    progress = observer or NoProgress()
    refuse_engine(recipe, model)
    if not recipe.targets.target:
        raise GradPrismError("No target is given. Expected --target NAME=FILE: the rows to compare with, under a name.")
    run = open_run(recipe.run)
    measured = _recipe_of(run)
    progress.say("Reading the data")
    examples = open_source_data(run, data)
    files = (f"{name}={absolute_path(file)}" for name, file in recipe.targets.files.items())
    recipe = recipe.model_copy(
        update={
            "run": str(to_path(recipe.run).resolve()),
            "targets": recipe.targets.model_copy(update={"target": tuple(files)}),
        }
    )
    targets = targets_identity(recipe.targets, open_targets(recipe.targets, measured.read))
    source = model or find_checkpoint(measured.checkpoint, progress.say)
    _refuse_another_model(run, source)
    _refuse_own_targets(run, recipe)
    bare = measured.prism.model_copy(update={"sketch": 0, "null_draws": 0, "tokens": False, "all_layers": False})
    engines = {"execution": recipe.execution, "engine": recipe.engine, "targets": recipe.targets, "prism": bare}
    identity = {**run.record["identity"], **targets}
    local = source if recipe.engine.engine == "local" else None
    task = InfluenceTask(MeasureTask(measured.model_copy(update=engines), identity, local))
    with locked_run(run.path, run.record, progress.say) as path:
        writers = {name: _writer(path, name, recipe, made, progress.say) for name, made in targets["targets"].items()}
        run_task(task, TargetScores(writers), examples, recipe, progress, "Influence", retry_failed=retry_failed)
        for writer in writers.values():
            writer.update(complete=True)
    return open_run(recipe.run)


def _recipe_of(run: Run) -> SpectraRecipe:
    """Return the recipe of a run's spectra. Raises `GradPrismError` where it has none that gradients can be made by."""
    path = run.path / RECIPE_FILE
    values = read_yaml(path) if run.has_spectra and path.is_file() else {}
    if values.get("verb") != "spectra":
        raise GradPrismError(
            f"The run {run.path} was not measured by gradprism spectra, so that no model, template and projections are "
            "known to compare gradients by. Measure its data: gradprism spectra DATA --model MODEL --target NAME=FILE "
            "--out RUN."
        )
    return checked(SpectraRecipe, values)


def _refuse_another_model(run: Run, source: ModelSource) -> None:
    name = "model fingerprint"
    here = source.fingerprint(source.load_config())
    refuse_differences(run.path, {name: run.record["identity"][name]}, {name: here})


def _refuse_own_targets(run: Run, recipe: InfluenceRecipe) -> None:
    for name in recipe.targets.names:
        if name in run.record["identity"].get("targets", {}):
            raise GradPrismError(
                f"--target {name}: the run {run.path} was measured with a target of this name, and its scores "
                f"{influence_on(name)} are part of it. Expected another name."
            )


def _writer(run: Path, name: str, recipe: InfluenceRecipe, made: Mapping[str, Any], say: Say) -> ScoreWriter:
    description = {
        "complete": False,
        "about": influence_in_words(made),
        "identity": {"part_rows": recipe.part_rows, "targets": {name: dict(made)}},
        **machine_record(),
        "sessions": [],
    }
    return ScoreWriter(run, influence_on(name), description, recipe_text(recipe), say)
