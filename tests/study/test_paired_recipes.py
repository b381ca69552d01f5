"""The recipes of studies/paired are what `gradprism run` takes, and name the kinds of rows that rows.py writes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import ROOT

from gradprism.comparison.settings import CompareRecipe
from gradprism.core.settings import checked, read_yaml

RECIPES = sorted((ROOT / "studies" / "paired").glob("*.yaml"))


def test_there_are_two() -> None:
    assert [file.stem for file in RECIPES] == ["fast-slow", "wrong-paths"]


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_a_recipe_names_kinds_of_rows(file: Path, shared: Path) -> None:
    recipe = checked(CompareRecipe, read_yaml(file))
    rows = subprocess.run([sys.executable, ROOT / "studies" / "paired" / "rows.py", shared / "data", "4"],
                          capture_output=True, text=True, check=True).stdout  # fmt: skip
    found = [json.loads(line) for line in rows.splitlines()]
    assert recipe.compare.paired
    assert len(found) == 24
    assert {*recipe.compare.groups} <= {row["kind"] for row in found}
    assert len({row["instruction"] for row in found}) == len(found)
