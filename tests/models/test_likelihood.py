"""The response loss and its gradient, block by block, against autograd through the whole model."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests import oracle
from torch.nn.functional import cross_entropy

from gradprism.data.encode import Encoded
from gradprism.models import likelihood as loss_module
from gradprism.models.likelihood import Batch, ResponseHead, _in_place_nll, _Nll, _product, nll_by_blocks


@pytest.mark.parametrize(("block", "smallest"), [(1, 1), (1, 3), (1 << 23, 64)])
@pytest.mark.parametrize("bias", [False, True])
def test_blocks_of_any_size_equal_autograd(
    block: int, smallest: int, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_module, "_BLOCK", block)
    monkeypatch.setattr(loss_module, "_SMALLEST_BLOCK", smallest)
    torch.manual_seed(0)
    layer, hidden = torch.nn.Linear(12, 50, bias=bias), torch.randn(11, 12, requires_grad=True)
    targets = torch.randint(50, (11,))
    expected = cross_entropy(layer(hidden), targets, reduction="none")
    (gradient,) = torch.autograd.grad(expected.sum(), hidden)
    nll, found = nll_by_blocks(hidden.detach(), targets, layer)
    torch.testing.assert_close(nll, expected.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found, gradient, rtol=1e-5, atol=1e-6)


def truth(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses and the gradient of their sum in the logits, fp64."""
    logits = logits.detach().double().requires_grad_(True)
    nll = cross_entropy(logits, targets, reduction="none")
    (gradient,) = torch.autograd.grad(nll.sum(), logits)
    return nll.detach(), gradient


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest relative error of a row."""
    error = torch.linalg.vector_norm(found.double() - expected, dim=-1)
    return float((error / torch.linalg.vector_norm(expected, dim=-1)).max())


@pytest.mark.parametrize("way", ["in blocks", "through autograd"])
def test_many_columns_cost_no_digits(way: str) -> None:
    """49,152 of them; torch's fp32 log_softmax is 1e-5 off, and a probability near 1 leaves nothing of 1 - p."""
    torch.manual_seed(0)
    logits, targets = 2 * torch.randn(6, 49152) + 20, torch.randint(49152, (6,))
    logits[3:, :] = torch.where(torch.arange(49152) == targets[3:, None], 45.0, logits[3:])
    expected, of_logits = truth(logits, targets)
    if way == "in blocks":
        gradient = logits.clone()
        nll = _in_place_nll(gradient, targets[:, None])
    else:
        leaf = logits.clone().requires_grad_(True)
        nll = _Nll.apply(leaf, targets)
        (gradient,) = torch.autograd.grad(nll.sum(), leaf)
    assert relative(nll[:, None].detach(), expected[:, None]) < 1e-6
    assert relative(gradient, of_logits) < 1e-6
    assert gradient.double().sum(1).abs().max() < 1e-6


@pytest.mark.parametrize("n", [1, 2, 3, 5, 40])
@pytest.mark.parametrize("vocabulary", [49152, 50257, 700])
def test_the_gradient_of_a_few_tokens_is_added_up_exactly(n: int, vocabulary: int) -> None:
    """The columns' common mean cancels between the target and the others: a plain fp32 product is 1e-4 off."""
    torch.manual_seed(0)
    deltas = torch.softmax(torch.randn(n, vocabulary), 1)
    deltas[torch.arange(n), torch.randint(vocabulary, (n,))] -= 1
    weight = 0.1 * torch.randn(vocabulary, 24) + 1
    assert relative(_product(deltas, weight), deltas.double() @ weight.double()) < 2e-5


def test_a_capped_model_sends_back_the_same_gradient_as_fp64(make_model: Callable[..., Any]) -> None:
    model = make_model("gemma3")
    head, batch = ResponseHead(model), Batch.of([Encoded((5, 6, 7), (False, True, True), False)], torch.device("cpu"))
    head._gives_logits = False
    weight = model.model.layers[1].self_attn.k_proj.weight
    head.loss(batch).backward()
    name = "model.layers.1.self_attn.k_proj.weight"
    expected = oracle.TrueModel(model).gradients((5, 6, 7), (False, True, True), [name])[name]
    assert relative(weight.grad.flatten(), 2 * torch.tensor(expected).flatten()) < 1e-5


def test_a_model_that_caps_its_logits_is_noticed_once(make_model: Callable[..., Any]) -> None:
    model = make_model("gemma3")
    head, batch = ResponseHead(model), Batch.of([Encoded((5, 6, 7), (False, True, True), False)], torch.device("cpu"))
    with pytest.raises(loss_module.LogitsChangedError):
        head.loss(batch)
    assert head.loss(batch).means[0] == pytest.approx(oracle.TrueModel(model).loss((5, 6, 7), 1), rel=1e-6)
