from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.families import FAMILIES
from torch import nn

from gradprism import GradPrismError
from gradprism.models.projections.discovery import find_projections


@pytest.fixture(scope="module")
def make_family() -> Callable[[str], Any]:
    """A tiny model of a line of the table."""
    return lambda name: next(family for family in FAMILIES if family.name == name).make()


def test_all_layers_in_the_order_asked_for(make_model: Callable[..., Any]) -> None:
    found = find_projections(make_model("gemma3"), ["o", "q", "down"]).projections
    assert [(p.layer, p.name) for p in found] == [(layer, name) for layer in range(4) for name in ("o", "q", "down")]
    for projection in found:
        assert projection.module.weight.shape == (projection.d_out, projection.d_in)


def test_layers_are_numbered_not_sorted_as_text(make_model: Callable[..., Any]) -> None:
    found = find_projections(make_model("llama", num_hidden_layers=12), ["q"]).projections
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
    found = find_projections(nn.ModuleDict({"layers": nn.ModuleList([layer])}), ["q", "o"]).projections
    assert [p.path for p in found] == ["layers.0.self_attn.q_proj", "layers.0.self_attn.o_proj"]


def test_a_partial_answer_is_never_given(make_model: Callable[..., Any]) -> None:
    model = make_model("llama")
    for layer in model.model.layers:
        layer.self_attn.v_proj = torch.nn.Identity()
    with pytest.raises(GradPrismError, match="no projections named v"):
        find_projections(model, ["q", "v"])


def test_layers_that_borrow_keys_and_values_keep_their_q_and_o() -> None:
    model = nn.ModuleDict({"layers": nn.ModuleList([attention(*"qkvo"), attention(*"qo")])})
    found = find_projections(model, ["q", "k", "v", "o"]).projections
    assert [(p.layer, p.name) for p in found] == [(0, "q"), (0, "k"), (0, "v"), (0, "o"), (1, "q"), (1, "o")]


def test_latent_attention_answers_with_its_own_names(make_family: Callable[[str], Any]) -> None:
    found = find_projections(make_family("deepseek_v3"), ["v", "o", "q"])
    assert found.names == ("kv_a", "kv_b", "o", "q_a", "q_b")
    assert [p.name for p in found.projections[:5]] == list(found.names)
    assert find_projections(make_family("deepseek_v2 (Lite)"), ["q", "k", "v"]).names == ("q", "kv_a", "kv_b")
    assert find_projections(make_family("deepseek_v3"), ["kv_b"]).names == ("kv_b",)


def test_half_a_latent_attention_is_not_understood(make_family: Callable[[str], Any]) -> None:
    model = make_family("deepseek_v3")
    for layer in model.model.layers:
        layer.self_attn.q_b_proj = nn.Identity()
    with pytest.raises(GradPrismError, match="no projections named q, k, v, o"):
        find_projections(model, ["q", "k", "v", "o"])


def test_layers_without_attention_are_counted(make_family: Callable[[str], Any]) -> None:
    found = find_projections(make_family("jamba"), ["q", "k", "v", "o"])
    assert (found.layers, found.skipped_layers, found.notes) == ((1, 3), (0, 2), ())


@pytest.mark.parametrize("family", ["olmo_hybrid", "minimax", "qwen3_5", "kimi_linear"])
def test_linear_attention_is_none(family: str, make_family: Callable[[str], Any]) -> None:
    """Its maps are called q, k and v too."""
    told = next(each for each in FAMILIES if each.name == family)
    model = make_family(family)
    assert find_projections(model, ["q", "k", "v", "o"]).layers == told.attention_layers
    model.config.layer_types = None  # by their classes alone
    assert find_projections(model, ["q", "k", "v", "o"]).layers == told.attention_layers


@pytest.mark.parametrize(
    ("called", "layers"),
    [
        ("GatedLinearAttention", (1,)),
        ("BailingMoeV2LinearAttention", (1,)),
        ("Glm5NextTextLinearAttention", (1,)),
        ("MultiScaleRetention", (1,)),
        ("HGRN2Attention", (1,)),
        ("RWKV6Attention", (1,)),
        ("KimiDeltaAttention", (1,)),
        ("KimiLinearAttention", (0, 1)),  # the one with a softmax, in Kimi Linear
        ("GlmAttention", (0, 1)),
    ],
)
def test_linear_attention_is_known_by_its_class(called: str, layers: tuple[int, ...]) -> None:
    maps = {f"{name}_proj": nn.Linear(4, 4) for name in "qkvo"}
    other = type(called, (nn.ModuleDict,), {})(maps)
    model = nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict({"attn": a}) for a in (other, attention(*"qkvo"))])})
    assert find_projections(model, ["q", "k", "v", "o"]).layers == layers


def test_the_gate_of_a_model_without_one_is_an_error(make_family: Callable[[str], Any]) -> None:
    with pytest.raises(GradPrismError, match="no gate: its MLPs are two maps, up and down"):
        find_projections(make_family("nemotron"), ["gate", "q"])


def test_experts_alone_are_an_error_and_named_where_there_is_more(make_family: Callable[[str], Any]) -> None:
    words = "The routed experts in layers 0-2 are not measured: each sees only some tokens."
    with pytest.raises(GradPrismError, match=words):
        find_projections(make_family("mixtral"), ["gate"])
    assert find_projections(make_family("qwen2_moe"), ["gate"]).notes == (words,)
    assert find_projections(make_family("qwen2_moe"), ["q"]).notes == ()


def test_experts_in_a_list_are_routed_too() -> None:
    def mlp() -> nn.Module:
        return nn.ModuleDict({name: nn.Linear(4, 4) for name in ("gate_proj", "up_proj", "down_proj")})

    layer = nn.ModuleDict({"self_attn": attention(*"qkvo"), "mlp": nn.ModuleDict({
        "experts": nn.ModuleList([mlp(), mlp()]), "shared_experts": mlp()})})  # fmt: skip
    found = find_projections(nn.ModuleDict({"layers": nn.ModuleList([layer])}), ["up"])
    assert [p.path for p in found.projections] == ["layers.0.mlp.shared_experts.up_proj"]
    assert "routed experts in layer 0" in found.notes[0]


def test_the_language_model_is_the_tower_that_is_measured(make_family: Callable[[str], Any]) -> None:
    found = find_projections(make_family("gemma3 (with vision)"), ["q"])
    assert {p.path.rpartition("layers.")[0] for p in found.projections} == {"model.language_model."}
    assert found.notes == (
        "Only the language model (model.language_model.layers) is measured, not model.vision_tower.encoder.layers.",
    )


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_a_tower_whose_attention_is_called_otherwise_is_named_too(
    family: str, make_family: Callable[[str], Any]
) -> None:
    (note,) = find_projections(make_family(family), ["q"]).notes
    assert note == "Only the language model (model.language_model.layers) is measured, not model.visual.blocks."


def test_two_towers_alike_are_not_guessed_between() -> None:
    towers = {name: nn.ModuleDict({"layers": nn.ModuleList([attention(*"qkvo")])}) for name in ("low", "high")}
    with pytest.raises(GradPrismError, match=r"several lists of layers with attention: low\.layers, high\.layers"):
        find_projections(nn.ModuleDict(towers), ["q"])


def test_an_attention_that_is_not_seen_is_not_skipped_as_none(make_family: Callable[[str], Any]) -> None:
    model = make_family("qwen3_5")
    model.model.layers[2].self_attn = nn.Identity()
    model.model.layers[1].self_attn = attention(*"qkvo")
    with pytest.raises(GradPrismError, match="calls layer 2 full_attention, and no attention is found there"):
        find_projections(model, ["q", "k", "v", "o"])


def test_another_tower_need_not_be_understood(make_family: Callable[[str], Any]) -> None:
    model = make_family("gemma3 (with vision)")
    for layer in model.model.vision_tower.encoder.layers:
        layer.self_attn.query_key_value = nn.Linear(16, 50)
    assert find_projections(model, ["q"]).layers == (0, 1, 2)


def test_what_wraps_a_map_is_the_map_where_it_has_its_sizes(make_family: Callable[[str], Any]) -> None:
    """As `peft` wraps what it trains; a wrapper without sizes (Moshi) is looked into."""

    class Wrapper(nn.Module):
        def __init__(self, base_layer: nn.Linear, sizes: bool):
            super().__init__()
            self.base_layer = base_layer
            if sizes:
                self.in_features, self.out_features = base_layer.in_features, base_layer.out_features
                self.lora_A, self.lora_B = nn.Linear(base_layer.in_features, 2), nn.Linear(2, base_layer.out_features)

    model = make_family("phi3")
    home = model.model.layers[1].self_attn
    home.qkv_proj, home.o_proj = Wrapper(home.qkv_proj, True), Wrapper(home.o_proj, False)
    found = {p.name: p for p in find_projections(model, ["q", "v", "o"]).projections if p.layer == 1}
    assert found["q"].module is found["v"].module is home.qkv_proj
    assert found["o"].module is home.o_proj.base_layer
    assert (found["v"].d_out, found["o"].path) == (16, "model.layers.1.self_attn.o_proj.base_layer")


def with_weight_norm(kind: str) -> nn.Module:
    if kind == "parametrized":
        return nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))

    class Computed(nn.Module):
        in_features = out_features = 4
        weight = property(lambda self: torch.ones(4, 4))

    return Computed()


@pytest.mark.parametrize("kind", ["parametrized", "property"])
def test_weights_computed_when_read_are_not_taken_for_one(kind: str) -> None:
    """Each is gone before the next is made, and may come to stand where it stood."""

    def layer() -> nn.Module:
        return nn.ModuleDict({f"{name}_proj": with_weight_norm(kind) for name in "qkvo"})

    model = nn.ModuleDict({"layers": nn.ModuleList([layer() for _ in range(12)])})
    assert len(find_projections(model, ["q", "k", "v", "o"]).projections) == 48


def test_a_weight_that_two_projections_of_a_layer_share_is_refused() -> None:
    layer = attention(*"qkvo")
    layer["k_proj"].weight = layer["v_proj"].weight
    model = nn.ModuleDict({"layers": nn.ModuleList([layer])})
    with pytest.raises(GradPrismError, match=r"layers\.0\.k_proj and layers\.0\.v_proj are one weight"):
        find_projections(model, ["q", "k", "v", "o"])
    assert find_projections(model, ["q", "k", "o"]).projections
