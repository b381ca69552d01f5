"""The settings of verbs: frozen, checked when made, saved with every run, and replayable from there."""

from collections.abc import Iterable, Mapping
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from reprlib import Repr
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from gradprism.core.errors import GradPrismError
from gradprism.core.yaml_text import YamlProblemError, parse_yaml, read_yaml_file

_GIVEN = Repr()
_GIVEN.maxstring = _GIVEN.maxother = _GIVEN.maxlong = 120  # characters
Model = TypeVar("Model", bound=BaseModel)


class Settings(BaseModel):
    """A frozen group of settings that refuses unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def grouped(recipe: type[Settings], options: Mapping[str, Any]) -> dict[str, Any]:
    """Sort flat options into the groups of a recipe. Raises `GradPrismError` for a name that no group has."""
    group_of = {option: name for name, group in option_groups(recipe).items() for option in group.model_fields}
    own = own_options(recipe)
    grouped: dict[str, Any] = {}
    for option, value in options.items():
        if option in own:
            grouped[option] = value
        elif option in group_of:
            grouped.setdefault(group_of[option], {})[option] = _flat(value)
        else:
            raise unknown_setting(option, {*group_of, *own})
    return grouped


def unknown_setting(option: str, known: Iterable[str]) -> GradPrismError:
    """Make the error for an unknown option, with the nearest known one, or all."""
    names = sorted(known)
    close = get_close_matches(option, names, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"
    return GradPrismError(f"Unknown setting {option!r}; {hint}")


def own_options(recipe: type[Settings]) -> tuple[str, ...]:
    """Return the options that a recipe holds itself, beside its groups."""
    return tuple(name for name in ("part_rows", "name", "own") if name in recipe.model_fields)


def option_groups(recipe: type[Settings]) -> dict[str, type[Settings]]:
    """Return the fields of a recipe that are groups of settings, by name."""
    found = {
        name: (get_args(field.annotation) or (field.annotation,))[0] for name, field in recipe.model_fields.items()
    }
    return {name: kind for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, Settings)}


def _flat(value: Any) -> Any:
    """Write `("q", "k")` and `{"prompt": "question"}` in their text forms, `q,k` and `prompt=question`."""
    if isinstance(value, Mapping):
        return ",".join(f"{role}={name}" for role, name in value.items())
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value) if isinstance(value, Path) else value


def one_or_several(names: str | Iterable[str]) -> tuple[str, ...]:
    """Return names as a tuple: those of one text, with commas between them, or of several."""
    given = names.split(",") if isinstance(names, str) else names
    return tuple(name for each in given if (name := each.strip()))


def checked(model: type[Model], values: Mapping[str, Any]) -> Model:
    """Validate settings. Raises `GradPrismError` with one line for each setting that is wrong."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, problem['loc'])) or 'settings'}: {problem['msg']}{quote_given(problem)}"
            for problem in error.errors()
        ]
        raise GradPrismError("Settings not understood:\n  " + "\n  ".join(lines)) from None


def quote_given(problem: Mapping[str, Any]) -> str:
    """Quote the value that pydantic refused; nothing for an address, which may hold a password."""
    hidden = problem["type"] == "missing" or "base_url" in problem["loc"]
    return "" if hidden else f" (given: {_GIVEN.repr(problem['input'])})"


def recipe_text(recipe: BaseModel) -> str:
    """Write the resolved settings as YAML, which `gradprism run FILE` replays."""
    values = recipe.model_dump(mode="json")
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def iso_date(text: str | None) -> str | None:
    return None if text is None else date.fromisoformat(text).isoformat()


def read_yaml(path: Path) -> Mapping[str, Any]:
    """Read the YAML mapping of a recipe. Raises `GradPrismError` where the file holds none."""
    try:
        values = parse_yaml(read_yaml_file(path))
    except (OSError, YamlProblemError) as error:
        raise GradPrismError(f"Cannot read the recipe {path}: {error}") from None
    if not isinstance(values, dict):
        raise GradPrismError(f"{path} is not a recipe: expected a YAML mapping with `verb: VERB`.")
    return values
