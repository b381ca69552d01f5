"""The main job from Python: objects in, an opened run out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import SAMPLE

import gradprism
from gradprism import GradPrismError


def test_objects_in_memory(make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> None:
    rows = [{"id": "a", "prompt": "one", "completion": "two"}, {"id": "b", "prompt": "x", "completion": "y z"}]
    run = gradprism.spectra(
        rows, make_model("qwen3"), tokenizer=tokenizer, out=tmp_path / "run", projections=("v", "q")
    )
    assert run.examples["example_id"].to_list() == ["a", "b"]
    assert run.projections == ("v", "q")
    assert "qwen3" in run.record["model"]["class"].lower()


def test_without_out_a_new_folder_is_made(tiny_checkpoint: Path) -> None:
    first = gradprism.spectra([{"prompt": "a", "completion": "b"}], tiny_checkpoint)
    second = gradprism.spectra([{"prompt": "a", "completion": "b"}], tiny_checkpoint)
    assert first.path != second.path


def test_the_same_call_does_no_work_twice(tiny_checkpoint: Path, tmp_path: Path) -> None:
    for _ in range(2):
        run = gradprism.spectra(SAMPLE, tiny_checkpoint, out=tmp_path / "run", limit=3, max_length=50)
    assert len(run.record["sessions"]) == 1
    assert run.record["complete"]


def test_more_tokens_than_positions_are_never_asked_for(tiny_checkpoint: Path, tmp_path: Path) -> None:
    long = [{"prompt": "a", "completion": "many words " * 400}]
    run = gradprism.spectra(long, tiny_checkpoint, out=tmp_path / "run", max_length=10_000)
    assert run.examples["n_tokens"].to_list() == [512]
    assert run.examples["truncated"].to_list() == [True]
    assert run.record["identity"]["text.max_length"] == 512


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
    run = gradprism.spectra(SAMPLE, "smollm2-135m", out=tmp_path / "run", limit=8)
    assert run.counts.ok == 8
    assert run.scan("spectra").collect().height == 8 * 30 * 4
    assert run.spectra["effective_rank"].min() >= 1
