"""The notebooks run from the first cell to the last, and the outputs that they hold are of such a run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gradprism.models import checkpoints
from tests.conftest import ROOT, SAMPLE

NOTEBOOKS = sorted((ROOT / "examples/notebooks").glob("*.ipynb"))


def cells(notebook: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(notebook.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]


@pytest.mark.slow  # measures, compares, draws and trains
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_as_it_stands(
    notebook: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tiny model under the name of the real one."""
    pytest.importorskip("IPython", reason="needs IPython, which notebooks bring")
    (tmp_path / "examples").mkdir()
    shutil.copy(SAMPLE, tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoints, "_builtin_files", lambda *_: (tiny_checkpoint, None))
    names: dict[str, Any] = {}
    for cell in cells(notebook):
        exec(compile("".join(cell["source"]), notebook.name, "exec"), names)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_there_without_errors_or_places_of_another_machine(notebook: Path) -> None:
    for number, cell in enumerate(cells(notebook), 1):
        assert cell["execution_count"] == number
        kinds = {output["output_type"] for output in cell["outputs"]}
        assert kinds <= {"stream", "execute_result", "display_data"}
    assert [place for place in ("/tmp/", "/home/", "/work/") if place in notebook.read_text("utf-8")] == []
