"""A study of real answers on a tiny model: every step, its tables, its page; resumed, and with parts that fail."""

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console
from tests.conftest import ROOT

from gradprism.cli.recipes import load_verb_and_recipe
from gradprism.core.errors import GradPrismError
from gradprism.runs.run import open_run
from gradprism.study.api import run_recipe
from gradprism.study.command import located
from gradprism.study.render import study_of
from gradprism.study.result import StudyResult
from gradprism.study.settings import StudyModel, StudyRecipe

pytestmark = pytest.mark.slow  # whole studies

EXAMPLE = ROOT / "examples" / "study.yaml"
MODEL = "tiny"


def recipe_of(checkpoint: Path, out: Path) -> StudyRecipe:
    loaded = load_verb_and_recipe(EXAMPLE)[1]
    assert isinstance(loaded, StudyRecipe)
    placed = located(loaded, EXAMPLE.parent, None, 8)
    compare = placed.compare.model_copy(update={"resamples": 299})
    models = {MODEL: StudyModel(model=str(checkpoint))}
    return placed.model_copy(update={"models": models, "out": str(out), "compare": compare})


@pytest.fixture(scope="module")
def done(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    return run_recipe(recipe_of(tiny_checkpoint, tmp_path_factory.mktemp("study") / "out"))


def test_every_step_is_done(done: StudyResult) -> None:
    out = Path(done.recipe.out)
    assert not done.failed
    assert {run.parent.parent.name for run in out.glob("runs/*/*/*/run.json")} == {"whole", "window-12"}
    assert len([*out.glob("runs/*/*/*/run.json")]) == 8
    assert len(done.compared) == 4
    assert {path.name for path in out.iterdir()} >= {"README.md", "recipe.yaml", "tables", "figures", "runs"}


def test_the_sets_hold_what_they_select(done: StudyResult) -> None:
    for kind in ("careful", "careless", "steps", "bare"):
        run = open_run(Path(done.recipe.out) / "runs" / MODEL / "whole" / kind)
        assert run.columns["kind"].unique().to_list() == [kind]
        assert run.counts.ok == 8


def test_tables_equal_a_recomputation_from_the_runs(done: StudyResult) -> None:
    """Means and gaps of every projection, straight from the Parquet parts."""
    out = Path(done.recipe.out)
    table = pl.read_parquet(out / "tables" / "contrasts.parquet")
    for (text, first, second), rows in table.group_by("text", "first", "second"):
        means = [
            pl.read_parquet(f"{out}/runs/{MODEL}/{text}/{name}/spectra/*.parquet")
            .group_by("row", "projection")
            .agg(pl.col("effective_rank").mean())
            .group_by("projection")
            .agg(pl.col("effective_rank").mean())
            for name in (first, second)
        ]
        again = (
            means[0]
            .join(means[1], on="projection")
            .with_columns(gap=pl.col("effective_rank") - pl.col("effective_rank_right"))
        )
        both = again.join(rows.filter(measure="effective_rank"), on="projection", suffix="_table")
        assert both.height == 4
        assert (both["gap"] - both["gap_table"]).abs().max() < 1e-12
        assert (both["effective_rank"] - both["mean_first"]).abs().max() < 1e-12


def test_the_page_begins_with_the_verdicts(done: StudyResult) -> None:
    text = (Path(done.recipe.out) / "README.md").read_text()
    for each in done.judged:
        assert f"| **{each.claim.says}** | **{each.verdict}** |" in text.split("\n## ")[0]
    for line in text.splitlines():
        if line.startswith("![") and "](" in line:
            assert (Path(done.recipe.out) / line.split("](")[1].rstrip(")")).is_file()


def test_length_controls_stand_beside_whole_texts_alone(done: StudyResult) -> None:
    """In a window raw and weighted effects are the same."""
    section = (Path(done.recipe.out) / "README.md").read_text().split("\n## ")[1]
    _, whole, window = section.split("\n### ")
    start = "| model | contrast | n | first | second | raw ratio |"
    assert f"{start} overlap weights | effective rows | matched pairs | raw | length-controlled |" in whole
    assert "| q, raw | q, overlap weights |" in whole
    assert f"{start} shows it |" in window
    assert "| model | contrast | q | k | v | o |" in window


def test_the_verdicts_fit_a_narrow_terminal(done: StudyResult) -> None:
    console = Console(width=80, file=io.StringIO())
    console.print(study_of(done))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 80
    for each in done.judged:
        assert f"  {each.verdict}" in [line.rstrip() for line in lines]
    for text in {text for each in done.judged for text in each.cut}:
        assert any(text in line for line in lines)


def test_the_query_beside_the_tables_gives_them(done: StudyResult) -> None:
    """The page's own lines, run in the study's folder: both columns of each measure are the same."""
    code = re.search(r"```python\n(.*?)```", (Path(done.recipe.out) / "README.md").read_text(), re.DOTALL)
    assert code
    shown = subprocess.run([sys.executable, "-c", code[1].replace("print(", "table = (") + _CHECK],
                           check=False, cwd=done.recipe.out, capture_output=True, text=True)  # fmt: skip
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.split() == ["4", "True"]


_CHECK = """
twice = [(table[name] - table[f"{name}, of the table"]).abs().max() for name in ("nuclear_norm", "effective_rank")]
print(table.height, max(twice) < 1e-12)
"""


def test_the_page_tells_of_predictors_and_curves(done: StudyResult) -> None:
    text = (Path(done.recipe.out) / "README.md").read_text()
    assert "## Curves over depth" in text
    assert ("## Which measure tells" in text) == ("predictors" in done.tables)
    assert "hardware: " in text
    assert len([*(Path(done.recipe.out) / "reports").glob("*.html")]) == len(done.recipe.all_contrasts)


@pytest.mark.usefixtures("done", "undrawn")  # drawn in `done` alone
def test_a_second_time_nothing_is_measured_again(done: StudyResult) -> None:
    runs = sorted(Path(done.recipe.out).glob("runs/*/*/*"))
    before = [open_run(run).record["sessions"] for run in runs]
    again = run_recipe(done.recipe)
    assert [open_run(run).record["sessions"] for run in runs] == before
    assert all(again.tables[name].equals(table) for name, table in done.tables.items())


@pytest.mark.usefixtures("done", "undrawn")  # drawn in `done` alone
def test_a_step_that_fails_costs_what_needs_it_alone(tiny_checkpoint: Path, done: StudyResult, tmp_path: Path) -> None:
    recipe = done.recipe
    sets = recipe.sets | {"bare": recipe.sets["bare"].model_copy(update={"data": "no_such.jsonl"})}
    found = run_recipe(recipe.model_copy(update={"sets": sets, "out": str(tmp_path / "out")}))
    assert {each.contrast for each in found.compared} == {"careful-careless"}
    assert "no_such.jsonl" in found.failed["sets/bare"]
    assert "it needs sets/bare" in found.failed[f"runs/{MODEL}/whole/bare"]
    assert next(each.verdict for each in found.judged if each.name == "thinking") == "was not tested"
    assert "no_such.jsonl" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.usefixtures("done", "undrawn")  # drawn in `done` alone
def test_what_lies_there_of_a_step_that_fails_now_is_not_read(done: StudyResult, tmp_path: Path) -> None:
    """The same folder, another way to read: every run of it is refused, and its old comparisons with them."""
    out = tmp_path / "out"
    shutil.copytree(done.recipe.out, out)
    texts = done.recipe.texts
    changed = {**texts, "window-12": texts["window-12"].model_copy(update={"response_tokens": 5})}
    found = run_recipe(done.recipe.model_copy(update={"texts": changed, "out": str(out)}))
    assert {each.text for each in found.compared} == {"whole"}
    assert "--response-tokens 4 (now 5)" in found.failed[f"runs/{MODEL}/window-12/careful"]
    assert not any(count.decided for each in found.judged for count in each.cut.values())


def test_where_nothing_can_be_compared_the_reasons_are_said(done: StudyResult, tmp_path: Path) -> None:
    models = {MODEL: StudyModel(model=str(tmp_path / "none"))}
    with pytest.raises(GradPrismError, match=r"Nothing could be compared(.|\n)*none"):
        run_recipe(done.recipe.model_copy(update={"models": models, "out": str(tmp_path / "out")}))
