"""Change a study for one call: other models, data from a folder, a few rows of each set."""

import re
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from gradprism.core.errors import GradPrismError
from gradprism.core.settings import checked
from gradprism.data.columns import parse_columns
from gradprism.data.formats import read_file
from gradprism.models.settings import CheckpointSettings
from gradprism.study.settings import StudyModel, StudyRecipe, StudySet, StudyText

_KINDS = (".json", ".jsonl", ".parquet")
_POOL_ROWS = 10  # rows of a pool for each that is taken at one end, in a study of a few rows


def with_models(recipe: StudyRecipe, given: Sequence[str]) -> StudyRecipe:
    """Return a study of these models only: names of the recipe, others as MODEL or NAME=MODEL.

    Others are loaded with default settings (fp32), and also compute the scores that a causal language model computes,
    in turn: nothing of the recipe's own models is needed then. Raises `GradPrismError` where two have one name.
    """
    models = dict[str, StudyModel]()
    for text in given:
        name, model = _named_model(recipe, text)
        if name in models:
            raise GradPrismError(f"--model: two models have the name {name!r}. Give names of your own: NAME=MODEL.")
        models[name] = model
    others = [_checkpoint(model) for name, model in models.items() if recipe.models.get(name) != model]
    scores = dict(recipe.scores)
    for (name, score), other in zip(recipe.scores.items(), cycle(others), strict=False):
        scores[name] = score.model_copy(update={"checkpoint": other}) if score.checkpoint else score
    changed = recipe.model_copy(update={"models": models, "scores": scores})
    return checked(StudyRecipe, changed.model_dump())


def with_data(recipe: StudyRecipe, folder: Path) -> StudyRecipe:
    """Return a study with data below a folder; a set with a file NAME.json, .jsonl or .parquet there uses that file."""

    def found(sets: dict[str, StudySet]) -> dict[str, StudySet]:
        return {name: _from_folder(where, name, folder) for name, where in sets.items()}

    changes = {"root": str(folder), "sets": found(recipe.sets), "pools": found(recipe.pools)}
    return recipe.model_copy(update=changes)


def with_limit(recipe: StudyRecipe, rows: int) -> StudyRecipe:
    """Return a study of at most so many rows of each set, and ten times as many, the first ones, of each pool.

    Raises `GradPrismError` for fewer than one.
    """
    if rows < 1:
        raise GradPrismError(f"--limit {rows}: expected 1 or more rows of each set.")
    ends = min(recipe.ends, max(rows, 2))
    texts = {name: _with_fewer_rows(how, rows) for name, how in recipe.texts.items()}
    pools = {
        name: where.model_copy(
            update={"sample": None, "limit": min(where.limit or _POOL_ROWS * ends, _POOL_ROWS * ends)}
        )
        for name, where in recipe.pools.items()
    }
    return recipe.model_copy(update={"texts": texts, "pools": pools, "ends": ends})


def _with_fewer_rows(how: StudyText, rows: int) -> StudyText:
    """Return a text with fewer rows; a sample stays one, since the first rows of an ordered set are its extremes."""
    if how.sample is not None:
        return how.model_copy(update={"sample": min(how.sample, rows)})
    return how.model_copy(update={"rows": min(how.rows or rows, rows)})


def _named_model(recipe: StudyRecipe, text: str) -> tuple[str, StudyModel]:
    if text in recipe.models:
        return text, recipe.models[text]
    name, equals, model = text.partition("=")
    if not equals or Path(text).expanduser().exists():
        name, model = re.sub(r"[^\w.-]+", "-", Path(text).name.removesuffix(".gguf")).strip(".-"), text
    if not name or not model:
        raise GradPrismError(f"--model {text!r}: expected MODEL, NAME=MODEL, or one of {', '.join(recipe.models)}.")
    return name, StudyModel(model=model)


def _checkpoint(model: StudyModel) -> CheckpointSettings:
    return CheckpointSettings(**{name: getattr(model, name) for name in CheckpointSettings.model_fields})


def _from_folder(where: StudySet, name: str, folder: Path) -> StudySet:
    """Return a set read from its own file; columns are those of the recipe where the file has them, else recognised."""
    file = next((file for kind in _KINDS if (file := folder / f"{name}{kind}").is_file()), None)
    if file is None:
        return where
    named = {name for text in parse_columns(where.columns).values() for name in text.split("+")}
    columns = where.columns if _has_columns(file, named) else ""
    return where.model_copy(update={"data": str(file), "columns": columns, "config": None, "split": None})


def _has_columns(file: Path, named: set[str]) -> bool:
    """Return whether each of these columns is in some row; reads no further than needed."""
    missing = set(named)
    for record in read_file(file):
        missing -= set(record.fields or {})
        if not missing:
            return True
    return not missing
