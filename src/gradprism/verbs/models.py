"""List the built-in models."""

from rich.console import Console


def models() -> int:
    """List the models that need no hub, where they come from and what is cached."""
    from gradprism.models.builtin import BUILTIN_MODELS, cache_folder
    from gradprism.terminal.models import builtin_list

    Console(highlight=False).print(builtin_list(BUILTIN_MODELS.values(), cache_folder()))
    return 0
