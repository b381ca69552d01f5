"""Small studies: recipes of a tiny checkpoint and a few rows, as files."""

import json
from pathlib import Path
from typing import Any

import yaml

from gradprism.cli.recipes import load_verb_and_recipe
from gradprism.study.command import located
from gradprism.study.settings import StudyRecipe

ROWS = [{"id": f"r{i}", "instruction": f"say {i} words", "output": "word and " * (i + 1)} for i in range(6)]


def study_values(model: Path | str = "smollm2-135m", **changes: Any) -> dict[str, Any]:
    """What the YAML of a small study holds: two sets, a contrast, a claim."""
    return {
        "verb": "study", "title": "A small one", "out": "out", "part_rows": 2,
        "models": {"tiny": {"model": str(model)}},
        "texts": {"whole": {"max_length": 64}}, "compare": {"resamples": 199},
        "sets": {"long": {"data": "long.jsonl"}, "short": {"data": "short.jsonl"}},
        "contrasts": {"length": {"first": "long", "second": "short"}},
        "claims": {"rank": {"says": "Long ones rank higher", "measure": "effective_rank", "expect": "higher"}},
    } | changes  # fmt: skip


def written_study(folder: Path, model: Path | str = "smollm2-135m", **changes: Any) -> Path:
    """The recipe as a file, its data beside it, its results below it."""
    for name, rows in (("long", ROWS[3:]), ("short", ROWS[:3])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    path = folder / "study.yaml"
    path.write_text(
        yaml.safe_dump(study_values(model, **changes) | {"out": str(folder / "out")}, sort_keys=False), encoding="utf-8"
    )
    return path


def loaded_study(path: Path, **options: Any) -> StudyRecipe:
    """As `gradprism run` understands it."""
    recipe = load_verb_and_recipe(path)[1]
    assert isinstance(recipe, StudyRecipe)
    return located(recipe, path.resolve().parent, options.pop("data", None), options.pop("limit", None), **options)
