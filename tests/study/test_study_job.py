"""A study's steps: their order, what a failed one costs, and that nothing is done twice."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.command import run
from tests.made_studies import ROWS, loaded_study, written_study

import gradprism
from gradprism import open_run
from gradprism.comparison import api as compare
from gradprism.core.errors import DeviceError, GradPrismError
from gradprism.engine.settings import EngineSettings
from gradprism.measurement.settings import SpectraRecipe
from gradprism.models.checkpoints import Checkpoint
from gradprism.models.settings import CheckpointSettings, ExecutionSettings
from gradprism.scoring.settings import ScoreRecipe
from gradprism.study.api import run_recipe
from gradprism.study.done import Done
from gradprism.study.steps import steps_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("undrawn")]  # whole studies


def pool_study(folder: Path, model: Path, **changes: Any) -> Path:
    """A pool of which two scores choose rows, one of them by a reward model that is not there."""
    scores = {
        "size": {"metric": "length", "checkpoint": {"model": str(model)}},
        "best": {"metric": "reward", "reward": {"reward_model": str(folder / "nowhere")}},
    }
    more = {"pools": {"pool": {"data": "pool.jsonl"}}, "scores": scores, "ends": 2}
    path = written_study(folder, model, **more | changes)
    (folder / "pool.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def test_every_step_comes_after_what_it_needs(tiny_checkpoint: Path, tmp_path: Path) -> None:
    steps = steps_of(loaded_study(pool_study(tmp_path, tiny_checkpoint)))
    names = [step.name for step in steps]
    assert len(set(names)) == len(names) == 2 + 2 + 6 + 3 + 3
    for place, step in enumerate(steps):
        assert {*step.needs} <= {*names[:place]}
    high = next(step for step in steps if step.name == "runs/tiny/whole/pool-size-high")
    assert high.needs == ("sets/pool-size",)
    assert next(step for step in steps if step.name == "sets/pool-size").needs == ("pools/pool/scores/size",)


def test_texts_take_the_sets_that_they_name(tiny_checkpoint: Path, tmp_path: Path) -> None:
    texts: dict[str, Any] = {"whole": {}, "some": {"sets": ["lo*"], "rows": 1}}
    names = [step.name for step in steps_of(loaded_study(written_study(tmp_path, tiny_checkpoint, texts=texts)))]
    assert names == [
        "runs/tiny/whole/long", "runs/tiny/whole/short", "runs/tiny/some/long", "comparisons/tiny/whole/length",
        "reports/length.html",
    ]  # fmt: skip


def test_all_of_one_study_is_done_and_done_once(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = written_study(tmp_path, tiny_checkpoint)
    assert not run_recipe(loaded_study(path)).failed
    runs = [tmp_path / "out/runs/tiny/whole" / name for name in ("long", "short")]
    assert [open_run(each).counts.ok for each in runs] == [3, 3]
    assert (tmp_path / "out/comparisons/tiny/whole/length/comparison.json").is_file()
    assert not run_recipe(loaded_study(path)).failed
    assert [len(open_run(each).record["sessions"]) for each in runs] == [1, 1]


def test_a_claim_is_judged_on_a_measure_that_the_study_asks_for(tiny_checkpoint: Path, tmp_path: Path) -> None:
    claim = {"says": "?", "expect": "higher"}
    measures = ("relative_effective_rank", "mad:relative_effective_rank", "leading_share")
    claims = {name.replace(":", "-"): claim | {"measure": name} for name in measures}
    more = {"prism": {"null_draws": 1}, "compare": {"resamples": 199, "measures": "all"}, "claims": claims}
    result = run_recipe(loaded_study(written_study(tmp_path, tiny_checkpoint, **more)))
    assert [each.raw.all for each in result.judged] == [1, 1, 1]
    assert [{*each.table["measure"]} for each in result.judged] == [{name} for name in measures]


def test_a_study_that_is_done_asks_for_nothing(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Neither data nor model are there any more, and no file but those of the outcome is written."""
    model = Path(shutil.copytree(tiny_checkpoint, tmp_path / "model"))
    path = written_study(tmp_path, model)
    first = run_recipe(loaded_study(path))
    made = {file: file.stat().st_mtime_ns for file in _made(tmp_path / "out")}
    assert {file.suffix for file in made} >= {".parquet", ".html", ".json"}
    shutil.rmtree(model)
    for name in ("long", "short"):
        (tmp_path / f"{name}.jsonl").unlink()
    second = run_recipe(loaded_study(path))
    assert not second.failed
    assert second.verdicts.equals(first.verdicts)
    assert {file: file.stat().st_mtime_ns for file in _made(tmp_path / "out")} == made


def _made(out: Path) -> list[Path]:
    return [file for kind in ("runs", "comparisons", "reports") for file in (out / kind).rglob("*") if file.is_file()]


@pytest.mark.exhaustive  # a study of its own
def test_what_was_removed_is_made_again(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = written_study(tmp_path, tiny_checkpoint)
    run_recipe(loaded_study(path))
    comparison, report = tmp_path / "out/comparisons/tiny/whole/length", tmp_path / "out/reports/length.html"
    shutil.rmtree(comparison)
    report.unlink()
    assert not run_recipe(loaded_study(path)).failed
    assert (comparison / "comparison.json").exists()
    assert report.exists()


@pytest.mark.exhaustive  # a study of its own
def test_other_settings_make_a_comparison_again(tiny_checkpoint: Path, tmp_path: Path) -> None:
    study = loaded_study(written_study(tmp_path, tiny_checkpoint))
    run_recipe(study)
    levels = tmp_path / "out/comparisons/tiny/whole/length/levels.parquet"
    before = levels.stat().st_mtime_ns
    run_recipe(study.model_copy(update={"compare": study.compare.model_copy(update={"seed": 7})}))
    assert levels.stat().st_mtime_ns > before


def test_one_model_is_loaded_once(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And gives what a run by itself gives."""
    loaded = list[str]()
    load = Checkpoint.load_model

    def counted(self: Checkpoint, *given: Any) -> Any:
        loaded.append(self.name)
        return load(self, *given)

    monkeypatch.setattr(Checkpoint, "load_model", counted)
    run_recipe(loaded_study(written_study(tmp_path, tiny_checkpoint)))
    assert loaded == [str(tiny_checkpoint)]
    second = tmp_path / "out/runs/tiny/whole/short"
    alone = gradprism.spectra(
        tmp_path / "short.jsonl", tiny_checkpoint, max_length=64, part_rows=2, out=tmp_path / "alone"
    )
    assert open_run(second).spectra.equals(alone.spectra)


def test_another_engine_makes_nothing_again(tiny_checkpoint: Path, tmp_path: Path) -> None:
    study = loaded_study(written_study(tmp_path, tiny_checkpoint))
    run_recipe(study)
    done = Done(tmp_path / "out")
    other = study.model_copy(update={"engine": EngineSettings(engine="ray"), "execution": ExecutionSettings(threads=1)})
    assert all(step in done for step in steps_of(other))


def test_a_model_that_was_trained_on_is_another(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_checkpoint, tmp_path / "model"))
    study = loaded_study(written_study(tmp_path, model))
    run_recipe(study)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"rope_theta": 5000.0}))
    with pytest.raises(GradPrismError, match="other settings or data"):
        run_recipe(study)


def test_reports_are_of_the_models_that_there_are(tiny_checkpoint: Path, tmp_path: Path) -> None:
    models = {"tiny": {"model": str(tiny_checkpoint)}, "gone": {"model": str(tmp_path / "gone")}}
    done = run_recipe(loaded_study(written_study(tmp_path, tiny_checkpoint, models=models)))
    assert "comparisons/gone/whole/length" in done.failed
    assert "reports/length.html" not in done.failed
    assert (tmp_path / "out/reports/length.html").is_file()


def test_changed_data_are_refused_as_ever(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = written_study(tmp_path, tiny_checkpoint)
    run_recipe(loaded_study(path))
    with (tmp_path / "long.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(ROWS[0] | {"id": "one more"}) + "\n")
    with pytest.raises(GradPrismError, match="other settings or data"):
        run_recipe(loaded_study(path))


def test_a_damaged_comparison_costs_itself_alone(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """It is not made anew, since its record is as it was: the page says what to do."""
    sets = {name: {"data": f"{name}.jsonl"} for name in ("long", "short")}
    contrasts = {"length": {"first": "long", "second": "short"}, "again": {"first": "short", "second": "long"}}
    path = written_study(tmp_path, tiny_checkpoint, sets=sets, contrasts=contrasts)
    run_recipe(loaded_study(path))
    (tmp_path / "out/comparisons/tiny/whole/length/levels.parquet").write_bytes(b"nothing")
    found = run_recipe(loaded_study(path))
    assert [each.contrast for each in found.compared] == ["again"]
    assert "damaged" in found.failed["comparisons/tiny/whole/length"]
    assert "damaged" in (tmp_path / "out/README.md").read_text()
    assert not (tmp_path / "out/figures/depth-length.png").exists()
    assert (tmp_path / "out/figures/depth-again.png").exists()


def test_a_hub_is_asked_once_for_what_it_does_not_give(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"tiny": {"model": str(tiny_checkpoint)}, "away": {"model": "nobody/nothing"}}
    asked = list[str]()

    def spectra_of(recipe: SpectraRecipe, *_: Any, **__: Any) -> None:
        asked.append(recipe.checkpoint.model)
        raise GradPrismError(f"Cannot load the model {recipe.checkpoint.model!r}: no network")

    monkeypatch.setattr("gradprism.study.kinds.spectra.run_recipe", spectra_of)
    with pytest.raises(GradPrismError, match="Nothing could be compared"):
        run_recipe(loaded_study(written_study(tmp_path, tiny_checkpoint, models=models)))
    assert asked == [str(tiny_checkpoint)] * 2 + ["nobody/nothing"]


def test_a_study_goes_on_where_it_was_stopped(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = written_study(tmp_path, tiny_checkpoint)
    run_recipe(loaded_study(path))
    folder = tmp_path / "out/runs/tiny/whole/long"
    kept = (folder / "spectra/part-00000.parquet").stat().st_mtime_ns
    (folder / "examples/part-00001.parquet").unlink()  # the last of its part to be published
    run_recipe(loaded_study(path))
    resumed = open_run(folder)
    assert [session["examples"] for session in resumed.record["sessions"]] == [3, 1]
    assert (folder / "spectra/part-00000.parquet").stat().st_mtime_ns == kept


def test_a_failed_step_costs_only_what_needs_it(tiny_checkpoint: Path, tmp_path: Path) -> None:
    done = run_recipe(loaded_study(pool_study(tmp_path, tiny_checkpoint)))
    assert {*done.failed} == {
        "pools/pool/scores/best", "sets/pool-best", "runs/tiny/whole/pool-best-high", "runs/tiny/whole/pool-best-low",
        "comparisons/tiny/whole/pool-best", "reports/pool-best.html",
    }  # fmt: skip
    assert "nowhere" in done.failed["pools/pool/scores/best"]
    assert done.failed["sets/pool-best"] == "it needs pools/pool/scores/best, which has failed"
    highest = [json.loads(text) for text in (tmp_path / "out/sets/pool-size.high.jsonl").read_text().splitlines()]
    assert {row["id"] for row in highest} == {"r4", "r5"}  # the longest
    assert open_run(tmp_path / "out/runs/tiny/whole/pool-size-high").counts.ok == 2


def test_an_error_without_words_is_named(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr("gradprism.study.kinds.compare.run_recipe", hang)
    with pytest.raises(GradPrismError, match="comparisons/tiny/whole/length: TimeoutError"):
        run_recipe(loaded_study(written_study(tmp_path, tiny_checkpoint)))


@pytest.mark.parametrize(("raised", "kept"), [(DeviceError("The device failed"), False), (KeyboardInterrupt(), False),
    (ZeroDivisionError("by zero\nand more"), True)], ids=lambda value: type(value).__name__)  # fmt: skip
def test_a_step_fails_alone_whatever_it_raises(
    raised: BaseException, kept: bool, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = {name: {"data": f"{name}.jsonl"} for name in ("long", "short")}
    contrasts = {"length": {"first": "long", "second": "short"}, "again": {"first": "short", "second": "long"}}
    true_run = compare.run_recipe

    def run_or_raise(recipe: Any) -> Any:
        if recipe.out.endswith("again"):
            raise raised
        return true_run(recipe)

    monkeypatch.setattr("gradprism.study.kinds.compare.run_recipe", run_or_raise)
    loaded = loaded_study(written_study(tmp_path, tiny_checkpoint, sets=sets, contrasts=contrasts))
    if not kept:
        with pytest.raises(type(raised)):
            run_recipe(loaded)
        return
    found = run_recipe(loaded)
    assert found.failed["comparisons/tiny/whole/again"] == "ZeroDivisionError: by zero"
    assert [each.contrast for each in found.compared] == ["length"]


def test_nobody_elses_files_are_removed(tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    mine = [
        out / "reports/notes.txt",
        out / "reports/mine.html",
        out / "figures/claim-notes.md",
        out / "tables/a.csv",
    ]
    old = [out / "figures/claim-before.png", out / "tables/claim-before.csv"]
    for file in [*mine, *old]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("mine", encoding="utf-8")
    (out / "reports/archive").mkdir()
    run_recipe(loaded_study(written_study(tmp_path, tiny_checkpoint)))
    assert all(file.exists() for file in [*mine, out / "reports/archive", out / "reports/length.html"])
    assert not [file for file in old if file.exists()]
    renamed = {"size": {"first": "long", "second": "short"}}
    run_recipe(loaded_study(written_study(tmp_path, tiny_checkpoint, contrasts=renamed)))
    assert {file.name for file in (out / "reports").glob("*.html")} == {"mine.html", "size.html"}


def test_verdicts_as_json(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = written_study(tmp_path, tiny_checkpoint)
    told = json.loads(run("run", path, "--json").stdout)
    assert [each["verdict"] for each in told["verdicts"]]
    assert told["failed"] == {}
    by = run("run", path, "--by", "kind")
    assert (by.returncode, by.stdout) == (2, "")
    assert "--by kind needs a recipe that measures one run" in by.stderr


def test_a_set_that_is_not_there_costs_its_own_runs(tiny_checkpoint: Path, tmp_path: Path) -> None:
    sets = {"long": {"data": "long.jsonl"}, "short": {"data": "short.jsonl"}, "gone": {"data": "gone.jsonl"}}
    done = run("run", written_study(tmp_path, tiny_checkpoint, sets=sets), "-q")
    assert done.returncode == 3
    assert not (tmp_path / "out/runs/tiny/whole/gone").exists()
    assert open_run(tmp_path / "out/runs/tiny/whole/long").counts.ok == 3


def test_scores_are_given_by_the_model_asked_for(tiny_checkpoint: Path, tmp_path: Path) -> None:
    study = loaded_study(pool_study(tmp_path, tiny_checkpoint), models=["smollm2-135m"])
    scores = [step.recipe for step in steps_of(study) if isinstance(step.recipe, ScoreRecipe)]
    assert scores[0].checkpoint == CheckpointSettings(model="smollm2-135m")
