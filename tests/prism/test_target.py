"""Influence on a target against autograd in fp64: inner products, cosines and shares of whole gradients."""

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.families import FAMILIES
from tests.families.family import Family, examples, true_gradients

from gradprism import GradientAnalyzer, GradPrismError
from gradprism.data.encode import Encoded
from gradprism.data.example import Example, Turn
from gradprism.metrics.tables import SCORES
from gradprism.prism.tables import INFLUENCE
from gradprism.prism.target import leading_vectors

TURNS = (Turn("user", "a"), Turn("assistant", "b"))
NAMES = ("llama", "phi3", "gpt2", "falcon", "mixtral")  # separate, fused, transposed, grouped, a mixture of experts
CHOSEN = [family for family in FAMILIES if family.name in NAMES]
RANK = 4
TOLERANCE = 1e-4  # of the product of the norms


def encoded(order: tuple[int, ...] = (0, 1)) -> list[tuple[Example, Encoded]]:
    made = examples()
    return [(Example(row, str(row), TURNS), Encoded(*made[row], False)) for row in order]


def total(gradients: list[np.ndarray], others: list[np.ndarray]) -> float:
    return math.fsum(float((one * other).sum()) for one, other in zip(gradients, others, strict=True))


def check(found: Any, gradients: list[np.ndarray], target: list[np.ndarray]) -> None:
    """One row of numbers, of one projection or of several together, against the matrices themselves."""
    norm, size = math.sqrt(total(gradients, gradients)), math.sqrt(total(target, target))
    inner = total(gradients, target)
    assert found["inner_product"] == pytest.approx(inner, abs=TOLERANCE * norm * size)
    assert found.get("cosine", found.get("value")) == pytest.approx(inner / norm / size, abs=TOLERANCE)
    parts = np.zeros(3)
    for gradient, mean in zip(gradients, target, strict=True):
        left, _, right = np.linalg.svd(mean)
        u, v = left[:, :RANK], right[:RANK].T
        parts += [np.sum(each**2) for each in (u.T @ gradient, gradient @ v, u.T @ gradient @ v)]
    for name, part in zip(("left_share", "right_share", "share"), parts / norm**2, strict=True):
        assert found[name] == pytest.approx(part, abs=3e-4), name


@pytest.mark.parametrize("family", CHOSEN, ids=lambda family: family.name)
@pytest.mark.parametrize("mean", ["plain", "unit"])
def test_influence_equals_autograd_alone_and_in_a_batch(family: Family, mean: Any, tokenizer: Any) -> None:
    model, names = family.make(), list(family.attention)
    in_truth = family.in_truth(model)
    truth = [true_gradients(family, in_truth, *item) for item in examples()]
    keys = [key for key in truth[0] if key[0] in names]
    norms = [math.sqrt(total(*[[each[key] for key in keys]] * 2)) for each in truth]
    weights = [1 / norm if mean == "unit" else 1.0 for norm in norms]
    means = {key: sum(w * each[key] for w, each in zip(weights, truth, strict=True)) / 2 for key in keys}
    for batch_tokens in (1, 10_000):
        analyzer = GradientAnalyzer(model, tokenizer, projections=names, batch_tokens=batch_tokens)
        target = analyzer.target_encoded("both", encoded(), mean, RANK)
        assert target.rows == 2
        assert target.norm == pytest.approx(math.sqrt(total(*[list(means.values())] * 2)), rel=TOLERANCE)
        table = analyzer.analyze_encoded(encoded(), targets=[target]).influence["both"]
        assert table.schema == INFLUENCE
        for row, gradients in zip(table.iter_rows(named=True), truth, strict=True):
            assert (row["status"], row["reason"]) == ("ok", None)
            check(row, [gradients[key] for key in keys], [means[key] for key in keys])
            assert len(row["layers"]) == len(keys)
            for single in row["layers"]:
                key = single["projection"], single["layer"]
                check(single, [gradients[key]], [means[key]])


def test_scores_share_the_columns_of_every_metric() -> None:
    assert list(INFLUENCE.items())[: len(SCORES)] == list(SCORES.items())


@pytest.fixture(scope="module")
def analyzer(make_model: Any, tokenizer: Any) -> GradientAnalyzer:
    return GradientAnalyzer(make_model("llama"), tokenizer, max_length=64)


ROWS = [{"prompt": f"Question {i}", "response": f"Answer number {i}. " * (i + 1)} for i in range(4)]


def test_without_spectra_it_is_the_same(analyzer: GradientAnalyzer) -> None:
    targets = [analyzer.target("one", ROWS[:1]), analyzer.target("rest", ROWS[1:])]
    alone, beside = analyzer.influence(ROWS, targets), analyzer.analyze(ROWS, targets=targets).influence
    for name, table in alone.items():
        assert (table["value"] - beside[name]["value"]).abs().max() < 1e-6
        assert table.select("example_id", "row", "status").equals(beside[name].select("example_id", "row", "status"))
    assert alone["one"]["value"][0] == pytest.approx(1.0, abs=1e-6)  # a row is what it is
    assert alone["one"]["left_share"][0] <= 1 + 1e-6


def test_without_vectors_there_are_no_shares(analyzer: GradientAnalyzer) -> None:
    targets = [analyzer.target("with", ROWS), analyzer.target("without", ROWS, rank=0)]
    found = analyzer.influence(ROWS, targets)
    assert found["without"]["value"].equals(found["with"]["value"])
    assert found["without"]["share"].null_count() == len(ROWS)
    assert found["without"]["layers"].explode().struct.field("left_share").null_count() > 0


def test_a_row_that_cannot_be_read_has_no_influence_and_a_reason(analyzer: GradientAnalyzer) -> None:
    rows = [*ROWS[:1], {"prompt": "Question", "response": ""}]
    found = analyzer.analyze(rows, targets=[analyzer.target("t", ROWS)]).influence["t"]
    assert found["status"].to_list() == ["ok", "skipped"]
    assert found["value"].is_null().to_list() == [False, True]
    assert found["reason"][1]
    assert analyzer.target("half", rows).rows == 1


def test_a_target_without_a_usable_row_is_refused_by_name(analyzer: GradientAnalyzer) -> None:
    with pytest.raises(GradPrismError, match=r"Target gsm: none of its 1 rows has a gradient: .*empty"):
        analyzer.target("gsm", [{"prompt": "Question", "response": ""}])


def test_a_target_made_otherwise_is_refused_by_name(make_model: Any, tokenizer: Any) -> None:
    model = make_model("llama")
    analyzer = GradientAnalyzer(model, tokenizer, max_length=64)
    target = analyzer.target("t", ROWS)
    with pytest.raises(GradPrismError, match=r"Target t has 16 gradients of k, o, q, v; measured here are 4 of q"):
        GradientAnalyzer(model, tokenizer, max_length=64, projections="q").analyze(ROWS, targets=[target])
    with pytest.raises(GradPrismError, match="Target t was made by another model"):
        GradientAnalyzer(make_model("llama"), tokenizer, max_length=64).influence(ROWS, [target])
    turns = [{"role": "user", "content": "Question"}, {"role": "assistant", "content": "Answer."}]
    with pytest.raises(GradPrismError, match="read with the template paper, and these data with chat"):
        analyzer.influence([{"messages": turns}], [target])


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), pytest.param((2500, 2300), marks=pytest.mark.slow)])
def test_leading_vectors_are_those_of_an_svd(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    rank = 3
    factors = [random.normal(size=(side, 5)) * [9, 5, 3, 1, 0.1] for side in shape]
    matrix = factors[0] @ factors[1].T
    state = torch.random.get_rng_state()
    left, right = leading_vectors(torch.from_numpy(matrix), rank)
    assert torch.equal(state, torch.random.get_rng_state())
    q = [np.linalg.qr(factor)[0] for factor in factors]
    u, _, v = np.linalg.svd(q[0].T @ matrix @ q[1])
    for found, true in ((left, q[0] @ u[:, :rank]), (right, q[1] @ v[:rank].T)):
        assert np.linalg.norm(found.numpy() @ found.numpy().T - true @ true.T) < 1e-8


def test_vectors_beyond_the_rank_are_zero() -> None:
    left, right = leading_vectors(torch.outer(torch.arange(4.0), torch.ones(3)), 2)
    assert (left[:, 1].abs().max(), right[:, 1].abs().max()) == (0, 0)
    assert pl.Series(left[:, 0].tolist()).pow(2).sum() == pytest.approx(1)
