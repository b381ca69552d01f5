"""The settings of each verb: frozen, checked when made, saved with every run and replayable from it."""

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import yaml

from gradprism.core.errors import GradPrismError
from gradprism.core.settings import checked
from gradprism.measure.settings import SpectraRecipe
from gradprism.score.settings import ScoreRecipe

if TYPE_CHECKING:
    from gradprism.compare.settings import CompareRecipe
    from gradprism.interop.settings import ImportRecipe
    from gradprism.select.settings import SelectRecipe
    from gradprism.study.settings import StudyRecipe

    Recipe: TypeAlias = "SpectraRecipe | ScoreRecipe | SelectRecipe | CompareRecipe | ImportRecipe | StudyRecipe"


def load_recipe(path: Path) -> "Recipe":
    """Read a recipe: the text of `recipe_text`, or one written by hand."""
    from gradprism.compare.settings import CompareRecipe
    from gradprism.interop.settings import ImportRecipe
    from gradprism.select.settings import SelectRecipe
    from gradprism.study.settings import StudyRecipe

    kinds: dict[str, type[Recipe]] = {
        "spectra": SpectraRecipe, "score": ScoreRecipe, "select": SelectRecipe, "compare": CompareRecipe,
        "import": ImportRecipe, "study": StudyRecipe,
    }  # fmt: skip
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise GradPrismError(f"Cannot read the recipe {path}: {error}") from error
    kind = kinds.get(str(values.get("verb"))) if isinstance(values, dict) else None
    if kind is None:
        raise GradPrismError(f"{path} is not a recipe: expected a YAML mapping with `verb: {' | '.join(kinds)}`.")
    return checked(kind, values)
