"""What the record of a run says: the data, the model, the machine, and what each session cost."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Protocol

import psutil

from gradprism.core.errors import GradPrismError
from gradprism.data.settings import IN_MEMORY, ReadSettings
from gradprism.data.source import ExampleSet, open_examples
from gradprism.engine.session import utc_now


class NamesData(Protocol):
    """The settings of a verb that reads data into a run."""

    @property
    def data(self) -> tuple[str, ...]:
        """Files, folders, URLs or a hub id."""

    @property
    def read(self) -> ReadSettings:
        """Which rows of them."""

    @property
    def out(self) -> str:
        """The run directory."""


def examples_of(recipe: NamesData, data: Any = None) -> ExampleSet:
    """Open the rows of a recipe; `data` stands in for what it names.

    Raises `GradPrismError` where these were Python objects and are not given again.
    """
    if data is None and recipe.data == IN_MEMORY:
        raise GradPrismError(
            f"The run {recipe.out} was made of Python objects, which no recipe holds. Expected data files: repeat the "
            "call in Python with the same objects, or write them to a file and name it under `data` of the recipe."
        )
    return open_examples(recipe.data if data is None else data, recipe.read)


def data_record(examples: ExampleSet) -> dict[str, Any]:
    """Where the rows came from, how they were read, and their fingerprint."""
    schemas = dict.fromkeys(schema.name for schema in examples.schemas if schema)
    return {
        "sources": [item.name for item in examples.sources],
        "formats": sorted({item.format for item in examples.sources}),
        "schema": "; ".join(schemas),
        "rows": len(examples),
        "fingerprint": examples.fingerprint,
    }


def machine_record() -> dict[str, Any]:
    """Versions and hardware, and when this was written."""
    return {
        "created": utc_now(),
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
