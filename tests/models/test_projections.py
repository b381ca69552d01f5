from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gradprism import GradPrismError
from gradprism.models.projections import find_projections


def test_all_layers_in_the_order_asked_for(make_model: Callable[..., Any]) -> None:
    found = find_projections(make_model("gemma3"), ["o", "q", "down"])
    assert [(p.layer, p.name) for p in found] == [(layer, name) for layer in range(4) for name in ("o", "q", "down")]
    for projection in found:
        assert projection.module.weight.shape == (projection.d_out, projection.d_in)


def test_layers_are_numbered_not_sorted_as_text(make_model: Callable[..., Any]) -> None:
    found = find_projections(make_model("llama", num_hidden_layers=12), ["q"])
    assert [p.layer for p in found] == list(range(12))


@pytest.mark.parametrize("names", [[], ["q", "q"]])
def test_no_or_repeated_names_are_refused(names: list[str], make_model: Callable[..., Any]) -> None:
    with pytest.raises(GradPrismError, match="distinct names"):
        find_projections(make_model("llama"), names)


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(GradPrismError, match="q, k, v, o, gate, up, down"):
        find_projections(nn.Linear(2, 2), ["query"])


def test_a_model_that_is_not_understood_names_what_was_seen() -> None:
    model = nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict({"mixer": nn.Linear(4, 4)}) for _ in range(3)])})
    with pytest.raises(GradPrismError, match=r"layers\.\*\.mixer \(Linear\) x 3"):
        find_projections(model, ["q", "k", "v", "o"])


def attention(*names: str) -> nn.Module:
    return nn.ModuleDict({f"{name}_proj": nn.Linear(4, 4) for name in names})


def test_two_attentions_in_one_layer_are_not_guessed_between() -> None:
    layer = nn.ModuleDict({"attn_1": attention(*"qkvo"), "attn_2": attention(*"qkvo")})
    with pytest.raises(GradPrismError, match=r"several projections q in layer 0: in layers\.0\.attn_1, layers\.0\.att"):
        find_projections(nn.ModuleDict({"layers": nn.ModuleList([layer])}), ["q"])


def test_attention_to_something_else_than_the_text_is_left_out() -> None:
    layer = nn.ModuleDict({"self_attn": attention(*"qkvo"), "cross_attn": attention(*"qkvo")})
    found = find_projections(nn.ModuleDict({"layers": nn.ModuleList([layer])}), ["q", "o"])
    assert [p.path for p in found] == ["layers.0.self_attn.q_proj", "layers.0.self_attn.o_proj"]


def test_a_partial_answer_is_never_given(make_model: Callable[..., Any]) -> None:
    model = make_model("llama")
    for layer in model.model.layers:
        layer.self_attn.v_proj = torch.nn.Identity()
    with pytest.raises(GradPrismError, match="no projections named v"):
        find_projections(model, ["q", "v"])


def test_layers_that_borrow_keys_and_values_keep_their_q_and_o() -> None:
    model = nn.ModuleDict({"layers": nn.ModuleList([attention(*"qkvo"), attention(*"qo")])})
    found = find_projections(model, ["q", "k", "v", "o"])
    assert [(p.layer, p.name) for p in found] == [(0, "q"), (0, "k"), (0, "v"), (0, "o"), (1, "q"), (1, "o")]
