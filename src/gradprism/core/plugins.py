"""Load the objects that other packages register under the entry points of gradprism."""

from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

from gradprism.core.errors import GradPrismError


def load_plugins(group: str) -> Iterator[tuple[str, Any]]:
    """Yield name and object of each entry point of a group. Raises `GradPrismError` where one cannot be imported."""
    for point in entry_points(group=group):
        try:
            loaded = point.load()
        except Exception as error:
            package = f" of {point.dist.name}" if point.dist else ""
            raise GradPrismError(
                f"The entry point {group} {point.name}{package} ({point.value}) cannot be imported: "
                f"{type(error).__name__}: {error}\nRepair or uninstall that package."
            ) from error
        yield point.name, loaded
