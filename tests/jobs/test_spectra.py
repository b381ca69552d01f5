"""The main job from Python: objects in, an opened run out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.command import run
from tests.conftest import SAMPLE

import gradprism
from gradprism import GradPrismError


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


@pytest.mark.slow  # the real model on a few rows of the embedded sample: what `make demo` does
def test_the_demo_path_on_a_few_rows(tmp_path: Path) -> None:
    done = run(
        "spectra", SAMPLE, "--model", "smollm2-135m", "--out", tmp_path / "run", "--limit", 8, "--by", "kind"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for words in (
        "8 ok, 0 skipped, 0 failed = 8",
        "30 layers",
        "Effective rank by kind",
        "careless",
        "at equal length",
    ):
        assert words in done.stdout
    made = gradprism.open_run(tmp_path / "run")
    assert made.spectra.height == 8 * 30 * 4
    assert made.spectra["effective_rank"].min() >= 1
