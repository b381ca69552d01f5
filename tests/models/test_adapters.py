"""Adapters against ordinary models that hold the merged weights."""

import json
import shutil
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.damaged_checkpoints import (
    NESTED,
    Damage,
    Execute,
    copied,
    pipe,
    sparse,
    with_bytes,
    with_settings,
    write_safetensors,
)
from tests.plain_models import EXAMPLES, assert_measured_as, with_weights

from gradprism import GradientAnalyzer, GradPrismError, open_run, score, spectra
from gradprism.comparison.comparable import made_by
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.settings import CheckpointSettings
from gradprism.models.sources import LoadedModel

pytestmark = pytest.mark.slow  # loads peft: five seconds

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]


def peft() -> Any:
    """Import it for the tests that run: pytest would have a lazy module import itself while it collects."""
    return import_module("peft")


def adapted(model: Any, config: Any, seed: int = 0) -> Any:
    """Wrap a model, with weights as after training: none of them zero."""
    torch.manual_seed(seed)
    wrapped = peft().get_peft_model(model, config)
    with torch.no_grad():
        for weight in wrapped.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn_like(weight))
    return wrapped.eval()


def lora(**changes: Any) -> Any:
    return peft().LoraConfig(**({"target_modules": ATTENTION, "r": 4, "lora_alpha": 6} | changes))


@pytest.fixture(scope="module")
def lora_folder(make_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter") / "lora"
    adapted(make_model("llama"), lora(target_modules=[*ATTENTION, "down_proj"])).save_pretrained(folder)
    return folder


def merged_by_hand(plain: Any, folder: Path) -> Any:
    """W + (alpha / r) B A, from the adapter's own file."""
    settings = json.loads((folder / "adapter_config.json").read_text())
    file = load_file(folder / "adapter_model.safetensors")
    weights = dict(plain.named_parameters())
    scale = settings["lora_alpha"] / settings["r"]
    merged = {}
    for name, up in file.items():
        if ".lora_B." in name:
            path = name.removeprefix("base_model.model.").replace(".lora_B.weight", ".weight")
            down = file[name.replace("lora_B", "lora_A")]  # (r, d_in)
            merged[path] = weights[path].double() + scale * up.double() @ down.double()  # (d_out, r) @ (r, d_in)
    assert len(merged) == 5 * 4
    return with_weights(plain, merged)


def loaded(model: Path | str, adapter: Path, **changes: Any) -> Any:
    settings = CheckpointSettings(model=str(model), adapter=str(adapter), **changes)
    return find_checkpoint(settings).load_model()


def test_a_lora_is_measured_as_the_merged_weights(
    tiny_checkpoint: Path, lora_folder: Path, make_model: Callable[..., Any], tokenizer: Any
) -> None:
    found = GradientAnalyzer(loaded(tiny_checkpoint, lora_folder), tokenizer).analyze(EXAMPLES)
    assert_measured_as(found, merged_by_hand(make_model("llama"), lora_folder), tokenizer)


KINDS = {
    "dora": lambda: lora(use_dora=True),
    "rank-stabilised lora": lambda: lora(use_rslora=True),
    "lora on embeddings and output": lambda: lora(target_modules=["q_proj", "embed_tokens", "lm_head"]),
    "lora and new tokens": lambda: lora(trainable_token_indices=[1, 5]),
    "whole modules beside a lora": lambda: lora(target_modules=["v_proj"], modules_to_save=["q_proj", "lm_head"]),
    "adalora": lambda: peft().AdaLoraConfig(target_modules=ATTENTION, total_step=10),
    "ia3": lambda: peft().IA3Config(
        target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]
    ),
    "loha": lambda: peft().LoHaConfig(target_modules=ATTENTION, r=4),
    "lokr": lambda: peft().LoKrConfig(target_modules=ATTENTION, r=4),
    "oft": lambda: peft().OFTConfig(target_modules=ATTENTION, oft_block_size=8, r=0),
    "boft": lambda: peft().BOFTConfig(target_modules=ATTENTION, boft_block_size=4),
    "vera": lambda: peft().VeraConfig(target_modules=["q_proj", "o_proj"], r=4),
    # Its scaling of 150 makes changes ten times as large as the weights: then fp32's rounding of the merged ones alone
    # moves spectral norms by 3e-4, and fp32 on either side is up to 1.6e-3 off fp64.
    "fourierft": lambda: peft().FourierFTConfig(target_modules=ATTENTION, n_frequency=50, scaling=10.0),
    "hra": lambda: peft().HRAConfig(target_modules=ATTENTION),
    "layer norms": lambda: peft().LNTuningConfig(target_modules=["input_layernorm"]),
    "trainable tokens": lambda: peft().TrainableTokensConfig(token_indices=[1, 5]),
}


FURTHER = {"rank-stabilised lora", "adalora", "lokr", "boft", "vera", "fourierft", "hra", "trainable tokens"}
"""Kinds that are merged as one of the others is: by a sum, a product, a rotation, or whole modules and tokens."""


@pytest.mark.filterwarnings("ignore")  # of peft, about its own kinds
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.exhaustive] if kind in FURTHER else []) for kind in KINDS]
)
def test_every_kind_that_is_let_through_is_measured_as_what_it_merges_to(
    kind: str, tiny_checkpoint: Path, make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path
) -> None:
    model = make_model("llama")
    wrapped = adapted(model, KINDS[kind]())
    wrapped.save_pretrained(tmp_path / "adapter")
    found = GradientAnalyzer(loaded(tiny_checkpoint, tmp_path / "adapter"), tokenizer).analyze(EXAMPLES)
    assert_measured_as(found, wrapped.merge_and_unload(), tokenizer)


def test_it_changes_what_is_measured_and_leaves_the_model_as_it_was(
    tiny_checkpoint: Path, lora_folder: Path, tokenizer: Any
) -> None:
    model = loaded(tiny_checkpoint, lora_folder)
    before = {name: (weight.requires_grad, weight.detach().clone()) for name, weight in model.named_parameters()}
    with_it = GradientAnalyzer(model, tokenizer).analyze(EXAMPLES).spectra["nuclear_norm"]
    for name, weight in model.named_parameters():
        assert weight.requires_grad == before[name][0]
        assert torch.equal(weight, before[name][1])
    with model.disable_adapter():
        without = GradientAnalyzer(model, tokenizer).analyze(EXAMPLES).spectra["nuclear_norm"]
    assert ((with_it / without - 1).abs() > 0.01).mean() > 0.9


@pytest.mark.parametrize("precision", ["balanced", "fast"])
def test_other_precisions_stay_close(precision: str, tiny_checkpoint: Path, lora_folder: Path, tokenizer: Any) -> None:
    model = loaded(tiny_checkpoint, lora_folder)
    exact, other = (
        GradientAnalyzer(model, tokenizer, precision=p).analyze(EXAMPLES).spectra["nuclear_norm"]
        for p in ("exact", precision)
    )
    assert (other / exact - 1).abs().median() < 0.1


def test_a_run_knows_its_adapter(
    tiny_checkpoint: Path, lora_folder: Path, sample_rows: list[dict[str, str]], tmp_path: Path
) -> None:
    rows, out = sample_rows[:2], tmp_path / "run"
    run = spectra(rows, tiny_checkpoint, adapter=lora_folder, out=out, max_length=60)
    assert run.counts.ok == 2
    assert run.record["model"]["adapter"] == str(lora_folder.resolve())
    assert "quantization" not in run.record["model"]
    assert run.record["identity"]["checkpoint.adapter"] == str(lora_folder.resolve())
    with pytest.raises(GradPrismError, match=r"--adapter .* \(now none\)"):
        spectra(rows, tiny_checkpoint, out=out, max_length=60)
    losses = score(rows, "loss", model=tiny_checkpoint, adapter=lora_folder, out=out, max_length=60).scores("loss")
    assert losses["value"].to_list() == pytest.approx(open_run(out).examples["loss"].to_list(), rel=1e-6)
    apart = score(rows, "loss", model=tiny_checkpoint, adapter=lora_folder, max_length=60).scores("loss")
    assert apart["value"].to_list() == pytest.approx(losses["value"].to_list(), rel=1e-5)


def test_a_changed_adapter_is_another_model(
    tiny_checkpoint: Path, lora_folder: Path, sample_rows: list[dict[str, str]], tmp_path: Path
) -> None:
    shutil.copytree(lora_folder, tmp_path / "lora")
    first = spectra(sample_rows[:1], tiny_checkpoint, adapter=tmp_path / "lora", out=tmp_path / "run", max_length=60)
    weights = load_file(tmp_path / "lora" / "adapter_model.safetensors")
    save_file({name: 2 * weight for name, weight in weights.items()}, tmp_path / "lora" / "adapter_model.safetensors")
    with pytest.raises(GradPrismError, match="--model or --adapter: other weights"):
        spectra(sample_rows[:1], tiny_checkpoint, adapter=tmp_path / "lora", out=tmp_path / "run", max_length=60)
    again = spectra(sample_rows[:1], tiny_checkpoint, adapter=tmp_path / "lora", out=tmp_path / "other", max_length=60)
    assert made_by(again) != made_by(first)  # not to be compared


def test_a_wrapped_model_that_came_loaded(
    lora_folder: Path, tiny_checkpoint: Path, tokenizer: Any, sample_rows: list[dict[str, str]]
) -> None:
    model = loaded(tiny_checkpoint, lora_folder)
    run = spectra(sample_rows[:2], model, tokenizer=tokenizer, max_length=60)
    by_name = spectra(sample_rows[:2], tiny_checkpoint, adapter=lora_folder, max_length=60)
    assert run.record["model"]["adapter"] == "default"
    assert run.record["model"]["layers"] == 4
    assert run.spectra["nuclear_norm"].to_list() == pytest.approx(by_name.spectra["nuclear_norm"].to_list(), rel=1e-6)


def test_the_fingerprint_of_a_wrapped_model_knows_weights_scale_and_whether_it_is_on(
    make_model: Callable[..., Any], tokenizer: Any
) -> None:
    def fingerprint(model: Any) -> str:
        return LoadedModel(model, tokenizer).fingerprint(model.config)

    one = adapted(make_model("llama"), lora())
    found = {fingerprint(one), fingerprint(adapted(make_model("llama"), lora(), seed=1))}
    found |= {fingerprint(adapted(make_model("llama"), lora(lora_alpha=12)))}
    assert fingerprint(adapted(make_model("llama"), lora())) in found
    with one.disable_adapter():
        found |= {fingerprint(one)}
    assert len(found) == 4


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (lambda: peft().PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4), "virtual tokens"),
        (lambda: peft().PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4), "in front of the text"),
        (lambda: lora(task_type="CAUSAL_LM", alora_invocation_tokens=[5, 6]), "activated LoRA"),
        (lambda: peft().RandLoraConfig(target_modules=ATTENTION), "not tested"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_changes_the_meaning_is_refused(
    config: Callable[[], Any], reason: str, make_model: Callable[..., Any], tiny_checkpoint: Path, tokenizer: Any,
    tmp_path: Path,
) -> None:  # fmt: skip
    model = peft().get_peft_model(make_model("llama"), config())
    model.save_pretrained(tmp_path / "adapter")
    with pytest.raises(GradPrismError, match=reason):
        loaded(tiny_checkpoint, tmp_path / "adapter")
    with pytest.raises(GradPrismError, match=reason):
        GradientAnalyzer(model, tokenizer)
    with pytest.raises(GradPrismError, match=reason):
        LoadedModel(model, tokenizer)


@pytest.mark.parametrize("change", [{"hidden_size": 64}, {"num_hidden_layers": 2}, {"num_hidden_layers": 6}])
@pytest.mark.filterwarnings("ignore")
def test_an_adapter_of_another_model(
    change: dict[str, int], tiny_checkpoint: Path, make_model: Callable[..., Any], tmp_path: Path
) -> None:
    adapted(make_model("llama", **change), lora()).save_pretrained(tmp_path)
    with pytest.raises(GradPrismError, match="does not fit the model"):
        loaded(tiny_checkpoint, tmp_path)


def test_folders_that_are_no_adapters(tiny_checkpoint: Path, lora_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match=r"no adapter_config\.json"):
        loaded(tiny_checkpoint, tmp_path)
    with pytest.raises(GradPrismError, match="No adapter at"):
        loaded(tiny_checkpoint, tmp_path / "absent")
    shutil.copy(lora_folder / "adapter_config.json", tmp_path)
    with pytest.raises(GradPrismError, match=r"no adapter_model\.safetensors"):
        loaded(tiny_checkpoint, tmp_path)
    (tmp_path / "adapter_config.json").write_text("{")
    shutil.copy(lora_folder / "adapter_model.safetensors", tmp_path)
    with pytest.raises(GradPrismError, match="not understood"):
        loaded(tiny_checkpoint, tmp_path)


def test_pickled_adapters_only_where_asked_for(tiny_checkpoint: Path, lora_folder: Path, tmp_path: Path) -> None:
    shutil.copy(lora_folder / "adapter_config.json", tmp_path)
    torch.save(load_file(lora_folder / "adapter_model.safetensors"), tmp_path / "adapter_model.bin")
    with pytest.raises(GradPrismError, match="--allow-pickle also loads"):
        loaded(tiny_checkpoint, tmp_path)
    assert type(loaded(tiny_checkpoint, tmp_path, allow_pickle=True)).__name__ == "PeftModel"


def test_random_weights_take_no_adapter(tiny_checkpoint: Path, lora_folder: Path) -> None:
    with pytest.raises(GradPrismError, match="--from-scratch together with --adapter"):
        loaded(tiny_checkpoint, lora_folder, from_scratch=True)


def test_without_peft(tiny_checkpoint: Path, lora_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(GradPrismError, match=r"gradprism\[adapters\]"):
        loaded(tiny_checkpoint, lora_folder)


def test_an_adapter_given_as_the_model(lora_folder: Path) -> None:
    with pytest.raises(GradPrismError, match="--adapter"):
        find_checkpoint(CheckpointSettings(model=str(lora_folder)))


def without_safetensors(content: Any) -> Damage:
    def damage(folder: Path) -> None:
        (folder / ADAPTER).unlink()
        torch.save(content, folder / "adapter_model.bin")

    return damage


CONFIG, ADAPTER = "adapter_config.json", "adapter_model.safetensors"
DAMAGED: dict[str, tuple[Damage, str]] = {
    "empty": (with_bytes(ADAPTER, b""), r"adapter_model\.safetensors is damaged: header too small"),
    "a header of 2**63 bytes": (
        lambda folder: write_safetensors(folder / ADAPTER, b"{}", b"", 2**63), r"\.safetensors is damaged: header too"
    ),
    "cut": (lambda folder: (folder / ADAPTER).write_bytes((folder / ADAPTER).read_bytes()[:-300]), "not fully covered"),
    "a pipe": (pipe(ADAPTER), r"no adapter_model\.safetensors"),
    "settings of other bytes": (with_bytes(CONFIG, b"\xff{"), r"adapter_config\.json is no JSON"),
    "settings a list": (with_bytes(CONFIG, b"[1]"), r"adapter_config\.json holds no JSON object"),
    "settings nested deeply": (with_bytes(CONFIG, NESTED), r"adapter_config\.json is no JSON: maximum recursion"),
    "settings of a gigabyte": (sparse(CONFIG), r"adapter_config\.json has 1,073,741,824 bytes"),
    "no settings": (with_bytes(CONFIG, b"{}"), "of the kind None are not measured"),
    "a rank of 0": (with_settings(CONFIG, r=0), "positive integer value but the value passed is 0"),
    "a rank of text": (with_settings(CONFIG, r="x"), "does not fit the model: TypeError"),
    "a rank of 2**25": (with_settings(CONFIG, r=2**25), "far larger than its file"),
    "a rank of 2**50": (with_settings(CONFIG, r=2**50), "does not fit the model"),
    "a scale of text": (with_settings(CONFIG, lora_alpha="x"), "does not fit the model: TypeError"),
    "modules of no pattern": (with_settings(CONFIG, target_modules="((("), "does not fit the model: error: missing"),
    "ranks that are a number": (with_settings(CONFIG, rank_pattern=5), "does not fit the model: AttributeError"),
    "an unknown kind": (with_settings(CONFIG, peft_type="NONSENSE"), "is not understood: KeyError: 'NONSENSE'"),
    "a pickle of a list": (without_safetensors([1]), r"adapter_model\.bin holds more than weights"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_adapters(case: str, tiny_checkpoint: Path, lora_folder: Path, tmp_path: Path) -> None:
    damage, said = DAMAGED[case]
    folder = copied(lora_folder, tmp_path / "adapter", damage)
    with pytest.raises(GradPrismError, match=said):
        loaded(tiny_checkpoint, folder, allow_pickle=True)


def test_an_adapter_that_runs_code_does_not_run_it(tiny_checkpoint: Path, lora_folder: Path, tmp_path: Path) -> None:
    evil = without_safetensors({"a": Execute(f"touch {tmp_path / 'executed'}")})
    folder = copied(lora_folder, tmp_path / "adapter", evil)
    for allowed in (True, False):
        with pytest.raises(GradPrismError, match=r"adapter_model\.bin is damaged|--allow-pickle"):
            loaded(tiny_checkpoint, folder, allow_pickle=allowed)
    assert not (tmp_path / "executed").exists()
