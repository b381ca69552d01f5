"""The same command with more rows extends a run: what is published stays, and only new rows are measured."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.command import run as command
from tests.conftest import SAMPLE

import gradprism
from gradprism import GradPrismError, Run, open_run
from gradprism.cli.recipes import load_verb_and_recipe
from gradprism.measurement.task import MeasureTask
from gradprism.prism.analyzer import GradientAnalyzer
from gradprism.runs.integrity import check

pytestmark = pytest.mark.slow  # measures runs several times over

Measure = Callable[..., Run]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows that are measured, in order."""
    rows, analyze = list[int](), GradientAnalyzer.analyze

    def analyze_and_note(self: GradientAnalyzer, data: Any, *arguments: Any, **more: Any) -> Any:
        rows.extend(example.row for example in data)
        return analyze(self, data, *arguments, **more)

    monkeypatch.setattr(GradientAnalyzer, "analyze", analyze_and_note)
    return rows


@pytest.fixture
def measure(tiny_checkpoint: Path, tmp_path: Path) -> Measure:
    def into_run(data: Any = SAMPLE, out: str = "run", **options: Any) -> Run:
        few = {"max_length": 90, "projections": "q", "part_rows": 4}
        return gradprism.spectra(data, tiny_checkpoint, out=tmp_path / out, **few | options)

    return into_run


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("first", "then", "new"),
    [
        ({"limit": 6}, {"limit": 11}, range(6, 11)),  # a part of two rows is completed
        ({"limit": 4}, {"limit": 8}, range(4, 8)),
        ({"rows": "2:5"}, {"rows": "2:9"}, range(5, 9)),
        ({"rows": "2:9", "limit": 3}, {"rows": "2:9"}, range(5, 9)),
    ],
)
def test_a_longer_range_measures_the_new_rows_alone(
    measure: Measure, measured: list[int], first: dict[str, Any], then: dict[str, Any], new: range
) -> None:
    before = measure(**first)
    numbers = before.spectra
    assert numbers.height
    measured.clear()
    extended = measure(**then)
    assert measured == [*new]
    assert extended.is_complete
    assert extended.spectra.head(numbers.height).equals(numbers)
    whole = measure(out="whole", **then)
    assert extended.examples.equals(whole.examples)
    assert extended.record["identity"] == whole.record["identity"]
    assert extended.record["data"]["rows"] == whole.record["data"]["rows"]
    assert extended.record["data"]["fingerprint"] == whole.record["data"]["fingerprint"]
    recipe = yaml.safe_load((extended.path / "recipe.yaml").read_text())
    assert {name: recipe["read"][name] for name in then} == then
    assert check(extended.path).is_whole
    measured.clear()
    measure(**then)
    assert not measured


def test_data_that_have_changed_are_refused_with_more_rows_and_without(measure: Measure, tmp_path: Path) -> None:
    lines = SAMPLE.read_text(encoding="utf-8").splitlines(keepends=True)
    data = tmp_path / "data.jsonl"
    data.write_text("".join(lines[:5]), encoding="utf-8")
    measure(data, limit=3)
    data.write_text("".join(lines[:5]).replace("photosynthesis", "breathing"), encoding="utf-8")
    for limit in (3, 5):
        with pytest.raises(GradPrismError, match="the data: other rows, or rows whose content has changed"):
            measure(data, limit=limit)
    data.write_text("".join(lines[:9]), encoding="utf-8")
    assert measure(data, limit=9).counts.done == 9


def test_fewer_rows_and_other_settings_are_refused_by_their_options(measure: Measure) -> None:
    measure(limit=6)
    with pytest.raises(GradPrismError) as refused:
        measure(limit=3)
    assert "holds 6 rows, and fewer are asked for now:\n  --limit 6 (now 3)\n" in str(refused.value)
    with pytest.raises(GradPrismError) as refused:
        measure(limit=9, max_length=80)
    assert "  --limit 6 (now 9)\n  --max-length 90 (now 80)\n" in str(refused.value)
    with pytest.raises(GradPrismError, match=r"no --rows \(now --rows 1:9\)"):
        measure(limit=8, rows="1:9")
    assert measure(limit=6).is_complete


def test_a_kill_in_between_loses_the_new_rows_alone(
    measure: Measure, measured: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = measure(limit=6).spectra
    with monkeypatch.context() as patched:
        patched.setattr(MeasureTask, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            measure(limit=11)
    left = open_run(tmp_path / "run")
    assert (left.counts.done, left.counts.rows) == (6, 11)
    assert left.spectra.equals(kept)
    measured.clear()
    assert measure(limit=11).is_complete
    assert measured == [6, 7, 8, 9, 10]


def test_failed_rows_are_kept_unless_they_are_retried(
    measure: Measure, measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(MeasureTask, "run", lambda self, examples, _: self.failed(examples, "made up"))
        measure(limit=2)
    measured.clear()
    assert measure(limit=4).examples["status"].to_list() == ["failed", "failed", "ok", "ok"]
    assert measured == [2, 3]
    assert measure(limit=5, retry_failed=True).counts.failed == 0


def test_scores_of_the_first_rows_stay_and_go_on(measure: Measure, tiny_checkpoint: Path) -> None:
    run = measure(limit=3)
    gradprism.score(metric="length", out=run.path)
    extended = measure(limit=7)
    assert extended.scores("length").height == 3
    assert not extended.score_record("length")["complete"]
    scored = gradprism.score(metric="length", out=run.path)
    assert scored.scores("length")["row"].to_list() == [*range(7)]
    assert check(run.path).is_whole


def test_the_command_extends_and_its_recipe_replays(tiny_checkpoint: Path, tmp_path: Path) -> None:
    words = ["spectra", SAMPLE, "-m", tiny_checkpoint, "-o", tmp_path / "run", "--max-length", 90, "--json"]
    assert command(*words, "-n", 3).returncode == 0
    done = command(*words, "-n", 5)
    assert json.loads(done.stdout)["counts"]["done"] == 5
    assert load_verb_and_recipe(tmp_path / "run" / "recipe.yaml")[1].read.limit == 5  # type: ignore[attr-defined]
    assert command("run", tmp_path / "run" / "recipe.yaml", "-q").returncode == 0
