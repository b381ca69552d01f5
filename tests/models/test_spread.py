"""Models spread over memory and disk: the numbers of the model in one place.

Weights on disk stand for every offloading: accelerate fetches them for a forward pass by the same hooks from a CPU's
memory to a GPU. Two devices that both compute are not to be had here.
"""

import gc
import json
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.plain_models import EXAMPLES
from torch import Tensor, nn

from gradprism import GradientAnalyzer, GradPrismError, score, spectra
from gradprism.core.settings import checked
from gradprism.data.encode import Encoded
from gradprism.models import adapters, offload
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.device import Spread, devices_in_words, execution_device, find_spread, is_offloaded
from gradprism.models.likelihood import Batch, ResponseHead
from gradprism.models.offload import refetching
from gradprism.models.settings import CheckpointSettings, ExecutionSettings
from gradprism.models.sources import LoadedModel
from gradprism.prism import precision

pytestmark = pytest.mark.slow  # models that are written to disk and loaded again

MEASURES = ("nuclear_norm", "effective_rank", "frobenius_norm", "spectral_norm", "stable_rank")
BATCH = Batch.of([Encoded((5, 6, 7), (False, True, True), False)], torch.device("cpu"))
LAYERS_ON_DISK = (
    "model.embed_tokens=cpu,model.layers.0=disk,model.layers.1=cpu,model.layers.2=disk,model.layers.3=disk,"
    "model.norm=cpu,model.rotary_emb=cpu,lm_head=cpu"
)


def loaded(model: Path | str, device_map: str | None = None, **changes: Any) -> Any:
    spread = find_spread(ExecutionSettings(device_map=device_map)) if device_map else None
    return find_checkpoint(CheckpointSettings(model=str(model), **changes)).load_model("cpu", spread)


def assert_same(found: Any, expected: Any, rel: float) -> None:
    assert found.examples["status"].to_list() == expected.examples["status"].to_list()
    assert found.examples["loss"].to_list() == pytest.approx(expected.examples["loss"].to_list(), rel=rel)
    for measure in MEASURES:
        assert found.spectra[measure].to_list() == pytest.approx(expected.spectra[measure].to_list(), rel=rel)
    cosines = expected.similarity["cosine"].to_list()
    for one, other in zip(found.similarity["cosine"].to_list(), cosines, strict=True):
        assert one == (pytest.approx(other, abs=rel) if other is not None else None)


@pytest.mark.parametrize(("device_map", "rel"), [(LAYERS_ON_DISK, 0.0), ("=disk", 1e-6)])
def test_weights_on_disk_change_no_number(device_map: str, rel: float, tiny_checkpoint: Path, tokenizer: Any) -> None:
    """With the output layer on disk the loss is differentiated by autograd, not block by block: that is the 1e-6."""
    model = loaded(tiny_checkpoint, device_map)
    assert is_offloaded(model.model.layers[2].self_attn.q_proj)
    found = GradientAnalyzer(model, tokenizer).analyze(EXAMPLES)
    assert_same(found, GradientAnalyzer(loaded(tiny_checkpoint), tokenizer).analyze(EXAMPLES), rel)


@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_other_families_and_tied_weights(
    family: str, make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    model = make_model(family, tie_word_embeddings=True)
    model.save_pretrained(tmp_path)
    found = GradientAnalyzer(loaded(tmp_path, "=disk"), tokenizer).analyze(EXAMPLES)
    assert_same(found, GradientAnalyzer(model, tokenizer).analyze(EXAMPLES), 1e-6)


def test_another_type_than_the_file_has(tiny_checkpoint: Path, tokenizer: Any, tmp_path: Path) -> None:
    loaded(tiny_checkpoint, dtype="bfloat16").save_pretrained(tmp_path)
    found = GradientAnalyzer(loaded(tmp_path, LAYERS_ON_DISK), tokenizer).analyze(EXAMPLES)
    assert_same(found, GradientAnalyzer(loaded(tmp_path), tokenizer).analyze(EXAMPLES), 0.0)


def test_a_spread_model_is_left_as_it_was_found(tiny_checkpoint: Path, tokenizer: Any) -> None:
    model = loaded(tiny_checkpoint, LAYERS_ON_DISK)

    def state() -> dict[str, Any]:
        return {name: (weight.device, weight.requires_grad) for name, weight in model.named_parameters()}

    before = state()
    assert {device.type for device, _ in before.values()} == {"cpu", "meta"}
    GradientAnalyzer(model, tokenizer).analyze(EXAMPLES)
    assert state() == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_backward_keeps_no_fetched_weight(tiny_checkpoint: Path) -> None:
    """Autograd would keep all that the forward pass fetched, and a model that fits nowhere would have to fit."""
    model = loaded(tiny_checkpoint, LAYERS_ON_DISK).requires_grad_(False)
    layer = model.model.layers[2]
    seen: list[weakref.ref[Tensor]] = []

    def look(module: nn.Linear, *_: Any) -> None:
        seen.append(weakref.ref(module.weight.untyped_storage()))

    def alive(within: Any) -> int:
        seen.clear()
        inner = layer.mlp.up_proj._old_forward
        layer.mlp.up_proj._old_forward = lambda *args: (look(layer.mlp.up_proj), inner(*args))[1]
        try:
            with within:
                states = torch.randn(1, 5, 32, requires_grad=True)
                outputs = layer.mlp(states)
                gc.collect()
                kept = sum(ref() is not None for ref in seen)
                outputs.sum().backward()
                gradients.append(states.grad)
                return kept
        finally:
            layer.mlp.up_proj._old_forward = inner

    gradients: list[Any] = []
    torch.manual_seed(0)
    assert alive(nullcontext()) == 1
    torch.manual_seed(0)
    assert alive(refetching(model)) == 0
    assert torch.equal(*gradients)


def test_backward_keeps_no_copy_that_autocast_made(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded(tiny_checkpoint, LAYERS_ON_DISK).requires_grad_(False)
    mlp, again = model.model.layers[2].mlp, offload._Fetched.refetch
    fetched: list[str] = []
    monkeypatch.setattr(offload._Fetched, "refetch", lambda kept: (fetched.append(kept.name), again(kept))[1])

    def gradient() -> Tensor:
        torch.manual_seed(0)
        states = torch.randn(1, 5, 32, requires_grad=True)
        mlp(states).sum().backward()
        return states.grad

    with torch.autocast("cpu", torch.bfloat16):
        kept = gradient()
        assert not fetched
        with refetching(model):
            assert torch.equal(gradient(), kept)
    assert fetched == ["weight"] * 3


def test_a_fingerprint_reads_offloaded_weights(
    tiny_checkpoint: Path, make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    def fingerprint(model: Any) -> str:
        return LoadedModel(model, tokenizer).fingerprint(model.config)

    make_model("llama", seed=1).save_pretrained(tmp_path)
    assert fingerprint(loaded(tiny_checkpoint, LAYERS_ON_DISK)) == fingerprint(loaded(tiny_checkpoint))
    assert fingerprint(loaded(tiny_checkpoint, "=disk")) != fingerprint(loaded(tmp_path, "=disk"))


def test_tied_weights_are_read_once(make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> None:
    make_model("llama", tie_word_embeddings=True).save_pretrained(tmp_path)
    here = loaded(tmp_path)
    assert here.lm_head.weight is here.model.embed_tokens.weight
    for device_map in ("=disk", LAYERS_ON_DISK):
        spread = loaded(tmp_path, device_map)
        fingerprints = [LoadedModel(model, tokenizer).fingerprint(model.config) for model in (here, spread)]
        GradientAnalyzer(spread, tokenizer).analyze(EXAMPLES)
        assert {*fingerprints} == {LoadedModel(spread, tokenizer).fingerprint(spread.config)}


@pytest.mark.parametrize("device_map", ["=disk", LAYERS_ON_DISK])
def test_a_batch_that_is_all_skipped(device_map: str, tiny_checkpoint: Path, tokenizer: Any) -> None:
    """The first thing after a pass without gradients: it leaves tensors that no gradient could ever be asked of."""
    model = loaded(tiny_checkpoint, device_map)
    analyzer = GradientAnalyzer(model, tokenizer, max_length=2)
    assert not any(weight.is_inference() for weight in model.parameters())
    assert {*analyzer.analyze(EXAMPLES).examples["status"].to_list()} == {"skipped"}
    ResponseHead(model).nll_sums(BATCH)
    assert not any(weight.is_inference() for weight in model.parameters())
    model.requires_grad_(True)
    with torch.inference_mode():  # of the caller's own
        model(input_ids=torch.tensor([[5, 6]]))
    assert {*analyzer.analyze(EXAMPLES).examples["status"].to_list()} == {"skipped"}


def test_where_a_spread_model_runs(tiny_checkpoint: Path, tokenizer: Any) -> None:
    model = loaded(tiny_checkpoint, "=disk")
    assert next(model.parameters()).device.type == "meta"
    assert execution_device(model) == execution_device(model.get_input_embeddings()) == torch.device("cpu")
    assert LoadedModel(model, tokenizer).device("auto") == "cpu"
    assert ResponseHead(model).device == torch.device("cpu")
    assert devices_in_words(model) == "disk"
    assert devices_in_words(loaded(tiny_checkpoint, LAYERS_ON_DISK)) == "cpu, disk"
    assert devices_in_words(loaded(tiny_checkpoint)) == "cpu"


def test_int8_products_leave_fetched_layers_alone(tiny_checkpoint: Path) -> None:
    assert not precision._linears(loaded(tiny_checkpoint, "=disk"), [])


@pytest.mark.parametrize("device_map", ["=disk", LAYERS_ON_DISK])
def test_a_lora_on_a_spread_model(
    device_map: str, tiny_checkpoint: Path, make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    for kind, use_dora in (("lora", False), ("dora", True)):
        config = peft.LoraConfig(target_modules=["q_proj", "o_proj"], r=4, use_dora=use_dora, init_lora_weights=False)
        peft.get_peft_model(make_model("llama"), config).save_pretrained(tmp_path / kind)
    adapter = {"adapter": str(tmp_path / "lora")}
    found = GradientAnalyzer(loaded(tiny_checkpoint, device_map, **adapter), tokenizer).analyze(EXAMPLES)
    assert_same(found, GradientAnalyzer(loaded(tiny_checkpoint, **adapter), tokenizer).analyze(EXAMPLES), 1e-6)
    with pytest.raises(GradPrismError, match="DoRA read the weights they change"):
        loaded(tiny_checkpoint, device_map, adapter=str(tmp_path / "dora"))


@pytest.mark.filterwarnings("ignore:::peft")
@pytest.mark.parametrize(
    "beside",
    [
        {"modules_to_save": ["k_proj"]},
        {"bias": "all"},
        {"bias": "lora_only"},
        {"trainable_token_indices": [1, 5]},
        {"target_parameters": ["mlp.up_proj.weight"]},
    ],
)
def test_more_than_a_and_b_on_a_spread_model(
    beside: dict[str, Any], make_model: Callable[..., Any], tmp_path: Path
) -> None:
    """peft loads it into weights that are not there, and says nothing."""
    peft = pytest.importorskip("peft")
    plain = make_model("llama", attention_bias=True)
    plain.save_pretrained(tmp_path / "model")
    config = peft.LoraConfig(target_modules=["q_proj", "o_proj"], r=4, init_lora_weights=False, **beside)
    peft.get_peft_model(plain, config).save_pretrained(tmp_path / "adapter")
    with pytest.raises(GradPrismError, match=f"more than A and B .*{next(iter(beside))}"):
        loaded(tmp_path / "model", LAYERS_ON_DISK, adapter=str(tmp_path / "adapter"))


@pytest.mark.parametrize("beside", [{"modules_to_save": ["k_proj"]}, {"bias": "all"}])
def test_adapter_weights_that_come_to_nothing_are_noticed(
    beside: dict[str, Any], make_model: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a kind that nobody knew of."""
    peft = pytest.importorskip("peft")
    plain = make_model("llama", attention_bias=True)
    plain.save_pretrained(tmp_path / "model")
    config = peft.LoraConfig(target_modules=["q_proj", "o_proj"], r=4, init_lora_weights=False, **beside)
    peft.get_peft_model(plain, config).save_pretrained(tmp_path / "adapter")
    monkeypatch.setattr(adapters, "_refuse_on_offloaded", lambda *_: None)
    with pytest.raises(GradPrismError, match="changes weights that are offloaded"):
        loaded(tmp_path / "model", "=disk", adapter=str(tmp_path / "adapter"))


def test_a_run_and_its_scores(tiny_checkpoint: Path, sample_rows: list[dict[str, str]], tmp_path: Path) -> None:
    rows, spread = sample_rows[:2], {"device_map": LAYERS_ON_DISK}
    run = spectra(rows, tiny_checkpoint, out=tmp_path, max_length=60, **spread)
    assert run.record["sessions"][0]["device"] == "cpu, disk"
    assert not any("device" in name for name in run.record["identity"])  # it may be resumed on another machine
    apart = score(rows, "loss", model=tiny_checkpoint, max_length=60, **spread).scores("loss")
    assert apart["value"].to_list() == pytest.approx(run.examples["loss"].to_list(), rel=1e-6)
    with pytest.raises(GradPrismError, match="device_map together with a model that is loaded"):
        spectra(rows, loaded(tiny_checkpoint), tokenizer=object(), device_map="auto")


def test_what_the_options_mean(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text(json.dumps({"model": 0, "lm_head": "cpu"}))

    def spread(**options: Any) -> Spread | None:
        return find_spread(checked(ExecutionSettings, options))

    assert spread() is None
    assert spread(device_map="balanced") == Spread("balanced")
    assert spread(device_map="model=0,lm_head=cuda:1") == Spread({"model": 0, "lm_head": "cuda:1"})
    assert spread(device_map=str(tmp_path / "map.json")) == Spread({"model": 0, "lm_head": "cpu"})
    limits = spread(max_memory="0=20GiB,cpu=1.5GiB", offload_folder="/tmp/x")
    assert limits == Spread("auto", {0: "20GiB", "cpu": "1.5GiB"}, "/tmp/x")
    assert limits.options == {
        "device_map": "auto", "max_memory": {0: "20GiB", "cpu": "1.5GiB"}, "offload_folder": "/tmp/x",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"device_map": "everywhere"}, "expected auto, balanced"),
        ({"max_memory": "20GiB"}, "expected DEVICE=SIZE"),
        ({"device_map": "auto", "device": "cpu"}, "together with a spread"),
        ({"device_map": "model=0,model.layers.3=cpu"}, r"model\.layers\.3, which is a part of it"),
    ],
)
def test_what_is_not_understood(options: dict[str, str], problem: str) -> None:
    with pytest.raises(GradPrismError, match=problem):
        find_spread(checked(ExecutionSettings, options))


def test_a_file_that_is_no_device_map(tmp_path: Path) -> None:
    for text in ("[", "[1]", '{"model": [0]}'):
        (tmp_path / "map.json").write_text(text)
        with pytest.raises(GradPrismError, match=r"map\.json.*expected a JSON|Expected a JSON"):
            find_spread(ExecutionSettings(device_map=str(tmp_path / "map.json")))


def test_random_weights_are_not_spread(tiny_checkpoint: Path) -> None:
    with pytest.raises(GradPrismError, match="--from-scratch together with a device map"):
        loaded(tiny_checkpoint, "=disk", from_scratch=True)


@pytest.mark.exhaustive  # 16 s
def test_smollm2_spread(smollm2: Any, sample_rows: list[dict[str, str]]) -> None:
    model, tokenizer = smollm2
    expected = GradientAnalyzer(model, tokenizer, max_length=120).analyze(sample_rows[:2])
    layers = "model.embed_tokens=cpu,model.layers=disk,model.norm=cpu,model.rotary_emb=cpu,lm_head=cpu"
    for options, rel in (
        ({"device_map": layers}, 0.0),
        ({"max_memory": "cpu=300MiB"}, 1e-5),
        ({"device_map": "=disk"}, 1e-5),
    ):
        checkpoint = find_checkpoint(CheckpointSettings(model="smollm2-135m"))
        spread = checkpoint.load_model("cpu", find_spread(ExecutionSettings(**options)))
        assert "disk" in devices_in_words(spread)
        assert_same(GradientAnalyzer(spread, tokenizer, max_length=120).analyze(sample_rows[:2]), expected, rel)
