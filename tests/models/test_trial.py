"""What a trial pass finds out: idle projections, models that look ahead, models that cannot read text."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.families import FAMILIES, SIZES
from torch import nn

from gradprism import GradientAnalyzer, GradPrismError


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


def test_a_model_that_cannot_read_text_is_refused(make_model: Callable[..., Any], tokenizer: Any) -> None:
    model = make_model("llama")
    model.model.embed_tokens = nn.Embedding(1, 32)
    with pytest.raises(GradPrismError, match="cannot read a text of two tokens: IndexError"):
        GradientAnalyzer(model, tokenizer)


def test_weights_that_layers_share_are_refused(make_model: Callable[..., Any], tokenizer: Any) -> None:
    model = make_model("llama")
    model.model.layers[3].self_attn.q_proj.weight = model.model.layers[0].self_attn.q_proj.weight
    with pytest.raises(GradPrismError, match=r"layers\.0\.self_attn\.q_proj and .*layers\.3.* are one weight"):
        GradientAnalyzer(model, tokenizer)
    assert GradientAnalyzer(model, tokenizer, projections="k").found.names == ("k",)
