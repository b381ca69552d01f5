"""Read a recipe of any verb, and find the module that replays it."""

from pathlib import Path
from types import ModuleType

from gradprism.cli.verbs import find_verbs
from gradprism.core.errors import GradPrismError
from gradprism.core.settings import Settings, checked, read_yaml


def load_verb_and_recipe(path: Path) -> tuple[ModuleType, Settings]:
    """Read a recipe, saved with a run or written by hand, and the module that replays it (`gradprism.cli.verbs`).

    Raises `GradPrismError` where it is none or is not valid.
    """
    values = read_yaml(path)
    verb = find_verbs().get(str(values.get("verb")))
    module = verb.load() if verb else None
    if module is None or not hasattr(module, "RECIPE"):
        raise GradPrismError(
            f"{path} is not a recipe: expected a YAML mapping with `verb: {' | '.join(_replayable_verbs())}`."
        )
    return module, checked(module.RECIPE, values)


def _replayable_verbs() -> list[str]:
    """Return the names of the verbs whose settings are saved as recipes."""
    return [name for name, verb in find_verbs().items() if hasattr(verb.load(), "RECIPE")]
