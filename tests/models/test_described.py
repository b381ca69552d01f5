"""Architectures that a user describes, in the words of docs/families.md."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests import oracle
from tests.conftest import ROOT
from tests.families import FAMILIES
from tests.families.family import examples, true_gradients
from torch import nn

from gradprism import GradientAnalyzer, GradPrismError
from gradprism.data.encode import Encoded
from gradprism.data.example import Example, Turn
from gradprism.models.projections.architecture import read_architecture
from gradprism.models.projections.discovery import find_projections

IN_THE_DOCUMENTS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "families.md").read_text(encoding="utf-8"), re.S)


def described(text: str, folder: Path) -> Path:
    path = folder / "architecture.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def unknown_model() -> nn.Module:
    """What the first example of the documents describes: 4 heads of q and 2 of k and v, 8 rows each."""

    def layer() -> nn.Module:
        mixer = nn.ModuleDict({"in_map": nn.Linear(32, 64), "out_map": nn.Linear(32, 32)})
        return nn.ModuleDict({"mixer": mixer, "ffn": nn.ModuleDict({"in_map": nn.Linear(32, 96),
                                                                    "out_map": nn.Linear(48, 32)})})  # fmt: skip

    model = nn.ModuleDict({"transformer": nn.ModuleDict({"blocks": nn.ModuleList([layer() for _ in range(3)])})})
    model.config = SimpleNamespace(num_attention_heads=4, none=0)
    return model


def test_the_first_example_of_the_documents(tmp_path: Path) -> None:
    architecture = read_architecture(described(IN_THE_DOCUMENTS[0], tmp_path))
    found = find_projections(unknown_model(), ["q", "k", "v", "o", "gate", "up", "down"], architecture)
    assert found.layers == (0, 1, 2)
    first = {p.name: p for p in found.projections[:7]}
    numbered = torch.arange(64)
    taken = {name: first[name].select(numbered).tolist() for name in "qkv"}
    assert taken["q"] == [*range(16), *range(32, 48)]  # two heads of q, then their k and their v; twice
    assert taken["k"] == [*range(16, 24), *range(48, 56)]
    assert taken["v"] == [*range(24, 32), *range(56, 64)]
    assert [first[name].select(torch.arange(96)).tolist() for name in ("gate", "up")] == [
        [*range(48)],
        [*range(48, 96)],
    ]
    assert [(p.d_out, p.d_in) for p in first.values()] == [
        (32, 32), (16, 32), (16, 32), (32, 32), (48, 32), (48, 32), (32, 48),
    ]  # fmt: skip


def test_the_second_example_of_the_documents_measures_like_autograd(tokenizer: Any, tmp_path: Path) -> None:
    """CodeGen described, its rows a quarter of head_dim 8 x 4 heads instead of 1024."""
    codegen = next(family for family in FAMILIES if family.name == "codegen")
    text = IN_THE_DOCUMENTS[1]
    for rows, small in (("3072", "24"), ("2048", "16"), ("1024", "8")):
        text = text.replace(rows, small)
    model = codegen.make()
    ids, mask = examples()[1]
    encoded = [(Example(0, "0", (Turn("user", "a"), Turn("assistant", "b"))), Encoded(ids, mask, False))]
    analyzer = GradientAnalyzer(model, tokenizer, architecture=described(text, tmp_path))
    gradients = true_gradients(codegen, codegen.in_truth(model), ids, mask)
    spectra = analyzer.analyze_encoded(encoded).spectra
    assert spectra.height == 12
    for row in spectra.iter_rows(named=True):
        gradient = gradients[row["projection"], row["layer"]]
        expected = oracle.measures(gradient, min(len(ids) - 1, *gradient.shape))
        assert row["nuclear_norm"] == pytest.approx(expected["nuclear_norm"], rel=3e-5)


def test_two_stars_number_one_after_the_other(tmp_path: Path) -> None:
    pair = lambda: nn.ModuleDict({"attn": nn.ModuleList([nn.ModuleDict({"a": nn.Linear(4, 4)}) for _ in range(2)])})  # noqa: E731
    model = nn.ModuleDict({"layers": nn.ModuleList([pair() for _ in range(6)])})
    found = find_projections(model, ["q"], read_architecture(described("layers: layers.*.attn.*\nq: a\n", tmp_path)))
    assert [p.layer for p in found.projections] == list(range(12))
    assert found.projections[3].path == "layers.1.attn.1.a"


def test_a_description_also_serves_with_an_adapter(make_model: Callable[..., Any], tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = make_model("llama")
    text = "layers: model.layers.*\nq: self_attn.q_proj\no: self_attn.o_proj\n"
    architecture = read_architecture(described(text, tmp_path))
    before = [p.path for p in find_projections(model, ["q", "o"], architecture).projections]
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"]))
    found = find_projections(wrapped, ["q", "o"], architecture)
    assert [p.path for p in found.projections] == [f"base_model.model.{path}" for path in before]
    assert all((p.name == "q") == hasattr(p.module, "lora_A") for p in found.projections)
    text = text.replace("model.layers", "base_model.model.model.layers")
    same = find_projections(wrapped, ["q", "o"], read_architecture(described(text, tmp_path)))
    assert [p.module for p in same.projections] == [p.module for p in found.projections]
    with pytest.raises(
        GradPrismError, match=r"LlamaForCausalLM has no such modules; expected one of model\.layers\.\*"
    ):
        find_projections(wrapped, ["q"], read_architecture(described("layers: h.*\nq: a\n", tmp_path)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("layers: blocks.*\nq: {module: a, row: [0, 4]}\n", "line 2, q.row"),
        ("layers: blocks.*\nq: a\nk:\n  module: a\n  rows: [4, 4]\n", "line 3, k: rows: expected"),
        ("layers: blocks\nq: a\n", r"line 1, layers: expected a path with \*"),
        ("q: a\n", "line 1, layers"),
        ("layers: blocks.*\nqkv: {module: a, order: odd, heads: 4}\n", "line 2, qkv.order.*'contiguous', 'per_head'"),
        ("layers: blocks.*\nq: a\nqkv: {module: a, order: per_head, heads: 4}\n", "qkv says where q, k, v are"),
        (
            "layers: blocks.*\nqkv: {module: a, order: per_head, heads: 0}\n",
            "line 2, qkv.heads: expected a number from 1",
        ),
        ("layers: blocks.*\nqkv: {module: a, order: per_head, heads: -8}\n", "qkv.heads: expected a number from 1"),
        ("layers: blocks.*\nqkv: {module: a, order: per_head, heads: 8, kv_heads: 0}\n", "qkv.kv_heads: expected a n"),
        ("layers: blocks.*\nqkv: {module: a, order: per_head, heads: 8, head_dim: 0}\n", "qkv.head_dim: expected a n"),
        ("layers: blocks.*\nq: {module: a, rows: [0, 4], blocks: 0}\n", "line 2, q.blocks: expected a number from 1"),
        ("layers: blocks.*\ngate_up: {module: a, rows: [0, 4]}\n", "line 2, gate_up.rows"),
        ("layers: [", "Cannot read the architecture .*line 1"),
        ("- a\n", "Expected `layers:`"),
    ],
)
def test_a_description_that_is_wrong_says_in_which_line(text: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match=f"(?s){expected}"):
        read_architecture(described(text, tmp_path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("layers: model.layers.*\nq: a\n", r"has no such modules; expected one of transformer\.blocks\.\*"),
        ("layers: transformer.blocks.*\nq: mixer.q\n", "mixer.q is no linear map.*ffn.in_map.*mixer.in_map"),
        ("layers: transformer.blocks.*\nq: {module: mixer.in_map, rows: [0, 65]}\n", "in_map has 64 rows"),
        ("layers: transformer.blocks.*\nq: {module: mixer.in_map, rows: [0, 4], blocks: 3}\n", "each of 3 blocks"),
        ("layers: transformer.blocks.*\nqkv: {module: mixer.in_map, order: per_head, heads: 5}\n", "has 64"),
        ("layers: transformer.blocks.*\nqkv: {module: mixer.in_map, order: per_head, heads: n_head}\n", "n_head: exp"),
        (
            "layers: transformer.blocks.*\nqkv: {module: mixer.in_map, order: per_head, heads: none}\n",
            "a number from 1",
        ),
        ("layers: transformer.blocks.*\nq: {module: mixer.in_map, rows: [0, 4], blocks: none}\n", "it has 0"),
        ("layers: transformer.blocks.*\ngate_up: mixer.in_map\ndown: ffn.out_map\n", "64 rows, and down reads 48"),
        ("layers: transformer.blocks.*\ngate_up: ffn.odd\n", "ffn.odd has 7 rows: expected an even number"),
        (
            "layers: transformer.blocks.*\nq: {module: mixer.in_map, rows: [0, 33]}\n"
            "k: {module: mixer.in_map, rows: [32, 48]}\n",
            r"q and k are both to be rows of transformer\.blocks\.0\.mixer\.in_map",
        ),
        ("layers: transformer.blocks.*\nk: mixer.in_map\n", "no projections named q; it has k"),
    ],
)
def test_a_description_that_does_not_fit_says_what_there_is(text: str, expected: str, tmp_path: Path) -> None:
    architecture = read_architecture(described(text, tmp_path))
    names = ["q", "k"] if architecture.q and architecture.k else ["q"]
    model = unknown_model()
    for layer in model["transformer"]["blocks"]:
        layer["ffn"]["odd"] = nn.Linear(4, 7)
    with pytest.raises(GradPrismError, match=f"(?s){expected}"):
        find_projections(model, names, architecture)


def test_a_description_written_from_the_error_of_a_model_not_understood(tmp_path: Path) -> None:
    model = unknown_model()
    with pytest.raises(GradPrismError) as error:
        find_projections(model, ["q", "o"])
    message = str(error.value)
    assert "transformer.blocks.*.mixer.in_map (Linear) x 3" in message
    assert "transformer.blocks.*.mixer.out_map (Linear) x 3" in message
    assert message.endswith('(--architecture FILE.yaml; see "A model of your own" in docs/families.md).')
    assert "## A model of your own" in (ROOT / "docs" / "families.md").read_text(encoding="utf-8")
    text = "layers: transformer.blocks.*\nq: {module: mixer.in_map, rows: [0, 32]}\no: mixer.out_map\n"
    found = find_projections(model, ["q", "o"], read_architecture(described(text, tmp_path)))
    assert [(p.name, p.path[-7:]) for p in found.projections] == [("q", ".in_map"), ("o", "out_map")] * 3


def test_a_description_takes_the_place_of_naming_for_what_naming_finds_too(tmp_path: Path) -> None:
    phi3 = next(family for family in FAMILIES if family.name == "phi3").make()
    names = ["q", "k", "v", "o", "down"]
    expected = [(p.path, p.rows) for p in find_projections(phi3, names).projections]
    for layer in phi3.model.layers:
        layer.mlp.last = layer.mlp.down_proj
        del layer.mlp.down_proj
    with pytest.raises(GradPrismError, match="no projections named down; it has q, k, v, o"):
        find_projections(phi3, names)
    text = (
        "layers: model.layers.*\nq: {module: self_attn.qkv_proj, rows: [0, 32]}\n"
        "k: {module: self_attn.qkv_proj, rows: [32, 48]}\nv: {module: self_attn.qkv_proj, rows: [48, 64]}\n"
        "o: self_attn.o_proj\ndown: mlp.last\n"
    )
    found = find_projections(phi3, names, read_architecture(described(text, tmp_path)))
    assert [(p.path.replace("last", "down_proj"), p.rows) for p in found.projections] == expected
