"""Every command of README and docs/tasks runs on rows of the sample, one after the other, as it stands there."""

import json
import re
import shlex
from pathlib import Path

import pytest

from gradprism.models import checkpoints
from tests.command import run
from tests.conftest import ROOT, SAMPLE

PAGES = ["README.md", *sorted(f"docs/tasks/{file.name}" for file in (ROOT / "docs" / "tasks").glob("*.md"))]
HERE = {
    "Qwen/Qwen2.5-1.5B-Instruct": "smollm2-135m",
    "checkpoints/final": "smollm2-135m",
    "--workers 8 --gpus-per-worker 1": "--workers 1 --gpus-per-worker 0",
    "column:source": "column:kind",
}
"""What a page names and this machine does not have, and what stands in for it."""


def commands(page: str) -> list[str]:
    """The commands in the blocks of a page, without what follows a `#`."""
    blocks = blocks_of(page, "")
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("gradprism ")]


def blocks_of(page: str, language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [block for name, block in fenced if name == language]


def trainings(page: str) -> list[str]:
    """The Python of a page that trains, on this machine's model and processor."""
    found = [block for block in blocks_of(page, "python") if ".train()" in block]
    return [block.replace("max_steps=8", "max_steps=8, use_cpu=True") for block in found]


def test_every_page_has_commands() -> None:
    assert {page for page in PAGES if not commands(page)} <= {"docs/tasks/add-a-measure.md"}


@pytest.mark.slow  # every verb, with a tiny model under the name of the real one
@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_run_one_after_the_other(
    page: str, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoints, "_builtin_files", lambda *_: (tiny_checkpoint, None))
    _write_data(tmp_path, compared=page.endswith("read-a-report.md"))
    for block in trainings(page):  # whose steps the commands read
        exec(compile(block.replace("HuggingFaceTB/SmolLM2-135M-Instruct", str(tiny_checkpoint)), page, "exec"), {})
    for command in commands(page):
        if "--engine ray" in command or " study " in command:
            continue  # tests/engine and tests/study run them; `make test` starts clusters one at a time
        for there, here in HERE.items():
            command = command.replace(there, here)
        done = run(*shlex.split(command)[1:])
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def _write_data(folder: Path, compared: bool) -> None:
    """The first rows of the sample, under its name and those of the reader's own files; a comparison where wanted."""
    (folder / "examples").mkdir()
    rows = [json.loads(line) for line in SAMPLE.read_text("utf-8").splitlines()[:24]]
    for name, some in (("examples/sample", rows), ("data", rows), ("old", rows[:12]), ("new", rows[12:])):
        text = "".join(json.dumps(row) + "\n" for row in some)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    if compared:
        assert run("spectra", "data.jsonl", "--model", "smollm2-135m", "--out", "made").returncode == 0
        assert run("compare", "made", "--by", "column:kind", "--out", "compared").returncode == 0


def test_readme_is_short_and_no_line_of_its_blocks_is_wider_than_the_page() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.split()) <= 900
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    assert max(len(line) for block in blocks for line in block.splitlines()) <= 96
    for picture in re.findall(r"(?:src(?:set)?=\"|\]\()([^)\"]+\.(?:png|svg))", text):
        assert (ROOT / picture).is_file(), picture


def test_pages_link_to_what_there_is() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text("utf-8")):
            assert ((ROOT / page).parent / target).exists(), f"{page}: {target}"
