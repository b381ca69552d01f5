"""docs/reliability.md: every test that it names is there."""

import re

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_is_there() -> None:
    missing, names = [], 0
    for section in PAGE.split("\n## "):
        folder = "tests/models/" if section.startswith("Checkpoints") else ""
        short = dict(re.findall(r"`([A-Z])` (?:is )?`(tests/[\w/]+\.py)`", section))
        file = ""
        for named, name in re.findall(r"`([\w/]*(?:\.py)?)::(test_\w+)`", section):
            file = short.get(named) or (folder * (not named.startswith("tests/")) + named if named else file)
            names += 1
            path = ROOT / file
            if not path.is_file() or f"def {name}(" not in path.read_text(encoding="utf-8"):
                missing.append(f"{file}::{name}")
    assert not missing
    assert names > 90


def test_every_file_that_the_page_names_is_there() -> None:
    files = set(re.findall(r"`(tests/[\w/]+\.py)", PAGE))
    assert len(files) > 20
    assert [name for name in sorted(files) if not (ROOT / name).is_file()] == []


def test_the_page_has_at_least_sixty_damages() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| -", "|---"))]
    assert len(rows) > 60 + 8
