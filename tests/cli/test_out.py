"""--out of every verb that writes: what is neither a file nor a folder is left as it is, and said in one line."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.command import run as command
from tests.files.test_folder import NO_FILES, identity
from tests.made_comparisons import made_comparison
from tests.made_papers import paper_rows, written
from tests.made_sketches import sketched_run
from tests.made_studies import written_study

from gradprism.comparison.comparison_files import save_comparison
from gradprism.interop.importing import import_paper

pytestmark = pytest.mark.slow  # many cases, of which each takes a moment

INTO_FILES = {
    "report": ("report", "compared", "--out", "{out}.html"),
    "select": ("select", "rows.jsonl", "--by", "column:reward", "--top", 1, "--out", "{out}.jsonl"),
    "export": ("export", "run", "--out", "{out}.jsonl"),
}
INTO_FOLDERS = {
    "compare": ("compare", "run", "--by", "column:kind", "--out", "{out}"),
    "correlate": ("correlate", "run", "--out", "{out}"),
    "diversity": ("diversity", "sketched", "--out", "{out}"),
    "figures": ("figures", "compared", "--only", "nuclear-norm", "--out", "{out}"),
    "import": ("import", "rows.jsonl", "--out", "{out}"),
    "study": ("study", "study.yaml", "--out", "{out}"),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    save_comparison(made_comparison(n=4, layers=2), folder / "compared")
    import_paper(written(folder / "rows.jsonl", paper_rows(4)), out=folder / "run")
    written_study(folder)
    sketched_run(folder / "sketched", np.eye(8, 16))
    return folder


def refused(words: tuple[object, ...], out: str, inputs: Path, where: Path) -> str:
    given = [inputs / str(word) if (inputs / str(word)).exists() else word for word in words]
    done = command(*(str(word).format(out=where / out) for word in given), "--quiet")
    assert done.returncode == 2, done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return str(lines[0])


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("verb", INTO_FILES)
def test_a_file_is_expected(
    verb: str, kind: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = INTO_FILES[verb]
    monkeypatch.chdir(tmp_path)
    NO_FILES[kind](Path(str(words[-1]).format(out="out")))
    before = [identity(path) for path in tmp_path.iterdir()]
    assert f"is {kind}. Expected a file to write, or a name that is free." in refused(words, "out", inputs, tmp_path)
    assert [identity(path) for path in tmp_path.iterdir()] == before


IN_THE_WAY: dict[str, Callable[[Path], object]] = {"file": Path.touch, "pipe": os.mkfifo}


@pytest.mark.parametrize("kind", IN_THE_WAY)
@pytest.mark.parametrize("verb", INTO_FOLDERS)
def test_a_folder_is_expected(verb: str, kind: str, inputs: Path, tmp_path: Path) -> None:
    IN_THE_WAY[kind](tmp_path / "out")
    before = identity(tmp_path / "out")
    assert "out is no folder. Expected --out to be a folder" in refused(INTO_FOLDERS[verb], "out", inputs, tmp_path)
    assert identity(tmp_path / "out") == before


@pytest.mark.parametrize("verb", ["compare", "correlate", "diversity", "figures", "import", "study"])
def test_another_process_is_writing_the_folder(
    verb: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradprism.files import folder

    monkeypatch.setattr(folder, "WAIT_SECONDS", 0.0)
    with folder.locked_folder(tmp_path / "out", folder.FolderKind("run"), wait=0):
        assert "Another process is writing the " in refused(INTO_FOLDERS[verb], "out", inputs, tmp_path)


@pytest.mark.parametrize("verb", INTO_FILES)
def test_another_process_is_writing_the_file(
    verb: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gradprism.files import folder

    monkeypatch.setattr(folder, "WAIT_SECONDS", 0.0)
    name = str(INTO_FILES[verb][-1]).format(out="out")
    with folder.locked_folder(tmp_path, folder.FolderKind("file"), name=name, wait=0):
        assert "Another process is writing the " in refused(INTO_FILES[verb], "out", inputs, tmp_path)
    assert not [*tmp_path.iterdir()]
