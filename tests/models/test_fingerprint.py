"""What makes a model another one: any of its bytes, its adapter, its hooks; and what does not."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.plain_models import EXAMPLES
from torch import Tensor, nn

from gradprism import GradientAnalyzer, GradPrismError, open_run, spectra
from gradprism.files import digest_memory
from gradprism.models import builtin, file_digests
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.file_digests import digest_of_files, refuse_changed
from gradprism.models.fingerprint import digest_of_model
from gradprism.models.settings import CheckpointSettings
from gradprism.models.sources import LoadedModel

pytestmark = pytest.mark.slow  # many cases, of which each takes a moment

FEW: dict[str, Any] = {"limit": 1, "max_length": 60, "projections": ("q",)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, in which digests are remembered however small and new a file is."""
    monkeypatch.setenv("GRADPRISM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(digest_memory, "_REMEMBERED", 0)
    monkeypatch.setattr(digest_memory, "_SETTLED", -1e9)
    return tmp_path / "cache" / "digests"


def flip(file: Path, at: int) -> None:
    """Change a byte, and leave the size and the time of the change as they were."""
    times = file.stat()
    with file.open("r+b") as stream:
        stream.seek(at)
        (byte,) = stream.read(1)
        stream.seek(at)
        stream.write(bytes([byte ^ 1]))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.fixture
def checkpoint(make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> Path:
    """A checkpoint of two files of some MiB."""
    folder = tmp_path / "model"
    make_model("llama", intermediate_size=4096).save_pretrained(folder, max_shard_size="4MB")
    tokenizer.save_pretrained(folder)
    sizes = [file.stat().st_size for file in folder.glob("*.safetensors")]
    assert len(sizes) == 2
    assert min(sizes) > 2 << 20  # what lies in the middle is more than a MiB from both ends
    return folder


@pytest.mark.parametrize("shard", [0, 1])
def test_a_run_is_not_resumed_with_other_weights_in_the_middle_of_a_file(
    shard: int, checkpoint: Path, sample_rows: list[dict[str, str]], tmp_path: Path
) -> None:
    def measure() -> None:
        spectra(sample_rows[:1], checkpoint, out=tmp_path / "run", **FEW)

    measure()
    file = sorted(checkpoint.glob("*.safetensors"))[shard]
    os.utime(file)
    measure()
    flip(file, file.stat().st_size // 2)
    with pytest.raises(GradPrismError, match="--model or --adapter: other weights, or another tokenizer"):
        measure()


def test_an_adapter_of_another_scale_is_another(
    tiny_checkpoint: Path, make_model: Callable[..., Any], sample_rows: list[dict[str, str]], tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj"], init_lora_weights=False)
    peft.get_peft_model(make_model("llama"), config).save_pretrained(tmp_path / "lora")

    def measure() -> None:
        options = {"adapter": tmp_path / "lora", "out": tmp_path / "run"}
        spectra(sample_rows[:1], tiny_checkpoint, **options, **FEW)

    measure()
    measure()
    settings = json.loads((tmp_path / "lora" / "adapter_config.json").read_text(encoding="utf-8"))
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps(settings | {"lora_alpha": 8}), encoding="utf-8")
    with pytest.raises(GradPrismError, match="--model or --adapter: other weights, or another tokenizer"):
        measure()


def test_a_loaded_model_of_which_some_rows_have_changed(
    make_model: Callable[..., Any], tokenizer: Any, sample_rows: list[dict[str, str]], tmp_path: Path
) -> None:
    model = make_model("llama", intermediate_size=300)

    def measure() -> None:
        spectra(sample_rows[:1], model, tokenizer=tokenizer, out=tmp_path / "run", **FEW)

    measure()
    measure()
    with torch.no_grad():
        model.model.layers[2].mlp.up_proj.weight[100:200] += 1e-3
    with pytest.raises(GradPrismError, match="--model or --adapter: other weights, or another tokenizer"):
        measure()


def test_every_byte_of_a_loaded_model_counts(make_model: Callable[..., Any], tokenizer: Any) -> None:
    model = make_model("llama").bfloat16()

    def digest() -> str:
        return digest_of_model(model, tokenizer, "bfloat16")

    before, weight = digest(), model.model.layers[1].self_attn.o_proj.weight.data
    for row, column in ((0, 17), (16, 16), (31, 30)):
        kept = weight[row, column].clone()
        weight[row, column] = kept.float() * 1.01 + 0.01
        assert digest() != before
        weight[row, column] = kept
    weight.copy_(weight.flip(0))  # the same values in another order
    assert digest() != before
    weight.copy_(weight.flip(0))
    assert digest() == before
    model.register_buffer("scale", torch.ones(1))
    assert digest() != before


def steer(by: Tensor) -> Callable[..., Any]:
    def added(module: nn.Module, inputs: Any, outputs: Any) -> Any:
        return outputs + by

    return added


class Steering:
    """The same as an object."""

    def __init__(self, by: Tensor):
        self.by = by

    def __call__(self, module: nn.Module, inputs: Any, outputs: Any) -> Any:
        return outputs + self.by


def test_hooks_that_steer_are_part_of_a_model(make_model: Callable[..., Any], tokenizer: Any) -> None:
    model = make_model("llama")

    def digest() -> str:
        return LoadedModel(model, tokenizer).fingerprint(model.config)

    def hooked(layer: int, hook: Callable[..., Any]) -> str:
        handle = model.model.layers[layer].mlp.register_forward_hook(hook)
        try:
            return digest()
        finally:
            handle.remove()

    one, two = torch.ones(32), torch.full((32,), 2.0)
    found = [hooked(1, steer(one)), hooked(1, steer(two)), hooked(2, steer(one)), hooked(1, Steering(one)),
             hooked(1, Steering(two)), digest()]  # fmt: skip
    assert len({*found}) == len(found)
    assert found[0] == hooked(1, steer(torch.ones(32)))
    assert found[3] == hooked(1, Steering(torch.ones(32)))
    own = model.model.layers[0].mlp.forward
    model.model.layers[0].mlp.forward = lambda inputs: 2 * own(inputs)
    assert digest() not in found


def test_what_computes_nothing_else_leaves_the_digest_alone(make_model: Callable[..., Any], tokenizer: Any) -> None:
    model = make_model("llama")
    before = digest_of_model(model, tokenizer, "float32")
    GradientAnalyzer(model, tokenizer).analyze(EXAMPLES)
    model(torch.tensor([[1, 2, 3]]), output_hidden_states=True, output_attentions=True)  # transformers hooks itself in
    model.enable_input_require_grads()
    assert digest_of_model(model, tokenizer, "float32") == before


def test_digests_are_remembered(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights"
    file.write_bytes(bytes(range(256)) * 40)
    monkeypatch.setattr(file_digests, "_CHUNK", 1000)
    before = digest_of_files([file])
    (entry,) = cache.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(file_digests, "_hash_chunk", None)
        assert digest_of_files([file]) == before
    os.utime(file)
    assert digest_of_files([file]) == before
    entry.write_text("{", encoding="utf-8")
    assert digest_of_files([file]) == before
    for at in (0, 4999, 5000, 10239):
        flip(file, at)
        assert digest_of_files([file]) != before
        flip(file, at)
    assert digest_of_files([file]) == before


def test_a_file_that_was_just_written_is_not_remembered(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest_memory, "_SETTLED", 2.0)
    (tmp_path / "weights").write_bytes(b"12")
    digest_of_files([tmp_path / "weights"])
    assert not cache.exists()


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"12")
    before = digest_of_files([tmp_path / "file"])
    monkeypatch.setenv("GRADPRISM_CACHE", str(tmp_path / "file" / "below"))
    assert digest_of_files([tmp_path / "file"]) == before


def test_converted_weights_that_were_changed(tmp_path: Path) -> None:
    folder = tmp_path / "float32"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(bytes(5000))
    model = builtin.BUILTIN_MODELS["smollm2-135m"]
    refuse_changed(model, folder)
    refuse_changed(model, folder)
    flip(folder / "model.safetensors", 2500)
    with pytest.raises(GradPrismError, match=r"weights of smollm2-135m .* have changed since they were converted"):
        refuse_changed(model, folder)


def test_a_cached_file_that_is_another_is_not_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADPRISM_CACHE", str(tmp_path))
    model = builtin.BUILTIN_MODELS["smollm2-135m"]
    model.folder.mkdir(parents=True)
    model.gguf.write_bytes(b"GGUF")
    with pytest.raises(GradPrismError, match="its checksum is another"):
        find_checkpoint(CheckpointSettings(model=model.name))


def test_a_merged_model_with_its_adapter_beside_it(tiny_checkpoint: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "merged")
    peft.LoraConfig(target_modules=["q_proj"]).save_pretrained(folder)
    with pytest.raises(GradPrismError, match=r"and those of an adapter .*: nothing says whether they are merged"):
        find_checkpoint(CheckpointSettings(model=str(folder)))
    (folder / "model.safetensors").unlink()
    with pytest.raises(GradPrismError, match="is an adapter"):
        find_checkpoint(CheckpointSettings(model=str(folder)))


def test_an_adapter_that_transformers_finds_by_itself_is_refused(
    tiny_checkpoint: Path, make_model: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a hub, or beside a GGUF file, nobody has looked for one before the weights are loaded."""
    peft = pytest.importorskip("peft")
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "merged")
    lora = peft.LoraConfig(target_modules=["q_proj"], init_lora_weights=False)
    peft.get_peft_model(make_model("llama"), lora).save_pretrained(folder)
    monkeypatch.setattr("gradprism.models.checkpoints._refuse_adapter", lambda *_: None)
    with pytest.raises(GradPrismError, match=r"comes with an adapter \(adapter_config\.json\)"):
        find_checkpoint(CheckpointSettings(model=str(folder))).load_model()


def test_a_run_from_before_opens_and_says_why_it_is_not_resumed(
    tiny_checkpoint: Path, sample_rows: list[dict[str, str]], tmp_path: Path
) -> None:
    spectra(sample_rows[:1], tiny_checkpoint, out=tmp_path / "run", **FEW)
    record = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    record["identity"]["model fingerprint"] = record["model"]["revision"] = "0123456789abcdef"
    del record["sha256"]  # the record of an earlier version
    (tmp_path / "run" / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert open_run(tmp_path / "run").counts.ok == 1
    with pytest.raises(GradPrismError, match=r"(?s)another tokenizer.*from all of their weights now"):
        spectra(sample_rows[:1], tiny_checkpoint, out=tmp_path / "run", **FEW)
