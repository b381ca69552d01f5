"""Cosine of a row's gradients in two models, from stored sketches, against autograd; and why there may be none."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.made_groups import given_run
from tests.made_sketches import sketched_run
from tests.oracle import weight_gradients

import gradprism
from gradprism.comparison.row_cosines import row_cosines, why_no_cosines
from gradprism.comparison.row_pairs import pair_rows

ROWS = [{"prompt": f"Question {i}?", "response": f"An answer of {i} words. " * (i % 4 + 1)} for i in range(12)]
DIMENSION = 256


def trained(model: Any, step: float) -> Any:
    """A copy of the model, moved by `step` of each weight's size."""
    import torch

    other, random = copy.deepcopy(model), torch.Generator().manual_seed(1)
    for weight in other.parameters():
        weight.data += step * weight.data.std() * torch.randn(weight.shape, generator=random)
    return other


@pytest.mark.slow  # half a second or more
@pytest.mark.parametrize("step", [0.02, 0.3])
def test_estimates_are_as_far_from_autograd_as_they_say(
    make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path, step: float
) -> None:
    before = make_model("llama")
    after = trained(before, step)
    measured = ("q_proj", "k_proj", "v_proj", "o_proj")
    weights = [name for name, _ in before.named_parameters() if name.split(".")[-2] in measured]
    exact, errors = [], []
    for seed in range(3):
        runs = [
            gradprism.spectra(ROWS, model, tokenizer=tokenizer, out=tmp_path / f"{name}-{seed}", sketch=DIMENSION,
                              sketch_seed=seed, tokens=True)
            for name, model in (("after", after), ("before", before))
        ]  # fmt: skip
        assert why_no_cosines(*runs) is None
        pairs = pair_rows(runs[0], runs[1], ("after", "before"))
        if not exact:
            table = runs[0].tokens.sort("row")
            for ids, loss in zip(table["token_ids"].to_list(), table["loss"].to_list(), strict=True):
                mask = [False, *(each is not None for each in loss[1:])]
                grads = [weight_gradients(model, ids, mask, weights) for model in (after, before)]
                one, other = (np.concatenate([each[name].ravel() for name in weights]) for each in grads)
                exact.append(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
        cosines, error = row_cosines(runs[0], runs[1], pairs)
        errors += [*((cosines - np.array(exact)) / error)]
    assert 0.6 < np.sqrt(np.mean(np.square(errors))) < 1.6
    assert abs(np.mean(errors)) < 0.6


def unit(rng: np.random.Generator, n: int) -> np.ndarray:
    values = rng.normal(size=(n, DIMENSION))
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True))


def texts(n: int) -> dict[str, Any]:
    return {"content_hash": [f"text {row}" for row in range(n)]}


def test_rows_are_looked_up_by_number_and_a_zero_gradient_has_none(tmp_path: Path) -> None:
    sketches = unit(np.random.default_rng(0), 6)
    turned = sketches[::-1].copy()
    turned[2] = np.nan
    same = {"found": {"tokenizer": "the same"}}
    before = sketched_run(tmp_path / "before", sketches, examples=texts(6), prompt_tokens=[5] * 6, **same)
    after = sketched_run(tmp_path / "after", turned, prompt_tokens=[5] * 6, **same,
                         examples={"content_hash": texts(6)["content_hash"][::-1]})  # fmt: skip
    found = gradprism.compare(before=before, after=after, paired=True, resamples=499)
    assert found.paired is not None
    pairs = found.paired.pairs.sort("row_second")
    assert pairs["cosine"].is_null().to_list() == [row == 3 for row in range(6)]
    np.testing.assert_allclose(pairs["cosine"].drop_nulls(), 1.0, atol=1e-6)
    assert found.about["cosine"]["mean"] == pytest.approx(1.0, abs=1e-6)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    given = {"examples": texts(6), "prompt_tokens": [5] * 6, "found": {"tokenizer": "the same"}}
    bare = given_run(tmp_path / "bare", np.ones((6, 1, 1)), np.full(6, 50), **given)  # type: ignore[arg-type]
    made = sketched_run(tmp_path / "made", unit(rng, 6), **given)  # type: ignore[arg-type]
    other = sketched_run(tmp_path / "other", unit(rng, 6), identity={"prism.sketch_seed": 1}, **given)  # type: ignore[arg-type]
    assert "--sketch 4096" in str(why_no_cosines(bare, made))
    assert "another dimension or seed" in str(why_no_cosines(made, other))
    found = gradprism.compare(before=bare, after=made, paired=True, resamples=499)
    assert "--sketch 4096" in found.about["cosine"]["in_words"]
    assert found.paired is not None
    assert found.paired.pairs["cosine"].null_count() == 6


def test_models_of_other_shapes_have_no_cosine(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    runs = [sketched_run(tmp_path / str(layers), unit(rng, 4), layers=layers) for layers in (1, 2)]
    assert "differ in layers, projections or the shapes" in str(why_no_cosines(*runs))
