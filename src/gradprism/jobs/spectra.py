"""The main job: data and a model in, a run directory of gradient spectra out."""

import hashlib
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from gradprism.data.encode import BUILTIN_TEMPLATES, read_template
from gradprism.data.source import ExampleSet, open_examples
from gradprism.engine import local
from gradprism.engine.shards import Shard, cut
from gradprism.errors import GradPrismError
from gradprism.jobs.observer import Observer, Silent
from gradprism.models.builtin import BUILTIN_MODELS
from gradprism.models.checkpoints import LoadedModel, ModelSource, find_checkpoint
from gradprism.recipe import SpectraRecipe, recipe_text, refuse_loading_options
from gradprism.store.layout import RECIPE_FILE
from gradprism.store.run import Run, open_run
from gradprism.store.writer import RunWriter
from gradprism.tables import Tables

IN_MEMORY = ("(Python objects)",)


def spectra(
    data: Any,
    model: Any = "smollm2-135m",
    *,
    tokenizer: Any = None,
    out: str | Path | None = None,
    observer: Observer | None = None,
    **options: Any,
) -> Run:
    """The gradient spectrum of every layer, for every example; returns the opened run.

    `data`: path or hub id, several of them, a list of dicts, a `datasets.Dataset` or a data frame.
    `model`: hub id, folder, .gguf file, built-in name; or a loaded model, then with its `tokenizer`.
    `out`: the run directory, resumed if it is there; a new temporary one where None.
    `options`: those of the command, e.g. `max_length=512, template="chat", projections=("q", "v")`.
    Raises `GradPrismError`; a bad example never does, it becomes a row with its reason.
    """
    if isinstance(data, str | Path):
        data = (data,)
    are_paths = isinstance(data, list | tuple) and all(isinstance(item, str | Path) for item in data)
    source: ModelSource | None = None
    if not isinstance(model, str | Path):
        source = LoadedModel(model, tokenizer)
        refuse_loading_options(options)
        options["dtype"] = "auto"  # its own
    recipe = SpectraRecipe.from_options(
        tuple(map(str, data)) if are_paths else IN_MEMORY,
        str(out or tempfile.mkdtemp(prefix="gradprism-")),
        model=source.name if source else str(model),
        **options,
    )
    return run_recipe(recipe, observer, data=recipe.data if are_paths else data, model=source)


def run_recipe(
    recipe: SpectraRecipe,
    observer: Observer | None = None,
    *,
    data: Any = None,
    model: ModelSource | None = None,
) -> Run:
    """Do what a recipe says. `data` and `model` stand in for the recipe's where they are Python objects."""
    watch = observer or Silent()
    watch.say("Reading the data")
    if data is None and recipe.data == IN_MEMORY:
        raise GradPrismError(
            f"The run {recipe.out} was made of Python objects, which no recipe holds. Expected data files: repeat the "
            "call in Python with the same objects, or write them to a file and name it under `data` of the recipe."
        )
    examples = open_examples(recipe.data if data is None else data, recipe.read)
    source = model or find_checkpoint(recipe.checkpoint, watch.say)
    config = source.load_config()
    recipe = _resolved(recipe, config)
    with RunWriter(Path(recipe.out), _description(recipe, examples, source, config)) as writer:
        writer.write_text(RECIPE_FILE, recipe_text(recipe))
        done = writer.done
        n_done = sum(min(recipe.part_rows, len(examples) - index * recipe.part_rows) for index in done)
        if n_done < len(examples):
            watch.say(f"Loading {source.name}")
            with _session(writer, recipe) as count:
                work = _worker(recipe, source, watch, count)
                watch.start(len(examples), n_done)
                local.run(cut(examples, recipe.part_rows, done), work, writer.publish)
        run = open_run(recipe.out)
        writer.update(complete=True, counts=asdict(run.counts))
    return open_run(recipe.out)


def _worker(recipe: SpectraRecipe, source: ModelSource, watch: Observer, count: "_Count") -> Callable[[Shard], Tables]:
    """Load the model; the result measures one shard."""
    from gradprism.gradients.analyzer import GradientAnalyzer

    count.device = source.device(_device(recipe.execution.device))
    model = source.load_model(count.device)
    analyzer = GradientAnalyzer(model, source.load_tokenizer(), recipe=recipe)
    if recipe.prism.precision != "exact":
        watch.say(f"Precision {recipe.prism.precision}: {_in_words(analyzer.arithmetic)}")

    def on_batch(examples: int, tokens: int) -> None:
        count.examples += examples
        count.tokens += tokens
        watch.batch(examples, tokens)

    return lambda shard: analyzer.analyze(shard.examples, on_batch)


def _in_words(arithmetic: str) -> str:
    if arithmetic == "as loaded":
        return "this device has no unit that would be faster; computing as with exact"
    return f"{arithmetic}; spectra in fp64"


def _arithmetic(recipe: SpectraRecipe, source: ModelSource) -> str:
    """What the precision asked for comes to where this runs: a run never mixes two."""
    import torch

    from gradprism.gradients.precision import arithmetic_of

    return arithmetic_of(recipe.prism.precision, torch.device(source.device(_device(recipe.execution.device))))


def _device(name: str) -> str:
    """`auto` takes the accelerator that is there."""
    import torch

    if name != "auto":
        try:
            torch.empty(0, device=name)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise GradPrismError(f"--device {name}: {reason}\nExpected auto, cpu, cuda, cuda:1, ...") from error
        return name
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found.type if found else "cpu"


def _resolved(recipe: SpectraRecipe, config: Any) -> SpectraRecipe:
    """Absolute paths, so that it can be replayed from anywhere; no more tokens than the model has positions for."""
    template = recipe.text.template if recipe.text.template in BUILTIN_TEMPLATES else _absolute(recipe.text.template)
    text = recipe.text.within(config).model_copy(update={"template": template})
    checkpoint = recipe.checkpoint
    if checkpoint.model not in BUILTIN_MODELS:
        checkpoint = checkpoint.model_copy(update={"model": _absolute(checkpoint.model)})
    changes = {"data": tuple(map(_absolute, recipe.data)), "text": text, "checkpoint": checkpoint}
    return recipe.model_copy(update=changes | {"out": str(Path(recipe.out).expanduser().resolve())})


def _absolute(name: str) -> str:
    """Make a path absolute if there is such a file or folder; names of hubs and templates stay as they are."""
    path = Path(name).expanduser()
    return str(path.resolve()) if path.exists() else name


def _description(recipe: SpectraRecipe, examples: ExampleSet, source: ModelSource, config: Any) -> dict[str, Any]:
    """What run.json says from the start."""
    text_config, fingerprint = config.get_text_config(), source.fingerprint(config)
    identity = recipe.identity() | {
        "data fingerprint": examples.fingerprint,
        "model fingerprint": fingerprint,
    }
    if recipe.prism.precision != "exact":
        identity["arithmetic"] = _arithmetic(recipe, source)
    if recipe.text.template not in BUILTIN_TEMPLATES:
        identity["template digest"] = hashlib.sha256(read_template(recipe.text.template).encode()).hexdigest()[:16]
    schemas = dict.fromkeys(schema.name for schema in examples.schemas if schema)
    return {
        "verb": "spectra",
        "created": _now(),
        "complete": False,
        "identity": identity,
        "data": {
            "sources": [item.name for item in examples.sources],
            "formats": sorted({item.format for item in examples.sources}),
            "schema": "; ".join(schemas),
            "rows": len(examples),
            "fingerprint": examples.fingerprint,
        },
        "model": {
            "name": source.name,
            "class": (config.architectures or [config.model_type])[0],
            "revision": fingerprint,
            "dtype": source.dtype(config),
            "layers": getattr(text_config, "num_hidden_layers", None),
            "hidden_size": getattr(text_config, "hidden_size", None),
        },
        "versions": {name: version(name) for name in ("gradprism", "torch", "transformers", "polars")},
        "hardware": _hardware(),
        "sessions": [],
    }


def _hardware() -> dict[str, Any]:
    return {
        "platform": platform.platform(terse=True),
        "python": platform.python_version(),
        "cores": psutil.cpu_count(logical=True),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


@dataclass
class _Count:
    """What one session has done."""

    examples: int = 0
    tokens: int = 0
    device: str = ""


@contextmanager
def _session(writer: RunWriter, recipe: SpectraRecipe) -> Iterator[_Count]:
    """Append this session's work and cost to run.json, also where it ends early."""
    count, started, clock = _Count(), _now(), time.perf_counter()
    try:
        yield count
    finally:
        entry = {
            "started": started,
            "seconds": round(time.perf_counter() - clock, 2),
            "examples": count.examples,
            "tokens": count.tokens,
            "peak_memory_mib": _peak_memory_mib(),
            "device": count.device,
            "batch_tokens": recipe.execution.batch_tokens,
        }
        with suppress(GradPrismError):  # a full disk must not hide what ended the session
            writer.update(sessions=[*writer.record["sessions"], entry])


def _peak_memory_mib() -> int | None:
    """Largest resident set of this process so far; None where the platform does not say."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * unit >> 20


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
