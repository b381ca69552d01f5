"""models: List the models that need no hub."""

from gradprism.core.console import HarmlessConsole

EXAMPLES = (
    "gradprism models",
    "gradprism inspect examples/sample.jsonl -m gemma-3-270m",
)


def models() -> int:
    """List the models that need no hub, where they come from and what is cached."""
    from gradprism.models.builtin import BUILTIN_MODELS, cache_folder
    from gradprism.models.render import builtin_list

    HarmlessConsole().print(builtin_list(BUILTIN_MODELS.values(), cache_folder()))
    return 0
