"""Read data, text and model from the recipe recorded with a run, whichever verb made the run."""

from dataclasses import dataclass
from pathlib import Path

from gradprism.core.errors import GradPrismError
from gradprism.core.settings import checked, read_yaml
from gradprism.data.settings import ReadSettings, TextSettings
from gradprism.files.paths import list_names
from gradprism.models.settings import CheckpointSettings
from gradprism.runs.layout import RECIPE_FILE, score_table

_MAKE_RUNS = ("spectra", "score", "import")
_OF_ORIGIN = ("model", "revision", "trust_remote_code")


@dataclass(frozen=True)
class RecordedRecipe:
    """The settings that the recipes of all runs have in common."""

    verb: str
    data: tuple[str, ...]
    read: ReadSettings
    text: TextSettings
    checkpoint: CheckpointSettings | None  # None where no model was named


def read_recorded_recipe(path: Path) -> RecordedRecipe:
    """Read a recipe.yaml of a run. Raises `GradPrismError` where it cannot be read or its verb makes no run."""
    values = read_yaml(path)
    verb = str(values.get("verb"))
    if verb not in _MAKE_RUNS:
        raise GradPrismError(f"{path} is the recipe of `gradprism {verb}`, which makes no run.")
    origin = values.get("origin") or {}  # of an imported run
    imported = {name: origin[name] for name in _OF_ORIGIN if name in origin} if origin.get("model") else None
    checkpoint = values.get("checkpoint") or imported
    return RecordedRecipe(
        verb,
        tuple(map(str, values.get("data") or ())),
        checked(ReadSettings, values.get("read") or {}),
        checked(TextSettings, values.get("text") or {}),
        checked(CheckpointSettings, checkpoint) if checkpoint else None,
    )


def recipe_paths(run: Path) -> list[Path]:
    """Return the paths of the recipes of a run's spectra and of its scores, each of which names the data."""
    scores = (run / score_table(name) / RECIPE_FILE for name in list_names(run / "scores"))
    return [path for path in (run / RECIPE_FILE, *scores) if path.is_file()]
