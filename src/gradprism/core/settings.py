"""Settings of the verbs: frozen, checked when made, saved with every run and replayable from it."""

from collections.abc import Mapping
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from gradprism.core.errors import GradPrismError

Model = TypeVar("Model", bound=BaseModel)


class Settings(BaseModel):
    """A frozen group of settings; an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def grouped(recipe: type[Settings], options: Mapping[str, Any]) -> dict[str, Any]:
    """Flat options -> the groups of a recipe; raises `GradPrismError` for a name that none of them has."""
    homes = {option: name for name, group in _groups(recipe).items() for option in group.model_fields}
    own = {"part_rows", "name", "own"} & {*recipe.model_fields}
    grouped: dict[str, Any] = {}
    for option, value in options.items():
        if option in own:
            grouped[option] = value
        elif option in homes:
            grouped.setdefault(homes[option], {})[option] = _flat(value)
        else:
            known = sorted({*homes, *own})
            close = get_close_matches(option, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
            raise GradPrismError(f"Unknown setting {option!r}; {hint}")
    return grouped


def _groups(recipe: type[Settings]) -> dict[str, type[Settings]]:
    """The groups of settings among a recipe's fields."""
    found = {
        name: (get_args(field.annotation) or (field.annotation,))[0] for name, field in recipe.model_fields.items()
    }
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, Settings)}


def _flat(value: Any) -> Any:
    """Accept `projections=("q", "k")` and `columns={"prompt": "question"}` beside their text forms."""
    if isinstance(value, Mapping):
        return ",".join(f"{role}={name}" for role, name in value.items())
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value) if isinstance(value, Path) else value


def checked(model: type[Model], values: Mapping[str, Any]) -> Model:
    """Validate settings; what is wrong comes out as one plain line for each setting."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, problem['loc'])) or 'settings'}: {problem['msg']}{given(problem)}"
            for problem in error.errors()
        ]
        raise GradPrismError("Settings not understood:\n  " + "\n  ".join(lines)) from None


def given(problem: Mapping[str, Any]) -> str:
    """What was given, for the words of a problem of pydantic; of an address nothing, since it may hold a password."""
    hidden = problem["type"] == "missing" or "base_url" in problem["loc"]
    return "" if hidden else f" (given: {problem['input']!r})"


def recipe_text(recipe: BaseModel) -> str:
    """YAML of the resolved settings; `gradprism run FILE` replays them."""
    values = recipe.model_dump(mode="json")
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def iso_date(text: str | None) -> str | None:
    return None if text is None else date.fromisoformat(text).isoformat()


def read_yaml(path: Path) -> Mapping[str, Any]:
    """Read the YAML mapping of a recipe. Raises `GradPrismError` where there is none."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise GradPrismError(f"Cannot read the recipe {path}: {error}") from error
    if not isinstance(values, dict):
        raise GradPrismError(f"{path} is not a recipe: expected a YAML mapping with `verb: VERB`.")
    return values
