"""Checkpoints with weights missing, renamed, misshapen or left over: refused by key, whatever loads them."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.conftest import SAMPLE
from torch import Tensor

from gradprism import GradPrismError, score, spectra
from gradprism.metrics.judge.judge import Messages
from gradprism.metrics.judge.local import Rater
from gradprism.metrics.settings import JudgeSettings
from gradprism.models.checkpoints import Checkpoint, find_checkpoint
from gradprism.models.gguf_tensors import tensors_in
from gradprism.models.settings import CheckpointSettings, ExecutionSettings

LOST = "model.layers.2.self_attn.q_proj.weight"
Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def untied(make_model: Callable[..., Any], tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("untied")
    make_model("llama", tie_word_embeddings=False).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def changed(folder: Path, to: Path, change: Callable[[Weights], Mapping[str, Tensor]], **config: Any) -> Path:
    """Copy a checkpoint with other weights, and other values in its configuration."""
    shutil.copytree(folder, to, dirs_exist_ok=True)
    file = to / "model.safetensors"
    weights = {name: weight.clone() for name, weight in change(load_file(file)).items()}
    save_file(weights, file, metadata={"format": "pt"})
    settings = json.loads((to / "config.json").read_text(encoding="utf-8"))
    (to / "config.json").write_text(json.dumps(settings | config), encoding="utf-8")
    return to


def checkpoint(folder: Path | str) -> Checkpoint:
    return find_checkpoint(CheckpointSettings(model=str(folder)))


def without(*names: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: weight for name, weight in weights.items() if name not in names}


def with_prefix(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {prefix + name: weight for name, weight in weights.items()}


def with_others(**others: tuple[int, ...]) -> Callable[[Weights], Weights]:
    """Further weights of given shapes; a double underscore in a name stands for a dot."""
    return lambda weights: weights | {name.replace("__", "."): torch.full(shape, 0.1) for name, shape in others.items()}


def further_layer(weights: Weights) -> Weights:
    return weights | {
        name.replace("layers.3", "layers.4"): weight for name, weight in weights.items() if "layers.3" in name
    }


def reshaped(weights: Weights) -> Weights:
    return weights | {LOST: weights[LOST][:16]}


def classifier(weights: Weights) -> Weights:
    return without("lm_head.weight")(weights) | {"score.weight": torch.ones(1, 32)}


REFUSED: dict[str, tuple[Callable[[Weights], Weights], dict[str, Any], str]] = {
    "a lost projection": (without(LOST), {}, rf"no weights for {LOST}: they would be random"),
    "a lost output layer": (without("lm_head.weight"), {}, r"no weights for lm_head\.weight: they would be random"),
    "DDP": (with_prefix("module."), {}, r"begin with 'module\.': module\.lm_head\.weight, .*39 in all(?s:.*)DataPa"),
    "torch.compile": (with_prefix("_orig_mod."), {}, r"'_orig_mod': _orig_mod\.lm_head\.weight(?s:.*)torch\.compile"),
    "peft": (with_prefix("base_model.model."), {}, r"begin with 'base_model\.model\.': base_model.*(?s:.*)peft"),
    "a classifier": (classifier, {}, r"no weights for lm_head\.weight(?s:.*)score\.weight: it was trained as a class"),
    "a layer more in the file": (further_layer, {}, r"built without: model\.layers\.4\.input_layernorm\.weight.*9 in"),
    "a layer more by the config": (dict, {"num_hidden_layers": 5}, r"no weights for model\.layers\.4\.input_layernorm"),
    "a layer less by the config": (dict, {"num_hidden_layers": 3}, r"built without: model\.layers\.3\.input_layernorm"),
    "another shape": (reshaped, {}, rf"shapes differ: {LOST} \(16 x 32 in the checkpoint, 32 x 32 by its config"),
    "biases left out": (
        with_others(model__layers__2__self_attn__q_proj__bias=(32,)), {}, r"leaves out .*2\.self_attn\.q_proj\.bias"
    ),
    "norms left out": (
        with_others(model__layers__0__self_attn__q_norm__weight=(8,)), {}, r"leaves out .*self_attn\.q_norm\.weight"
    ),
    "an adapter inside": (
        with_others(model__layers__0__self_attn__q_proj__lora_A__default__weight=(2, 32)), {}, r"of an adapter.*lora_A"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_whole_is_refused_by_key(case: str, untied: Path, tmp_path: Path) -> None:
    change, config, said = REFUSED[case]
    folder = changed(untied, tmp_path / "model", change, **config)
    with pytest.raises(GradPrismError, match=said):
        checkpoint(folder).load_model()
    assert checkpoint(folder).class_name(checkpoint(folder).load_config()) == "LlamaForCausalLM"
    find_checkpoint(CheckpointSettings(model=str(folder), from_scratch=True)).load_model()


TOKEN_PREDICTION = {
    f"model__layers__4__{name}": shape
    for name, shape in {
        "enorm__weight": (32,), "hnorm__weight": (32,), "eh_proj__weight": (32, 64), "input_layernorm__weight": (32,),
        "self_attn__q_proj__weight": (32, 32), "shared_head__norm__weight": (32,), "embed_tokens__weight": (600, 32),
    }.items()
}  # fmt: skip
LOADED: dict[str, Callable[[Weights], Weights]] = {
    "a layer for further tokens": with_others(**TOKEN_PREDICTION),
    "a module for further tokens": with_others(mtp__layers__0__q_proj__weight=(32, 32), mtp__norm__weight=(32,)),
    "a tower of vision": with_others(
        vision_tower__encoder__layers__7__self_attn__q_proj__weight=(4, 4), multi_modal_projector__linear_1__bias=(32,)
    ),
    "a value head": with_others(v_head__summary__weight=(1, 32), v_head__summary__bias=(1,)),
    "scales of a quantised cache": with_others(model__layers__1__self_attn__k_scale=(1,)),
    "rotary buffers": with_others(model__layers__1__self_attn__rotary_emb__inv_freq=(4,)),
    "masks": with_others(model__layers__1__self_attn__bias=(1, 1, 8, 8)),
}  # fmt: skip


@pytest.mark.parametrize("case", LOADED)
def test_what_the_class_has_no_module_for_may_be_left_over(case: str, untied: Path, tmp_path: Path) -> None:
    whole = load_file(untied / "model.safetensors")
    found = checkpoint(changed(untied, tmp_path / "model", LOADED[case])).load_model().state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in whole.items())


def test_a_tied_output_layer_is_not_missing(make_model: Callable[..., Any], tmp_path: Path) -> None:
    model = make_model("llama", tie_word_embeddings=True)
    model.save_pretrained(tmp_path / "tied")
    assert "lm_head.weight" not in load_file(tmp_path / "tied" / "model.safetensors")
    assert torch.equal(checkpoint(tmp_path / "tied").load_model().lm_head.weight, model.lm_head.weight)
    both = changed(tmp_path / "tied", tmp_path / "both", without("model.embed_tokens.weight"))
    with pytest.raises(GradPrismError, match=r"no weights for lm_head\.weight, model\.embed_tokens\.weight"):
        checkpoint(both).load_model()
    scored = changed(tmp_path / "tied", tmp_path / "scored", with_others(score__weight=(1, 32)))
    with pytest.raises(GradPrismError, match=r"holds score\.weight, and no output layer of its own"):
        checkpoint(scored).load_model()


def sharded(make_model: Callable[..., Any], folder: Path) -> Path:
    make_model("llama", tie_word_embeddings=False).save_pretrained(folder, max_shard_size="60KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    checkpoint(folder).load_model()
    return folder


def test_holes_in_a_sharded_checkpoint(make_model: Callable[..., Any], tmp_path: Path) -> None:
    folder = sharded(make_model, tmp_path)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    shard = folder / index["weight_map"][LOST]
    whole = load_file(shard)
    save_file(without(LOST)(whole), shard, metadata={"format": "pt"})
    with pytest.raises(GradPrismError, match=rf"no weights for {LOST}"):
        checkpoint(folder).load_model()
    save_file(whole, shard, metadata={"format": "pt"})
    shard.rename(folder / "elsewhere")
    with pytest.raises(GradPrismError, match=shard.name):
        checkpoint(folder).load_model()
    (folder / "elsewhere").rename(shard)
    index["weight_map"] = {name: file for name, file in index["weight_map"].items() if file != shard.name}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(GradPrismError, match=r"no weights for .*in all\)"):
        checkpoint(folder).load_model()


BLOCK = {
    "attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32), "ffn_gate": (48, 32),
    "ffn_up": (48, 32), "ffn_down": (32, 48), "attn_norm": (32,), "ffn_norm": (32,),
}  # fmt: skip
NEXT_TOKEN = {
    "blk.2.nextn.eh_proj.weight": (32, 64),
    "blk.2.nextn.enorm.weight": (32,),
    "blk.2.attn_norm.weight": (32,),
}
GGUF: dict[str, tuple[dict[str, Any], str | None]] = {
    "whole": ({}, None),
    "tied": ({"lost": "output.weight"}, None),
    "a layer for further tokens": ({"more": NEXT_TOKEN}, None),
    "rotary frequencies": ({"more": {"rope_freqs.weight": (4,), "blk.0.attn_rot_embd.weight": (4,)}}, None),
    "a lost projection": (
        {"lost": "blk.1.attn_q.weight"}, r"no weights for model\.layers\.1\.self_attn\.q_proj\.weight"
    ),
    "lost embeddings": ({"lost": "token_embd.weight"}, r"no weights for .*model\.embed_tokens\.weight"),
    "a layer more by its settings": ({"layers": 3}, r"no weights for model\.layers\.2\.input_layernorm\.weight"),
    "a layer less by its settings": ({"layers": 1}, r"built without: blk\.1\.attn_k\.weight.*9 in all.*\n.*say 1"),
    "biases left out": ({"more": {"blk.0.attn_q.bias": (32,)}}, r"layer 0 of the file has more .*blk\.0\.attn_q\.bias"),
    "norms left out": ({"more": {"blk.1.attn_q_norm.weight": (8,)}}, r"layer 1 of the file has more .*attn_q_norm"),
}  # fmt: skip


def write_gguf(file: Path, layers: int = 2, lost: str = "", more: Mapping[str, tuple[int, ...]] | None = None) -> None:
    """Write a tiny Llama of two layers; `layers` is what its settings say."""
    import gguf

    writer = gguf.GGUFWriter(str(file), "llama")
    writer.add_block_count(layers)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(48)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(64)
    writer.add_token_list([f"<{token}>" for token in range(64)])  # settings of every kind are to be passed over
    writer.add_array("general.tags", ["one", "two"])
    writer.add_bool("of.flags", True)
    writer.add_float64("of.numbers", 0.5)
    shapes = {"token_embd.weight": (64, 32), "output.weight": (64, 32), "output_norm.weight": (32,)}
    shapes |= {f"blk.{layer}.{name}.weight": shape for layer in range(2) for name, shape in BLOCK.items()}
    for name, shape in (shapes | dict(more or {})).items():
        if name != lost:
            writer.add_tensor(name, torch.rand(shape).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("case", GGUF)
def test_gguf_files(case: str, tmp_path: Path) -> None:
    options, said = GGUF[case]
    write_gguf(tmp_path / "model.gguf", **options)
    found = checkpoint(tmp_path / "model.gguf")
    if said is None:
        assert found.load_model().config.num_hidden_layers == 2
    else:
        with pytest.raises(GradPrismError, match=said):
            found.load_model()


def test_the_table_of_a_gguf_file_is_as_its_own_library_reads_it(tmp_path: Path) -> None:
    import gguf

    write_gguf(tmp_path / "model.gguf", more={"blk.0.attn_q.bias": (32,), "three": (2, 3, 4)})
    theirs = {each.name: tuple(map(int, each.shape)) for each in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    assert tensors_in(tmp_path / "model.gguf") == theirs
    assert theirs["three"] == (4, 3, 2)


def test_scores_judges_and_reward_models_refuse_it_too(untied: Path, tmp_path: Path) -> None:
    folder = changed(untied, tmp_path / "model", without(LOST))
    with pytest.raises(GradPrismError, match=rf"no weights for {LOST}"):
        score(SAMPLE, "perplexity", model=folder, out=tmp_path / "scored")
    judge = Rater(JudgeSettings(judge=f"local:{folder}"), ExecutionSettings(), lambda _: None)
    asked: list[Messages] = [[{"role": "user", "content": "?"}]]
    with pytest.raises(GradPrismError, match=rf"no weights for {LOST}"):
        list(judge.answers(asked))
    with pytest.raises(GradPrismError, match=r"as LlamaForSequenceClassification: .*no weights for .*score\.weight"):
        checkpoint(folder).load_classifier()


def test_the_class_on_record_is_the_one_that_was_built(untied: Path, tmp_path: Path) -> None:
    folder = changed(untied, tmp_path / "model", dict, architectures=["SomethingElse"])
    run = spectra(SAMPLE, folder, out=tmp_path / "run", limit=1, projections=("q",))
    assert run.record["model"]["class"] == "LlamaForCausalLM"
