"""What a trial pass finds out: idle projections, models that look ahead, models that cannot read text."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.families import FAMILIES
from tests.families.family import SIZES, examples
from torch import nn

from gradprism import GradientAnalyzer, GradPrismError
from gradprism.data.encode import Encoded
from gradprism.data.example import Example, Turn


def test_layers_that_read_images_are_left_out_with_a_word(tokenizer: Any) -> None:
    """Layer 1 has cross-attention alone, and without an image Mllama passes it by, MLP and all."""
    mllama = next(family for family in FAMILIES if family.name == "mllama").make()
    found = GradientAnalyzer(mllama, tokenizer, projections="q,down").found
    assert (found.layers, found.skipped_layers) == ((0, 2), (1,))
    assert found.notes == ("No q in layer 1.", "Not used when the model reads text: down of layer 1.")


def test_an_encoder_is_refused(tokenizer: Any) -> None:
    import transformers as hf

    config = hf.RoFormerConfig(**SIZES, is_decoder=False)
    torch.manual_seed(0)
    model = hf.RoFormerForCausalLM(config).eval()
    with pytest.raises(GradPrismError, match="looks ahead"):
        GradientAnalyzer(model, tokenizer, projections="q,k,v")


@pytest.mark.parametrize("flat", [False, True])
def test_tokens_before_examples_are_refused(flat: bool, make_model: Callable[..., Any], tokenizer: Any) -> None:
    """As ChatGLM 2 computes, by code of its own; a batch as long as it is wide would be read wrongly in silence."""

    class SequenceFirst(nn.Module):
        def __init__(self, inner: nn.Module):
            super().__init__()
            self.gate_proj, self.up_proj, self.down_proj = inner.gate_proj, inner.up_proj, inner.down_proj

        def forward(self, states: torch.Tensor) -> torch.Tensor:
            turned = states.transpose(0, 1)
            rows = turned.flatten(0, 1) if flat else turned
            rows = self.down_proj(nn.functional.silu(self.gate_proj(rows)) * self.up_proj(rows))
            return rows.view_as(turned).transpose(0, 1)

    model = make_model("llama")
    assert GradientAnalyzer(model, tokenizer, projections="up").found.layers == (0, 1, 2, 3)
    model.model.layers[1].mlp = SequenceFirst(model.model.layers[1].mlp)
    with pytest.raises(GradPrismError, match=r"layers\.1\.mlp\.up_proj .*in another order"):
        GradientAnalyzer(model, tokenizer, projections="up")


def test_a_model_that_cannot_read_text_is_refused(make_model: Callable[..., Any], tokenizer: Any) -> None:
    model = make_model("llama")
    model.model.embed_tokens = nn.Embedding(1, 32)
    with pytest.raises(GradPrismError, match="cannot read a text of three tokens: IndexError"):
        GradientAnalyzer(model, tokenizer)


@pytest.mark.parametrize("error", [ImportError("mamba_ssm is not there"), AssertionError("no kernel")])
def test_code_that_lacks_its_kernels_is_refused(
    error: Exception, make_model: Callable[..., Any], tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    model = make_model("llama")
    monkeypatch.setattr(model.model.layers[1].mlp, "forward", fail)
    with pytest.raises(GradPrismError, match=f"cannot read a text of three tokens: {type(error).__name__}: {error}"):
        GradientAnalyzer(model, tokenizer)


def test_a_projection_called_by_keyword(make_model: Callable[..., Any], tokenizer: Any) -> None:
    class ByKeyword(nn.Linear):
        def __call__(self, inputs: torch.Tensor) -> Any:
            return super().__call__(input=inputs)

    encoded = [(Example(0, "0", (Turn("user", "a"), Turn("assistant", "b"))), Encoded(*examples()[0], False))]
    model = make_model("llama")
    before = GradientAnalyzer(model, tokenizer).analyze_encoded(encoded).spectra
    for layer in model.model.layers:
        layer.self_attn.q_proj.__class__ = ByKeyword
    assert GradientAnalyzer(model, tokenizer).analyze_encoded(encoded).spectra.equals(before)


def test_weights_that_layers_share_are_refused(make_model: Callable[..., Any], tokenizer: Any) -> None:
    model = make_model("llama")
    model.model.layers[3].self_attn.q_proj.weight = model.model.layers[0].self_attn.q_proj.weight
    with pytest.raises(GradPrismError, match=r"layers\.0\.self_attn\.q_proj and .*layers\.3.* are one weight"):
        GradientAnalyzer(model, tokenizer)
    assert GradientAnalyzer(model, tokenizer, projections="k").found.names == ("k",)
