"""Layouts of fused weights that no model of `transformers` itself has, and sizes that do not bear a name out."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from gradprism import GradPrismError
from gradprism.models.projections.discovery import find_projections


def attention(d_in: int, kv_heads: int, **children: nn.Module) -> nn.Module:
    """One layer of 4 heads of 8 rows."""
    home = nn.ModuleDict(children)
    model = nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict({"attention": home})])})
    model.config = SimpleNamespace(num_attention_heads=4, num_key_value_heads=kv_heads)
    return model


def taken(model: nn.Module, d_out: int) -> dict[str, list[int]]:
    return {
        p.name: p.select(torch.arange(d_out)).tolist() for p in find_projections(model, ["q", "k", "v"]).projections
    }


def test_internlm2_puts_a_head_of_k_and_v_behind_its_queries() -> None:
    """Its code: `rearrange(qkv, "b q (h gs d) -> b q h gs d", gs=2 + groups)`, q `[:groups]`, k `[-2]`, v `[-1]`."""
    rows = taken(attention(32, 2, wqkv=nn.Linear(32, 64), wo=nn.Linear(32, 32)), 64)
    by_group = torch.arange(64).view(2, 4, 8)
    assert rows == {
        "q": by_group[:, :2].flatten().tolist(),
        "k": by_group[:, 2].flatten().tolist(),
        "v": by_group[:, 3].flatten().tolist(),
    }


def test_baichuan_packs_three_blocks() -> None:
    model = attention(32, 4, W_pack=nn.Linear(32, 96), o_proj=nn.Linear(32, 32))
    assert "rows of attention.W_pack in the order that its name stands for" in find_projections(model, ["q"]).notes[0]
    assert taken(model, 96) == {"q": [*range(32)], "k": [*range(32, 64)], "v": [*range(64, 96)]}


def test_chatglm_shares_keys_and_values_in_three_blocks() -> None:
    model = attention(32, 4, query_key_value=nn.Linear(32, 64), dense=nn.Linear(32, 32))
    model.config = SimpleNamespace(num_attention_heads=4, multi_query_group_num=2)
    assert taken(model, 64) == {"q": [*range(32)], "k": [*range(32, 48)], "v": [*range(48, 64)]}


@pytest.mark.parametrize(
    ("d_out", "kv_heads", "expected"),
    [
        (64, 2, "in an order not known"),  # grouped or one after the other: the name does not say
        (80, 2, "that of 3 heads of k and v, and its configuration says 2"),
    ],
)
def test_sizes_that_do_not_bear_the_name_out_are_refused(d_out: int, kv_heads: int, expected: str) -> None:
    model: Any = attention(32, kv_heads, query_key_value=nn.Linear(32, d_out), dense=nn.Linear(32, 32))
    with pytest.raises(GradPrismError, match=rf"(?s)query_key_value \[{d_out}, 32\] holds q, k and v, but.*{expected}"):
        find_projections(model, ["q"])


def test_rows_that_are_left_over_are_refused() -> None:
    model: Any = attention(32, 3, W_pack=nn.Linear(32, 90), o_proj=nn.Linear(32, 32))
    with pytest.raises(
        GradPrismError, match="4 heads of q and 3 of k and v with 8 rows each make 80, the weight has 90"
    ):
        find_projections(model, ["q"])


@pytest.mark.parametrize(
    ("head_dim", "rows"),
    [(8, [*range(8), *range(16, 24), *range(32, 40), *range(48, 56)]), (16, [*range(64)])],
)
def test_a_q_of_twice_the_rows_holds_a_gate_where_its_heads_say_so(head_dim: int, rows: list[int]) -> None:
    maps = {"q_proj": nn.Linear(32, 64), "k_proj": nn.Linear(32, 16), "v_proj": nn.Linear(32, 16)}
    model: Any = attention(32, 2, **maps, o_proj=nn.Linear(32, 32))
    with pytest.raises(GradPrismError, match=r"q_proj \[64, 32\] holds q, but it has 64 rows, twice what o reads"):
        find_projections(model, ["q"])
    model.config.head_dim = head_dim
    assert taken(model, 64)["q"] == rows


def test_what_code_of_its_own_has_fused_is_noted() -> None:
    """Halves of an MLP and the queries of a gated q are told by convention as much as q, k and v are."""
    maps = {"q_proj": nn.Linear(32, 64), "k_proj": nn.Linear(32, 16), "v_proj": nn.Linear(32, 16)}
    model: Any = attention(32, 2, **maps, o_proj=nn.Linear(32, 32))
    model.config.head_dim = 8
    model["layers"][0]["mlp"] = nn.ModuleDict({"gate_up_proj": nn.Linear(32, 96), "down_proj": nn.Linear(48, 32)})
    notes = find_projections(model, ["q", "up"]).notes
    assert [note.partition(" in the order")[0] for note in notes] == [
        "q is taken for rows of attention.q_proj",
        "gate and up are taken for rows of mlp.gate_up_proj",
    ]
    assert find_projections(model, ["k", "o"]).notes == ()


def test_two_maps_alike_beside_a_third_are_not_guessed_between() -> None:
    """Jais: `c_fc2(x) * swiglu(c_fc(x))`, then `c_proj`."""
    model: Any = attention(32, 4, q_proj=nn.Linear(32, 32), o_proj=nn.Linear(32, 32))
    model["layers"][0]["mlp"] = nn.ModuleDict(
        {"c_fc": nn.Linear(32, 48), "c_fc2": nn.Linear(32, 48), "c_proj": nn.Linear(48, 32)}
    )
    for name in ("gate", "up"):
        with pytest.raises(GradPrismError, match=r"mlp\.c_fc2 \[48, 32\] has the shape of mlp\.c_fc, and which"):
            find_projections(model, [name])
    assert find_projections(model, ["q", "o"]).projections


def test_an_mlp_whose_halves_do_not_fit_is_refused() -> None:
    model: Any = attention(32, 4, q_proj=nn.Linear(32, 32), o_proj=nn.Linear(32, 32))
    model["layers"][0]["mlp"] = nn.ModuleDict({"gate_up_proj": nn.Linear(32, 100), "down_proj": nn.Linear(48, 32)})
    with pytest.raises(GradPrismError, match="it has 100 rows, and down reads 48"):
        find_projections(model, ["gate"])
