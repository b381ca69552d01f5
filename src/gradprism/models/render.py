"""The built-in models in a terminal."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from gradprism.core.terminal_tables import spaced, summary_table
from gradprism.models.builtin import BuiltinModel


def builtin_list(models: Iterable[BuiltinModel], cache: Path) -> RenderableType:
    """List built-in models: name, source, size to download, licence, and whether it is in the cache."""
    closing = Group(
        Text(f"Cache: {cache}  (set GRADPRISM_CACHE to move it)"),
        Text("A hub id, a folder with safetensors, or a .gguf file works as --model too."),
    )
    return Group(*spaced([*map(_builtin_entry, models), closing]))


def _builtin_entry(model: BuiltinModel) -> RenderableType:
    cached = ("cached", "green") if model.is_cached else (f"not yet fetched ({model.megabytes} MB)", "yellow")
    rows = summary_table(
        [
            ("  what", model.about),
            ("  from", f"package registry: {', '.join(model.wheels)}"),
            ("  licence", model.licence),
        ]
    )
    return Group(Text.assemble((model.name, "bold cyan"), "  ", cached), rows)
