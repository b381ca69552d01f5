"""The main job from Python: objects in, an opened run out."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.command import run
from tests.conftest import SAMPLE

import gradprism
from gradprism import GradPrismError
from gradprism.measurement.settings import SpectraRecipe
from gradprism.measurement.task import MeasureTask
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.text import text_identity
from gradprism.prism import analyzer as analyzer_module
from gradprism.prism import measures as measures_module
from gradprism.prism.measures import Measure, known_measures
from gradprism.runs import parts as parts_module


def test_objects_in_memory(make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "one", "completion": "two"}, {"id": "b", "prompt": "x", "completion": "y z"}]
    made = gradprism.spectra(
        rows, make_model("qwen3"), tokenizer=tokenizer, out=tmp_path / "run", projections=("v", "q")
    )
    assert made.examples["example_id"].to_list() == ["a", "b"]
    assert made.projections == ("v", "q")
    assert "qwen3" in made.record["model"]["class"].lower()


def test_without_out_a_new_folder_is_made(tiny_checkpoint: Path) -> None:
    first = gradprism.spectra([{"prompt": "a", "completion": "b"}], tiny_checkpoint)
    second = gradprism.spectra([{"prompt": "a", "completion": "b"}], tiny_checkpoint)
    assert first.path != second.path


def test_the_same_call_does_no_work_twice(tiny_checkpoint: Path, tmp_path: Path) -> None:
    for _ in range(2):
        made = gradprism.spectra(SAMPLE, tiny_checkpoint, out=tmp_path / "run", limit=3, max_length=50)
    assert len(made.record["sessions"]) == 1
    assert made.record["complete"]


def test_more_tokens_than_positions_are_never_asked_for(tiny_checkpoint: Path, tmp_path: Path) -> None:
    long = [{"prompt": "a", "completion": "many words " * 400}]
    made = gradprism.spectra(long, tiny_checkpoint, out=tmp_path / "run", max_length=10_000)
    assert made.examples["n_tokens"].to_list() == [512]
    assert made.examples["truncated"].to_list() == [True]
    assert made.record["identity"]["text.max_length"] == 512


def test_from_scratch_differs_from_trained(tiny_checkpoint: Path, tmp_path: Path) -> None:
    trained, scratch = (
        gradprism.spectra(SAMPLE, tiny_checkpoint, out=tmp_path / str(flag), limit=2, from_scratch=flag, max_length=200)
        for flag in (False, True)
    )
    assert trained.spectra["nuclear_norm"].sum() != pytest.approx(scratch.spectra["nuclear_norm"].sum(), rel=0.01)


def test_a_model_object_without_tokenizer_is_refused(make_model: Callable[..., Any]) -> None:
    with pytest.raises(GradPrismError, match="together with its tokenizer"):
        gradprism.spectra([{"prompt": "a", "completion": "b"}], make_model("llama"))


Again = Callable[..., gradprism.Run]


@pytest.fixture
def with_failed_rows(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Again:
    """A run of ten rows in parts of four, of which the longer ones have failed; repeats it, by now without failures."""
    real = analyzer_module.measure_batch

    def broken(head: Any, projections: Any, encoded: Any, *rest: Any) -> Any:
        if max(example.n_tokens for example in encoded) > 150:
            raise RuntimeError("no kernel for this length")
        return real(head, projections, encoded, *rest)

    def again(**options: Any) -> gradprism.Run:
        return gradprism.spectra(SAMPLE, tiny_checkpoint, out=tmp_path / "run", limit=10, part_rows=4, **options)

    with monkeypatch.context() as patch:
        patch.setattr(analyzer_module, "measure_batch", broken)
        first = again()
    assert 0 < first.counts.failed < 10
    return again


def assert_same_tables(found: gradprism.Run, expected: gradprism.Run) -> None:
    for table in ("examples", "spectra", "similarity"):
        frames = [run.scan(table).collect() for run in (found, expected)]
        assert_frame_equal(*frames, rel_tol=1e-5, abs_tol=1e-7)


@pytest.fixture
def without_failures(tiny_checkpoint: Path, tmp_path: Path) -> gradprism.Run:
    return gradprism.spectra(SAMPLE, tiny_checkpoint, out=tmp_path / "clean", limit=10, part_rows=4)


@pytest.mark.slow  # several runs of a model
def test_rows_that_failed_are_measured_again_when_asked(
    with_failed_rows: Again, without_failures: gradprism.Run
) -> None:
    first = with_failed_rows()  # without being asked: nothing
    assert first.counts.failed
    kept = first.examples.filter(status="ok")
    second = with_failed_rows(retry_failed=True)
    assert_same_tables(second, without_failures)
    assert second.examples.filter(pl.col("row").is_in(kept["row"].to_list())).equals(kept)
    assert second.record["counts"]["failed"] == 0
    assert second.record["sessions"][-1]["examples"] == first.counts.failed
    third = with_failed_rows(retry_failed=True)
    assert len(third.record["sessions"]) == len(second.record["sessions"])


@pytest.mark.slow  # several runs of a model
def test_killed_while_a_part_is_published_again_it_is_made_whole_the_next_time(
    with_failed_rows: Again, without_failures: gradprism.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spectra are replaced before the examples: rows that still count as failed have some, and get no second ones."""
    real = parts_module.write_whole

    def killed(path: Path, content: bytes, **options: Any) -> None:
        if path.parent.name == "examples":
            raise KeyboardInterrupt
        real(path, content, **options)

    with monkeypatch.context() as patch:
        patch.setattr(parts_module, "write_whole", killed)
        with pytest.raises(KeyboardInterrupt):
            with_failed_rows(retry_failed=True)
    assert_same_tables(with_failed_rows(retry_failed=True), without_failures)


@pytest.mark.slow  # several runs of a model
def test_a_damaged_part_is_measured_again_with_the_failed_rows(
    with_failed_rows: Again, without_failures: gradprism.Run, tmp_path: Path
) -> None:
    part = tmp_path / "run" / "examples" / "part-00001.parquet"
    part.write_bytes(b"PAR1")
    assert_same_tables(with_failed_rows(retry_failed=True), without_failures)
    assert (tmp_path / "run" / "damaged" / "examples" / part.name).read_bytes() == b"PAR1"


@pytest.mark.slow  # several runs of a model
def test_the_command_measures_failed_rows_again(
    with_failed_rows: Again, without_failures: gradprism.Run, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    options = ("--model", tiny_checkpoint, "--limit", 10, "--part-rows", 4, "--out", tmp_path / "run")
    finished = run("spectra", SAMPLE, *options, "--retry-failed", "--quiet")
    assert finished.returncode == 0, finished.stderr
    assert_same_tables(gradprism.open_run(tmp_path / "run"), without_failures)


@pytest.mark.slow  # the real model on a few rows of the embedded sample: what `make demo` does
def test_the_demo_path_on_a_few_rows(tmp_path: Path) -> None:
    done = run(
        "spectra", SAMPLE, "--model", "smollm2-135m", "--out", tmp_path / "run", "--limit", 8, "--by", "kind",
        "--max-length", 160,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for words in (
        "8 ok, 0 skipped, 0 failed = 8",
        "30 layers",
        "Effective rank by kind",
        "careless",
        "length-controlled",
    ):
        assert words in done.stdout
    made = gradprism.open_run(tmp_path / "run")
    assert made.spectra.height == 8 * 30 * 4
    assert made.spectra["effective_rank"].min() >= 1


def test_a_call_that_is_refused_leaves_no_temporary_folder() -> None:
    before = list(Path(tempfile.gettempdir()).iterdir())
    with pytest.raises(GradPrismError, match="no-such-model"):
        gradprism.spectra([{"prompt": "a", "response": "b"}], "./no-such-model")
    assert list(Path(tempfile.gettempdir()).iterdir()) == before


@pytest.fixture
def other_measures(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the built-in measures what another version of gradprism may have: a sixth stored one, and one less."""
    own = [measure for measure in measures_module._OWN if measure.name != "stable_rank"]
    last = Measure("last", "smallest singular value", function=lambda spectra: spectra.amin(-1))
    monkeypatch.setattr(measures_module, "_OWN", (*own, last))
    known_measures.cache_clear()
    yield
    monkeypatch.undo()
    known_measures.cache_clear()


def test_a_run_of_other_built_in_measures_is_refused(
    tiny_checkpoint: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    gradprism.spectra(SAMPLE, tiny_checkpoint, out=tmp_path / "run", limit=1, max_length=50)
    request.getfixturevalue("other_measures")
    with pytest.raises(GradPrismError, match=r"measures: none \(now last, stable_rank\)"):
        gradprism.spectra(SAMPLE, tiny_checkpoint, out=tmp_path / "run", limit=1, max_length=50)


def test_a_machine_without_the_measures_of_the_run_is_refused(tiny_checkpoint: Path) -> None:
    recipe = SpectraRecipe.from_options((str(SAMPLE),), "run", model=str(tiny_checkpoint), engine="ray")
    source = find_checkpoint(recipe.checkpoint)
    identity = {"model fingerprint": source.fingerprint(source.load_config()), "measures": ["entropy_share"]}
    task = MeasureTask(recipe, identity | text_identity(recipe.text))
    with pytest.raises(GradPrismError, match=r"measures: begun with \['entropy_share'\], here None"):
        task.load(lambda text: None)
