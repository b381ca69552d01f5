"""Read what the recipe of a run says of its data, text and model, whichever verb made the run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gradprism.core.errors import GradPrismError
from gradprism.core.settings import checked
from gradprism.data.settings import ReadSettings, TextSettings
from gradprism.files.places import names_in
from gradprism.models.settings import CheckpointSettings
from gradprism.runs.layout import RECIPE_FILE, score_table

_MAKE_RUNS = ("spectra", "score", "import")
_OF_ORIGIN = ("model", "revision", "trust_remote_code")


@dataclass(frozen=True)
class RecordedRecipe:
    """The settings that the recipes of all runs share."""

    verb: str
    data: tuple[str, ...]
    read: ReadSettings
    text: TextSettings
    checkpoint: CheckpointSettings | None  # None where no model was named


def read_recorded_recipe(path: Path) -> RecordedRecipe:
    """Read a recipe.yaml of a run. Raises `GradPrismError` where it cannot be read or its verb makes no run."""
    values = read_recipe_values(path)
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


def recipes_of(run: Path) -> list[Path]:
    """Return the paths of the recipe of a run's spectra, and of those of its scores: each names the data."""
    scores = (run / score_table(name) / RECIPE_FILE for name in names_in(run / "scores"))
    return [path for path in (run / RECIPE_FILE, *scores) if path.is_file()]


def read_recipe_values(path: Path) -> Mapping[str, Any]:
    """Read the YAML mapping of a recipe. Raises `GradPrismError` where it is none."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise GradPrismError(f"Cannot read the recipe {path}: {error}") from error
    if not isinstance(values, dict):
        raise GradPrismError(f"{path} is not a recipe: expected a YAML mapping with `verb: VERB`.")
    return values
