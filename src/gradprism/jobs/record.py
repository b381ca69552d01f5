"""What the record of a run says: the data, the model, the machine, and what each session cost."""

import hashlib
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import psutil

from gradprism.core.errors import GradPrismError
from gradprism.data.settings import IN_MEMORY
from gradprism.data.source import ExampleSet, open_examples
from gradprism.engine.peak import peak_memory_mib
from gradprism.engine.work import Account
from gradprism.files.places import is_shared, place
from gradprism.import_recipe import ImportRecipe
from gradprism.measure.settings import SpectraRecipe
from gradprism.models.builtin import BUILTIN_MODELS
from gradprism.models.checkpoints import ModelSource
from gradprism.models.settings import CheckpointSettings
from gradprism.score.settings import ScoreRecipe
from gradprism.spectra.settings import PrismSettings

if TYPE_CHECKING:
    from gradprism.models.projections import Found


def examples_of(recipe: SpectraRecipe | ScoreRecipe | ImportRecipe, data: Any = None) -> ExampleSet:
    """Open the rows of a recipe; `data` stands in for what it names.

    Raises `GradPrismError` where these were Python objects and are not given again.
    """
    if data is None and recipe.data == IN_MEMORY:
        raise GradPrismError(
            f"The run {recipe.out} was made of Python objects, which no recipe holds. Expected data files: repeat the "
            "call in Python with the same objects, or write them to a file and name it under `data` of the recipe."
        )
    return open_examples(recipe.data if data is None else data, recipe.read)


def of_data(examples: ExampleSet) -> dict[str, Any]:
    """Where the rows came from, how they were read, and their fingerprint."""
    schemas = dict.fromkeys(schema.name for schema in examples.schemas if schema)
    return {
        "sources": [item.name for item in examples.sources],
        "formats": sorted({item.format for item in examples.sources}),
        "schema": "; ".join(schemas),
        "rows": len(examples),
        "fingerprint": examples.fingerprint,
    }


def of_model(source: ModelSource, config: Any) -> dict[str, Any]:
    """Name, kind and size of a model; its adapter and how it is quantised, where it has or is so."""
    special = {"adapter": source.adapter, "quantization": source.quantization(config)}
    text_config = config.get_text_config()
    return {
        "name": source.name,
        "class": source.class_name(config),
        "revision": source.fingerprint(config),
        "dtype": source.dtype(config),
        "layers": getattr(text_config, "num_hidden_layers", None),
        "hidden_size": getattr(text_config, "hidden_size", None),
    } | {name: value for name, value in special.items() if value}


def of_loaded(model: Any, found: "Found") -> dict[str, Any]:
    """Describe a loaded model: the class that was built, and what was found in it; beside `of_model`."""
    from gradprism.models.stack import inside_wrapper  # loads torch

    return {
        "class": type(inside_wrapper(model)[1]).__name__,
        "projections": list(found.names),
        "measured_layers": list(found.layers),
        "skipped_layers": list(found.skipped_layers),
        "notes": list(found.notes),
    }


def of_machine() -> dict[str, Any]:
    """Versions and hardware, and when this was written."""
    return {
        "created": _now(),
        "versions": {name: version(name) for name in ("gradprism", "torch", "transformers", "polars")},
        "hardware": {
            "platform": platform.platform(terse=True),
            "python": platform.python_version(),
            "cores": psutil.cpu_count(logical=True),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        },
    }


def refuse_other_machine(begun: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Refuse to compute something else on this machine than was begun; `here` is what its own files come to.

    Raises `GradPrismError` that names each difference.
    """
    different = sorted(name for name, value in here.items() if begun.get(name) != value)
    if different:
        lines = "\n".join(f"  {name}: begun with {begun.get(name)!r}, here {here[name]!r}" for name in different)
        raise GradPrismError(
            f"The machine {platform.node()} would compute something else than this run is made of:\n{lines}\n"
            "Expected the same files on every machine, or hub ids with a revision; and machines of one kind, or "
            "--precision exact."
        )


def resolved_prism(prism: PrismSettings) -> PrismSettings:
    """The description of an architecture as an absolute path."""
    return prism.model_copy(update={"architecture": absolute(prism.architecture)}) if prism.architecture else prism


def architecture_digest(prism: PrismSettings) -> dict[str, str]:
    """Tell two contents of one description apart; nothing where there is none. Raises `GradPrismError` if unusable."""
    if not prism.architecture:
        return {}
    from gradprism.models.described import read_architecture  # loads torch

    text = read_architecture(prism.architecture).model_dump_json(exclude_none=True)
    return {"architecture digest": hashlib.sha256(text.encode()).hexdigest()[:16]}


def resolved_checkpoint(checkpoint: CheckpointSettings) -> CheckpointSettings:
    """Folders and files as absolute paths; names of hubs and built-in models as they are."""
    builtin = checkpoint.model in BUILTIN_MODELS
    changes = {
        "model": checkpoint.model if builtin else absolute(checkpoint.model),
        "adapter": checkpoint.adapter and absolute(checkpoint.adapter),
    }
    return checkpoint.model_copy(update=changes)


def absolute(name: str) -> str:
    """Make a path absolute if there is such a file or folder; names of hubs and templates stay as they are."""
    path = place(name)
    return str(path.resolve()) if is_shared(path) or path.exists() else name


@contextmanager
def session(
    append: Callable[[dict[str, Any]], None], batch_tokens: int | None = None, engine: str = "local"
) -> Iterator[Account]:
    """Append this session's work and cost to a record, also where it ends early."""
    done, started, clock = Account(), _now(), time.perf_counter()
    try:
        yield done
    finally:
        entry = {
            "started": started,
            "seconds": round(time.perf_counter() - clock, 2),
            "examples": done.examples,
            "tokens": done.tokens,
            "peak_memory_mib": done.peak_memory_mib or peak_memory_mib(),
            "device": done.device,
            "batch_tokens": batch_tokens,
            "engine": engine,
            "workers": done.workers,
            "retries": done.retries,
        }
        with suppress(GradPrismError):  # a full disk must not hide what ended the session
            append(entry)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
