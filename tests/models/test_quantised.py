"""Quantised models against ordinary ones that hold the dequantised weights, as the library itself dequantises them."""

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.families import FAMILIES
from tests.families.family import SIZES, Family
from tests.plain_models import EXAMPLES, assert_measured_as, with_weights
from torch import nn

from gradprism import GradientAnalyzer, GradPrismError, score, spectra
from gradprism.models.adapters import with_adapter
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.likelihood import ResponseHead
from gradprism.models.quantised import exact_products, loading_options, refuse_forward_only
from gradprism.models.settings import CheckpointSettings
from gradprism.models.sources import LoadedModel
from gradprism.prism.precision import _linears

pytestmark = pytest.mark.filterwarnings("ignore:::(?!gradprism)")
NAMES = ("bnb-8bit", "bnb-4bit", "torchao-int8")
PACKAGES = {"bnb-8bit": "bitsandbytes", "bnb-4bit": "bitsandbytes", "torchao-int8": "torchao"}


def loaded(model: Path | str, **changes: Any) -> Any:
    quantization = changes.get("quantization")
    if quantization:
        pytest.importorskip(PACKAGES[quantization])
    return find_checkpoint(CheckpointSettings(model=str(model), **changes)).load_model()


def dequantised(model: nn.Module) -> dict[str, torch.Tensor]:
    """Weights of all quantised layers, by the library that made them."""
    found = {}
    for path, module in model.named_modules():
        kind, weight = type(module).__name__, getattr(module, "weight", None)
        if kind == "Linear4bit":
            from bitsandbytes.functional import dequantize_4bit

            found[f"{path}.weight"] = dequantize_4bit(weight.data, weight.quant_state)
        elif kind == "Linear8bitLt":
            from bitsandbytes.functional import int8_vectorwise_dequant

            codes, scales = (weight.CB, weight.SCB) if weight.CB is not None else (module.state.CB, module.state.SCB)
            found[f"{path}.weight"] = int8_vectorwise_dequant(codes, scales)
        elif isinstance(module, nn.Linear) and type(weight) is not nn.Parameter:
            found[f"{path}.weight"] = weight.dequantize()
    return found


def quantised(folder: Path, kind: str) -> Any:
    """Through transformers itself, with a configuration that no option of ours makes."""
    import transformers as hf

    if kind.startswith("bnb"):
        pytest.importorskip("bitsandbytes")
        config = hf.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="fp4", bnb_4bit_use_double_quant=True)
    else:
        ao = pytest.importorskip("torchao.quantization")
        config = hf.TorchAoConfig(
            {
                "torchao float8": ao.Float8WeightOnlyConfig,
                "torchao int4": lambda: ao.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=ao.PerGroup(16)),
                "torchao int8, activations too": ao.Int8DynamicActivationInt8WeightConfig,
            }[kind]()
        )
    return hf.AutoModelForCausalLM.from_pretrained(folder, quantization_config=config, dtype=torch.float32)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_quantised_on_loading(name: str, tiny_checkpoint: Path, make_model: Callable[..., Any], tokenizer: Any) -> None:
    model = loaded(tiny_checkpoint, quantization=name)
    weights = dequantised(model)
    assert len(weights) == 7 * 4
    plain = make_model("llama")
    assert any(not torch.equal(weights[key], plain.state_dict()[key]) for key in weights)
    found = GradientAnalyzer(model, tokenizer).analyze(EXAMPLES)
    assert_measured_as(found, with_weights(plain, weights), tokenizer)


@pytest.mark.slow  # the library's other kinds, a second each
@pytest.mark.parametrize("kind", ["bnb fp4, double", "torchao float8", "torchao int4"])
def test_quantised_by_other_settings(
    kind: str, tiny_checkpoint: Path, make_model: Callable[..., Any], tokenizer: Any
) -> None:
    model = quantised(tiny_checkpoint, kind)
    found = GradientAnalyzer(model, tokenizer).analyze(EXAMPLES)
    assert_measured_as(found, with_weights(make_model("llama"), dequantised(model)), tokenizer)


@pytest.mark.slow  # saves and loads three models
@pytest.mark.parametrize("name", NAMES)
def test_saved_quantised(name: str, tiny_checkpoint: Path, tokenizer: Any, tmp_path: Path) -> None:
    model = loaded(tiny_checkpoint, quantization=name)
    model.save_pretrained(tmp_path)
    again = loaded(tmp_path)
    expected, found = (GradientAnalyzer(m, tokenizer).analyze(EXAMPLES).spectra for m in (model, again))
    assert found["nuclear_norm"].to_list() == expected["nuclear_norm"].to_list()
    with pytest.raises(GradPrismError, match="saved quantised already"):
        loaded(tmp_path, quantization=name)


def fp8(weight: torch.Tensor, block: int = 16) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """As DeepSeek-V3 and others are saved: e4m3 in square blocks, each with its scale."""
    rows, columns = (size // block for size in weight.shape)
    blocks = weight.view(rows, block, columns, block)
    scales = blocks.abs().amax((1, 3), keepdim=True) / 448
    codes = (blocks / scales).to(torch.float8_e4m3fn)
    stored = {"weight": codes.view_as(weight), "weight_scale_inv": scales.view(rows, columns)}
    return stored, (codes.float() * scales).view_as(weight)


def by_channel(weight: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """As LLM Compressor saves int8: a scale for each row."""
    scales = weight.abs().amax(1, keepdim=True) / 127
    codes = (weight / scales).round().to(torch.int8)
    return {"weight": codes, "weight_scale": scales}, codes.float() * scales


SAVED = {
    "fp8": (fp8, {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [16, 16]}),
    "compressed-tensors": (
        by_channel,
        {
            "quant_method": "compressed-tensors",
            "format": "int-quantized",
            "quantization_status": "compressed",
            "ignore": ["lm_head"],
            "config_groups": {
                "group_0": {
                    "targets": ["Linear"],
                    "weights": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"},
                }
            },
        },
    ),
}


@pytest.mark.parametrize("method", SAVED)
@pytest.mark.slow
def test_checkpoints_of_other_makers(
    method: str, tiny_checkpoint: Path, make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    """Written here by hand."""
    if method == "compressed-tensors":
        pytest.importorskip("compressed_tensors")
    make, config = SAVED[method]
    stored, weights = {}, {}
    for name, weight in load_file(tiny_checkpoint / "model.safetensors").items():
        if "_proj" in name:
            parts, weights[name] = make(weight)
            stored |= {name.replace("weight", part): value.contiguous() for part, value in parts.items()}
        else:
            stored[name] = weight
    shutil.copytree(tiny_checkpoint, tmp_path / method)
    save_file(stored, tmp_path / method / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((tiny_checkpoint / "config.json").read_text()) | {"quantization_config": config}
    (tmp_path / method / "config.json").write_text(json.dumps(settings))
    found = GradientAnalyzer(loaded(tmp_path / method), tokenizer).analyze(EXAMPLES)
    assert_measured_as(found, with_weights(make_model("llama"), weights), tokenizer)


def test_layers_that_send_nothing_back_are_refused(tiny_checkpoint: Path, tokenizer: Any) -> None:
    model = quantised(tiny_checkpoint, "torchao int8, activations too")
    with pytest.raises(GradPrismError, match="sends no gradient back"):
        GradientAnalyzer(model, tokenizer)


def test_a_backward_pass_of_other_weights_is_refused(make_model: Callable[..., Any], tokenizer: Any) -> None:
    class Odd(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            outputs = super().forward(inputs)
            return outputs + (super().forward(inputs) - outputs.detach())  # twice the gradient

    model = make_model("llama")
    home = model.model.layers[2].mlp
    home.up_proj, before = Odd(32, 48, bias=False), home.up_proj
    home.up_proj.weight = before.weight
    with pytest.raises(GradPrismError, match=r"layers\.2\.mlp\.up_proj"):
        GradientAnalyzer(model, tokenizer)


def mxfp4(shape: tuple[int, ...]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Random codes of (experts, d_out, d_in): e2m1 in blocks of 32 with a power of 2 each; their values transposed."""
    codes = torch.randint(0, 16, shape)
    scales = torch.randint(122, 126, (*shape[:-1], shape[-1] // 32))
    values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])[codes % 8] * torch.where(codes < 8, 1, -1)
    blocks = (codes[..., ::2] + 16 * codes[..., 1::2]).to(torch.uint8).unflatten(-1, (-1, 16))
    scaled = values.unflatten(-1, (-1, 32)) * (scales - 127.0).exp2()[..., None]
    return {"blocks": blocks, "scales": scales.to(torch.uint8)}, scaled.flatten(-2).transpose(1, 2)


@pytest.mark.slow  # half a second or more
def test_gpt_oss_as_it_is_published(tokenizer: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tiny = family("gpt_oss")
    sizes = {"intermediate_size": 32, "vocab_size": len(tokenizer)}
    plain = dataclasses.replace(tiny, settings=SIZES | dict(tiny.settings) | sizes, common=False).make()
    plain.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    for layer in range(3):
        for name, d_out in (("gate_up_proj", 64), ("down_proj", 32)):
            path = f"model.layers.{layer}.mlp.experts.{name}"
            del stored[path]
            parts, values = mxfp4((4, d_out, 32))
            stored |= {f"{path}_{part}": value for part, value in parts.items()}
            plain.get_parameter(path).data = values.contiguous()
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((tmp_path / "config.json").read_text())
    settings["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    model = loaded(tmp_path)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    found, expected = (GradientAnalyzer(m, tokenizer).analyze(EXAMPLES).spectra for m in (model, plain))
    assert found["nuclear_norm"].to_list() == expected["nuclear_norm"].to_list()
    assert_measured_as(GradientAnalyzer(model, tokenizer).analyze(EXAMPLES), plain, tokenizer)


class StraightThrough(nn.Linear):
    """As `FP8Linear` of transformers on a GPU: inputs rounded to fp8 on the way forward, and not on the way back."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        scale = inputs.detach().abs().amax(-1, keepdim=True).clamp(min=1e-9) / 448
        rounded = (inputs.detach() / scale).to(torch.float8_e4m3fn).to(inputs.dtype) * scale
        return super().forward(inputs + (rounded - inputs.detach()))


class Raising(nn.Linear):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no kernel image is available")


class ByHalves(nn.Linear):
    """Plain weights, and inputs of another shape, as DeepSeek-V4 has them."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return (inputs.unflatten(-1, (2, self.in_features)) @ self.weight.T).flatten(-2)


def family(name: str) -> Family:
    return next(each for each in FAMILIES if each.name == name)


def replaced(make_model: Callable[..., Any], kind: type[nn.Linear], dtype: torch.dtype = torch.float32) -> Any:
    model = make_model("llama").to(dtype)
    home = model.model.layers[2].mlp
    before, home.up_proj = home.up_proj, kind(32, 48, bias=False)
    home.up_proj.weight = before.weight
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_inputs_rounded_on_the_way_forward_alone_are_refused(dtype: torch.dtype, make_model: Any) -> None:
    with pytest.raises(GradPrismError, match=r"layers\.2\.mlp\.up_proj .*rounds its inputs"):
        refuse_forward_only(replaced(make_model, StraightThrough, dtype))
    refuse_forward_only(replaced(make_model, type("Subclass", (nn.Linear,), {}), dtype))


@pytest.mark.parametrize("name", NAMES)
def test_quantised_layers_in_bfloat16_pass(name: str, tiny_checkpoint: Path) -> None:
    refuse_forward_only(loaded(tiny_checkpoint, quantization=name, dtype="bfloat16"))


def test_a_layer_that_fails_is_named(make_model: Callable[..., Any]) -> None:
    model = replaced(make_model, Raising)
    refuse_forward_only(model)  # plain weights: it may take inputs of another shape
    layer = model.model.layers[2].mlp.up_proj
    layer.weight = nn.Parameter(torch.zeros(48, 32, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(GradPrismError, match=r"layers\.2\.mlp\.up_proj .* fails: RuntimeError: no kernel image"):
        refuse_forward_only(model)
    refuse_forward_only(nn.Sequential(ByHalves(16, 8, bias=False)))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float8_e4m3fn])
def test_packed_weights_in_what_is_no_linear_map_are_refused(dtype: torch.dtype) -> None:
    """As `Mxfp4GptOssExperts` and `FP8Experts` of transformers hold them."""
    model = family("qwen3_moe").make()
    experts = model.model.layers[2].mlp.experts
    packed = torch.zeros_like(experts.down_proj, dtype=dtype)
    experts.down_proj = nn.Parameter(packed, requires_grad=False)
    with pytest.raises(GradPrismError, match=r"layers\.2\.mlp\.experts .*not tested"):
        refuse_forward_only(model)


@pytest.mark.parametrize("method", ["fp8", "mxfp4", "compressed-tensors"])
def test_what_could_not_be_measured_is_dequantised(method: str) -> None:
    if method == "compressed-tensors":
        pytest.importorskip("compressed_tensors")
    saved = {"quant_method": method, "modules_to_not_convert": ["lm_head"]}
    config = loading_options(method, SimpleNamespace(quantization_config=saved))["quantization_config"]
    assert getattr(config, "dequantize", True)
    if method != "compressed-tensors":
        assert config.modules_to_not_convert == ["lm_head"]
    assert loading_options("bitsandbytes", None) == loading_options(None, None) == {}


def test_8bit_layers_are_left_as_they_were_found(tiny_checkpoint: Path) -> None:
    model = loaded(tiny_checkpoint, quantization="bnb-8bit")
    layer, inputs = model.model.layers[0].self_attn.q_proj, torch.randn(3, 32)
    before = layer(inputs)
    exact = inputs @ dequantised(model)["model.layers.0.self_attn.q_proj.weight"].float().T
    with exact_products(model):
        assert torch.allclose(layer(inputs), exact, rtol=1e-5, atol=1e-5 * float(exact.abs().max()))
    assert "forward" not in vars(layer)
    assert torch.equal(layer(inputs), before)
    assert not torch.allclose(before, exact, rtol=1e-4)  # LLM.int8() itself rounds its inputs


@pytest.mark.parametrize("name", NAMES)
def test_int8_products_leave_quantised_layers_alone(name: str, tiny_checkpoint: Path) -> None:
    model = loaded(tiny_checkpoint, quantization=name)
    assert [*map(id, _linears(model, []))] == [id(model.lm_head)]


def test_a_quantised_output_layer_goes_the_models_own_way(tiny_checkpoint: Path, tokenizer: Any) -> None:
    ao = pytest.importorskip("torchao.quantization")
    model, plain = loaded(tiny_checkpoint), loaded(tiny_checkpoint)
    ao.quantize_(model, ao.Int8WeightOnlyConfig(), filter_fn=lambda module, name: name == "lm_head")
    assert ResponseHead(model)._linear is None
    found = GradientAnalyzer(model, tokenizer).analyze(EXAMPLES)
    assert_measured_as(found, with_weights(plain, dequantised(model)), tokenizer)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.slow
def test_4bit_layers_compute_in_the_type_asked_for(dtype: Any, tiny_checkpoint: Path, tmp_path: Path) -> None:
    import transformers as hf

    pytest.importorskip("bitsandbytes")
    config = hf.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float16)
    hf.AutoModelForCausalLM.from_pretrained(tiny_checkpoint, quantization_config=config).save_pretrained(tmp_path)
    model = loaded(tmp_path, dtype=dtype)
    assert {m.compute_dtype for m in model.modules() if hasattr(m, "compute_dtype")} == {getattr(torch, dtype)}
    as_saved = loaded(tmp_path, dtype="auto")
    assert {m.compute_dtype for m in as_saved.modules() if hasattr(m, "compute_dtype")} == {torch.float16}


@pytest.mark.slow  # half a second or more
@pytest.mark.parametrize("saved", ["bfloat16", None])
def test_4bit_layers_compute_in_the_type_of_the_checkpoint(
    saved: str | None, tiny_checkpoint: Path, tokenizer: Any, tmp_path: Path
) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "model")
    settings = json.loads((tiny_checkpoint / "config.json").read_text()) | {"dtype": saved}
    (tmp_path / "model" / "config.json").write_text(json.dumps(settings))
    model = loaded(tmp_path / "model", quantization="bnb-4bit", dtype="auto")
    if saved:
        assert {m.compute_dtype for m in model.modules() if hasattr(m, "compute_dtype")} == {torch.bfloat16}
    assert GradientAnalyzer(model, tokenizer).analyze(EXAMPLES).examples["status"].to_list() == ["ok", "ok"]


@pytest.mark.slow
def test_a_run_knows_how_its_model_was_quantised(
    tiny_checkpoint: Path, sample_rows: list[dict[str, str]], tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    rows, out = sample_rows[:2], tmp_path / "run"
    run = spectra(rows, tiny_checkpoint, quantization="bnb-8bit", out=out, max_length=60)
    assert run.record["model"]["quantization"] == "bnb-8bit"
    with pytest.raises(GradPrismError, match=r"--quantization bnb-8bit \(now bnb-4bit\)"):
        spectra(rows, tiny_checkpoint, quantization="bnb-4bit", out=out, max_length=60)
    apart = score(rows, "loss", model=tiny_checkpoint, quantization="bnb-8bit", max_length=60).scores("loss")
    assert apart["value"].to_list() == pytest.approx(run.examples["loss"].to_list(), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_the_fingerprint_of_a_quantised_model_knows_its_scales(
    name: str, tiny_checkpoint: Path, tokenizer: Any, tmp_path: Path
) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "doubled")
    weights = load_file(tiny_checkpoint / "model.safetensors")
    doubled = {key: 2 * value if "_proj" in key else value for key, value in weights.items()}  # the same codes
    save_file(doubled, tmp_path / "doubled" / "model.safetensors", metadata={"format": "pt"})

    def fingerprint(folder: Path) -> str:
        model = loaded(folder, quantization=name)
        return LoadedModel(model, tokenizer).fingerprint(model.config)

    assert fingerprint(tiny_checkpoint) == fingerprint(tiny_checkpoint)
    assert fingerprint(tiny_checkpoint) != fingerprint(tmp_path / "doubled")


def test_contradictions_are_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match="--from-scratch together with --quantization"):
        loaded(tiny_checkpoint, quantization="bnb-4bit", from_scratch=True)
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    with pytest.raises(GradPrismError, match=r"\.gguf file, which is quantised already"):
        loaded(tmp_path / "a.gguf", quantization="bnb-4bit")


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_package_names_its_extra(name: str, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(PACKAGES[name])
    monkeypatch.setitem(sys.modules, PACKAGES[name], None)
    with pytest.raises(GradPrismError, match=r"gradprism\[quantised\]"):
        find_checkpoint(CheckpointSettings(model=str(tiny_checkpoint), quantization=name)).load_model()


@pytest.mark.slow  # a model each
@pytest.mark.parametrize(
    ("name", "use_dora"),
    [
        ("bnb-8bit", False),
        ("bnb-4bit", True),
        ("torchao-int8", False),
        ("torchao int4", True),
        *(
            pytest.param(*case, marks=pytest.mark.exhaustive)
            for case in (("bnb-8bit", True), ("bnb-4bit", False), ("torchao-int8", True), ("torchao int4", False))
        ),
    ],
)
def test_an_adapter_on_a_quantised_model(
    name: str, use_dora: bool, tiny_checkpoint: Path, make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    """As QLoRA leaves it: measured as the dequantised weights with the adapter merged into them."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        target_modules=["q_proj", "v_proj", "o_proj"], r=4, use_dora=use_dora, init_lora_weights=False
    )
    torch.manual_seed(0)
    peft.get_peft_model(make_model("llama"), config).save_pretrained(tmp_path)
    if name in NAMES:
        model = loaded(tiny_checkpoint, quantization=name, adapter=str(tmp_path))
    else:
        model = with_adapter(quantised(tiny_checkpoint, name), tmp_path)
    weights = {
        path.replace(".base_layer", "").removeprefix("base_model.model."): weight
        for path, weight in dequantised(model).items()
    }
    plain = with_weights(make_model("llama"), weights)
    merged = peft.PeftModel.from_pretrained(plain, tmp_path).merge_and_unload()
    found = GradientAnalyzer(model, tokenizer).analyze(EXAMPLES)
    assert_measured_as(found, merged, tokenizer)


@pytest.mark.slow  # the real model, twice for each
@pytest.mark.parametrize(
    "name",
    ["bnb-4bit", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("bnb-8bit", "torchao-int8"))],
)
def test_smollm2_quantised(name: str, smollm2: Any, sample_rows: list[dict[str, str]]) -> None:
    """Measured: 0 (4 bits), 6e-6 and 5e-6 (8 bits) at most, between any two measures of the two models."""
    model, rows = loaded("smollm2-135m", quantization=name), sample_rows[:2]
    plain = with_weights(loaded("smollm2-135m"), dequantised(model))
    found, expected = (GradientAnalyzer(m, smollm2[1], max_length=100).analyze(rows) for m in (model, plain))
    for measure in ("nuclear_norm", "effective_rank", "frobenius_norm", "spectral_norm"):
        ratios = found.spectra[measure] / expected.spectra[measure]
        assert (ratios - 1).abs().max() < 5e-5
    assert (found.similarity["cosine"] - expected.similarity["cosine"]).abs().max() < 5e-5
