"""Make the entries of a run's record on the data and the machine, and verify another machine against it."""

import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

import psutil

from gradprism.core.errors import GradPrismError
from gradprism.data.example_set import ExampleSet, open_examples
from gradprism.data.settings import IN_MEMORY, ReadSettings
from gradprism.engine.session import utc_now

_EIGENVALUES_ON_GPU = ("nvidia-cusolver", "nvidia-cusolver-cu12")  # packages of the library that torch solves them with


class NamesData(Protocol):
    """The settings of a verb that reads data into a run."""

    @property
    def data(self) -> tuple[str, ...]:
        """Files, folders, URLs or a hub id."""

    @property
    def read(self) -> ReadSettings:
        """The rows to read."""

    @property
    def out(self) -> str:
        """The run directory."""


def examples_of(recipe: NamesData, data: Any = None) -> ExampleSet:
    """Open the rows of a recipe; `data` replaces what it names.

    Raises `GradPrismError` where the recipe was made from Python objects and these are not given again.
    """
    if data is None and recipe.data == IN_MEMORY:
        raise GradPrismError(
            f"The run {recipe.out} was made of Python objects, which no recipe holds. Expected data files: repeat the "
            "call in Python with the same objects, or write them to a file and name it under `data` of the recipe."
        )
    return open_examples(recipe.data if data is None else data, recipe.read)


def data_record(examples: ExampleSet) -> dict[str, Any]:
    """Return the entry on the data: its sources, how they were read, the number of rows, and their fingerprint."""
    schemas = dict.fromkeys(schema.name for schema in examples.schemas if schema)
    return {
        "sources": [item.name for item in examples.sources],
        "formats": sorted({item.format for item in examples.sources}),
        "schema": "; ".join(schemas),
        "rows": len(examples),
        "fingerprint": examples.fingerprint,
    }


def machine_record() -> dict[str, Any]:
    """Return the entries on versions and hardware, and the present time."""
    return {
        "created": utc_now(),
        "versions": _installed_versions("gradprism", "torch", "transformers", "polars", *_EIGENVALUES_ON_GPU),
        "hardware": {
            "platform": platform.platform(terse=True),
            "python": platform.python_version(),
            "cores": psutil.cpu_count(logical=True),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            **gpu_record(),
        },
    }


def gpu_record() -> dict[str, str]:
    """Return the GPU's name and its toolkit's version where this process has used one: reading a run loads no torch."""
    torch = sys.modules.get("torch")
    with suppress(RuntimeError):
        if torch is not None and torch.cuda.is_initialized():
            return {"gpu": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda or torch.version.hip)}
    return {}


def _installed_versions(*names: str) -> dict[str, str]:
    """Return the versions of those packages that are installed: what reads runs needs no torch."""
    versions = {}
    for name in names:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def refuse_other_machine(begun: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise `GradPrismError` where this machine's identity `here` differs from the run's, `begun`."""
    different = sorted(name for name, value in here.items() if begun.get(name) != value)
    if different:
        lines = "\n".join(f"  {name}: begun with {begun.get(name)!r}, here {here[name]!r}" for name in different)
        raise GradPrismError(
            f"The machine {platform.node()} has other files or hardware than this run was begun with:\n{lines}\n"
            "Expected the same files on every machine, or hub ids with a revision; and machines of one kind, or "
            "--precision exact."
        )
