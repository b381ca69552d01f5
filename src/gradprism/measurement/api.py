"""Measure the gradient spectra of a data set, into a run directory."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from gradprism.core.progress import NoProgress, Progress, Say
from gradprism.core.python_options import PythonOptions
from gradprism.core.settings import recipe_text
from gradprism.data.example_set import ExampleSet
from gradprism.data.settings import IN_MEMORY
from gradprism.engine.run import refuse_engine, run_task
from gradprism.files.paths import absolute_path, given_or_temporary, names_path, to_path
from gradprism.measurement.settings import SpectraRecipe
from gradprism.measurement.targets import open_targets, targets_identity
from gradprism.measurement.task import MeasureTask, arithmetic_there
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.record import model_record, resolved_checkpoint
from gradprism.models.settings import refuse_loading_options
from gradprism.models.sources import LoadedModel, ModelSource
from gradprism.models.text import ResolvedText, resolve_text, text_identity
from gradprism.prism.architecture import architecture_digest, resolved_prism
from gradprism.prism.measures import measures_identity, stored_measures
from gradprism.runs.layout import RECIPE_FILE, identity_of
from gradprism.runs.measured_layers import describe_measured_layers
from gradprism.runs.record import data_record, examples_of, gpu_record, machine_record
from gradprism.runs.run import Run, open_run
from gradprism.runs.writer import RunWriter

_OPTIONS = PythonOptions(SpectraRecipe, but=("model",))


@_OPTIONS
def spectra(
    data: Any,
    model: Any = "smollm2-135m",
    *,
    tokenizer: Any = None,
    out: str | Path | None = None,
    observer: Progress | None = None,
    retry_failed: bool = False,
    columns: str | Mapping[str, str] = "",
    split: str | None = None,
    config: str | None = None,
    rows: str | None = None,
    sample: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    max_row_bytes: int = 2**26,
    template: str | Path = "auto",
    system: str | None = None,
    date: str | None = None,
    turns: Literal["all", "last"] = "all",
    end_of_turn: bool = True,
    max_length: int = 2048,
    response_tokens: int | None = None,
    prompt_tokens: int | None = None,
    revision: str | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32",
    from_scratch: bool = False,
    init_seed: int = 0,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    adapter: str | Path | None = None,
    adapter_revision: str | None = None,
    quantization: Literal["bnb-8bit", "bnb-4bit", "torchao-int8"] | None = None,
    projections: str | Sequence[str] = "q,k,v,o",
    architecture: str | Path | None = None,
    entry_stats: bool = False,
    all_layers: bool = False,
    spectrum: bool | str = True,
    tokens: bool = False,
    null_draws: int = 0,
    null: Literal["permuted", "signs"] = "permuted",
    sketch: int = 0,
    sketch_seed: int = 0,
    loss: Literal["sft", "dpo"] = "sft",
    beta: float = 0.1,
    reference: Literal["model", "base", "columns"] = "model",
    weights: str | None = None,
    precision: Literal["exact", "balanced", "fast"] = "exact",
    target: str | Sequence[str] | Mapping[str, str | Path] = (),
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
    part_rows: int = 32,
) -> Run:
    """Measure the gradient spectrum of every layer for every example, and return the opened run.

    `data`: path, URL or hub id, several of them, a list of dicts, a `datasets.Dataset` or a data frame.
    `model`: hub id, folder, .gguf file or built-in name; or a loaded model together with its `tokenizer`.
    `out`: the run directory, or its URL in an object store (`s3://bucket/run`), resumed if it exists; a new
    temporary one where None.
    `retry_failed` also measures again the rows that failed before.
    The options are those of the command, e.g. `max_length=512, template="chat", projections=("q", "v")`.
    Raises `GradPrismError`, but not for an example that cannot be measured: it becomes a row with its reason.
    """
    options = _OPTIONS.given(locals())
    if names_path(data):
        data = (data,)
    are_paths = isinstance(data, list | tuple) and all(map(names_path, data))
    source: ModelSource | None = None
    if not isinstance(model, str | Path):
        source = LoadedModel(model, tokenizer)
        refuse_loading_options(options)
        options["dtype"] = "auto"  # that of the loaded model
    with given_or_temporary(out) as folder:
        recipe = SpectraRecipe.from_options(
            tuple(map(str, data)) if are_paths else IN_MEMORY,
            folder,
            model=source.name if source else str(model),
            **options,
        )
        return run_recipe(
            recipe, observer, data=recipe.data if are_paths else data, model=source, retry_failed=retry_failed
        )


def run_recipe(
    recipe: SpectraRecipe,
    observer: Progress | None = None,
    *,
    data: Any = None,
    model: ModelSource | None = None,
    retry_failed: bool = False,
) -> Run:
    """Measure as a recipe says, and return the opened run.

    `data` and `model` replace the recipe's where they are Python objects. `retry_failed` also measures again the rows
    that failed before.
    """
    progress = observer or NoProgress()
    refuse_engine(recipe, model)
    progress.say("Reading the data")
    examples = examples_of(recipe, data)
    source = model or find_checkpoint(recipe.checkpoint, progress.say)
    config = source.load_config()
    out = to_path(recipe.out)
    text = resolve_text(recipe.text, source, config, examples.n_conversations, identity_of(out))
    recipe = _resolved(recipe, text)
    description = _description(recipe, examples, source, config, text, progress.say)

    def first_rows(n: int) -> str:
        """Return the fingerprint of the first rows; none where the others change the names of examples."""
        read = recipe.read.model_copy(update={"limit": n})
        first = examples_of(recipe.model_copy(update={"read": read}), data)
        return first.fingerprint if first.has_ids == examples.has_ids else ""

    with RunWriter(out, description, progress.say, first_rows) as writer:
        writer.write_text(RECIPE_FILE, recipe_text(recipe))
        writer.describe_influence(complete=False)

        def on_loaded(model: Mapping[str, Any]) -> None:
            """Record what was found in the model, and report what differs from the requested projections."""
            hardware = writer.record["hardware"] | gpu_record()  # a GPU is known once it has been used
            writer.update(model=writer.record["model"] | model, hardware=hardware)
            for sentence in describe_measured_layers(model, recipe.prism.projection_names):
                progress.say(f"Measured: {sentence}")

        task = MeasureTask(recipe, dict(writer.record["identity"]), source if recipe.engine.engine == "local" else None)
        run_task(task, writer, examples, recipe, progress, "Gradients", on_loaded=on_loaded, retry_failed=retry_failed)
        run = open_run(recipe.out)
        writer.update(complete=True, counts=asdict(run.counts))
        writer.describe_influence(complete=True)
    return open_run(recipe.out)


def _resolved(recipe: SpectraRecipe, text: ResolvedText) -> SpectraRecipe:
    """Return the recipe with absolute paths, so that it can be replayed from anywhere, and with the resolved text."""
    changes = {
        "data": tuple(map(absolute_path, recipe.data)),
        "text": text.settings,
        "checkpoint": resolved_checkpoint(recipe.checkpoint),
        "prism": resolved_prism(recipe.prism),
        "targets": recipe.targets.model_copy(
            update={"target": tuple(f"{name}={absolute_path(file)}" for name, file in recipe.targets.files.items())}
        ),
        "out": str(to_path(recipe.out).resolve()),
    }
    return recipe.model_copy(update=changes)


def _description(
    recipe: SpectraRecipe, examples: ExampleSet, source: ModelSource, config: Any, text: ResolvedText, say: Say
) -> dict[str, Any]:
    """Return the first content of run.json."""
    model = model_record(source, config)
    identity = recipe.identity() | {
        "data fingerprint": examples.fingerprint,
        "model fingerprint": model["revision"],
    }
    targets = targets_identity(recipe.targets, open_targets(recipe.targets, recipe.read))
    if measures := measures_identity(stored_measures()):
        identity["measures"] = measures
    if recipe.prism.precision != "exact":
        from gradprism.prism.estimated_spectrum import describe_estimates

        identity["arithmetic"] = arithmetic_there(recipe, source, say)
        identity["spectra"] = describe_estimates(recipe.prism.precision)
    return {
        "verb": "spectra",
        "complete": False,
        "identity": identity | text_identity(text.settings) | architecture_digest(recipe.prism) | targets,
        "template": {"name": text.settings.template, "why": text.why},
        "data": data_record(examples),
        "model": model,
        **machine_record(),
        "sessions": [],
    }
