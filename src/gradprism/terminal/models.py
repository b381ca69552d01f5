"""The built-in models in a terminal."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from gradprism.models.builtin import BuiltinModel
from gradprism.terminal.tables import plain_table


def builtin_table(models: Iterable[BuiltinModel], cache: Path) -> RenderableType:
    """Names, sources, sizes, licences, and whether each is in the cache."""
    table = plain_table("Models that need no hub", ["--model", "what", "comes from", "licence", "cached"], left=5)
    for model in models:
        package = model.wheels[0] + (f" and {len(model.wheels) - 1} more" if len(model.wheels) > 1 else "")
        cached = Text("yes", "green") if model.is_cached else Text(f"no ({model.megabytes} MB)")
        table.add_row(model.name, model.about, f"package registry:\n{package}", model.licence, cached)
    return Group(
        table,
        Text(f"Cache: {cache}  (set GRADPRISM_CACHE to move it)"),
        Text("Any hub id, folder with safetensors, or .gguf file works as --model too."),
    )
