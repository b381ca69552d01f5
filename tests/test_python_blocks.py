"""The Python on the pages runs as it stands there, pasted into a folder that has the sample."""

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradprism.models import checkpoints
from tests.conftest import ROOT, SAMPLE


def blocks() -> Iterator[tuple[str, str]]:
    for page in ("README.md", "docs/python.md", "docs/tasks/watch-training.md"):
        for block in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL):
            yield page, block


BLOCKS = [pytest.param(page, block, id=f"{page} {n}") for n, (page, block) in enumerate(blocks())]


@pytest.mark.slow  # loads a model several times, and draws and writes what the page says
@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_python_of_a_page_runs_as_it_stands_there(
    page: str, block: str, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tiny model under the name of the real one, and the sample where the repository has it."""
    if page.startswith("docs/tasks/"):
        pytest.skip("tests/test_documented_commands.py runs it, before the commands of its page")
    if "examples/sample.jsonl" not in block:
        pytest.skip(f"this block of {page} is not about the sample")
    (tmp_path / "examples").mkdir()
    shutil.copy(SAMPLE, tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoints, "_builtin_files", lambda *_: (tiny_checkpoint, None))
    exec(compile(block, page, "exec"), {})


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_python_of_a_page_names_what_there_is(page: str, block: str) -> None:
    import gradprism

    named = {
        node.attr
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "gradprism"
    }
    assert named <= {*gradprism.__all__}, page
