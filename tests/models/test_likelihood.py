"""The response loss and its gradient, block by block, against autograd through the whole model."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from gradprism.data.encode import Encoded
from gradprism.models import likelihood as loss_module
from gradprism.models.likelihood import Batch, ResponseHead, _by_blocks


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
    nll, found = _by_blocks(hidden.detach(), targets, layer)
    torch.testing.assert_close(nll, expected.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found, gradient, rtol=1e-5, atol=1e-6)


def test_a_model_that_caps_its_logits_is_noticed_once(make_model: Callable[..., Any]) -> None:
    model = make_model("gemma3")
    head, batch = ResponseHead(model), Batch.of([Encoded((5, 6, 7), (False, True, True), False)], torch.device("cpu"))
    with pytest.raises(loss_module.LogitsChangedError):
        head.loss(batch)
    labels = torch.tensor([[-100, 6, 7]])
    assert head.loss(batch).means[0] == pytest.approx(model(input_ids=batch.ids, labels=labels).loss.item(), rel=1e-5)
