"""Import optional libraries when they are needed, and say how to install those that are missing."""

from importlib import import_module
from typing import Any

from gradprism.core.errors import GradPrismError


def need(module: str, extra: str) -> Any:
    """Import a module that the extra `gradprism[extra]` installs. Raises `GradPrismError` where it is missing."""
    try:
        return import_module(module)
    except ImportError as error:
        raise GradPrismError(
            f"This needs {module.partition('.')[0]}, which cannot be imported ({error}).\n"
            f"pip install 'gradprism[{extra}]'"
        ) from error
