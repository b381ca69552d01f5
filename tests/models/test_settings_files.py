"""Configurations and tokenizers that are damaged or impossible: refused by name, before anything hangs or is made."""

import json
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.damaged_checkpoints import (
    NESTED,
    Damage,
    copied,
    folder_named,
    link,
    pipe,
    sparse,
    with_bytes,
    with_settings,
)

from gradprism import GradPrismError, spectra
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.settings import CheckpointSettings

pytestmark = pytest.mark.slow  # many cases, of which each takes a moment

CONFIG, TOKENIZER, TOKENIZER_CONFIG = "config.json", "tokenizer.json", "tokenizer_config.json"


def read(folder: Path, **settings: Any) -> None:
    """Read all but the weights."""
    checkpoint = find_checkpoint(CheckpointSettings(model=str(folder), **settings))
    checkpoint.fingerprint(checkpoint.load_config())
    checkpoint.load_tokenizer()


def rope(**changes: Any) -> Damage:
    return with_settings(rope_parameters={"rope_type": "default", "rope_theta": 1e4} | changes)


READ: dict[str, tuple[Damage, str]] = {
    "a folder": (folder_named(CONFIG), r"config\.json is a folder"),
    "a pipe": (pipe(CONFIG), r"config\.json is a pipe"),
    "a device": (link(CONFIG, "/dev/zero"), r"config\.json is a pipe, socket or device"),
    "a gigabyte": (sparse(CONFIG), r"config\.json has 1,073,741,824 bytes"),
    "nested deeply": (with_bytes(CONFIG, NESTED), r"config\.json is no JSON: maximum recursion"),
    "not UTF-8": (with_bytes(CONFIG, b'{"a": "\xe9\xff"}'), r"config\.json is no JSON: 'utf-8'"),
    "empty": (with_bytes(CONFIG, b""), r"config\.json is no JSON"),
    "a number": (with_bytes(CONFIG, b"7"), r"config\.json holds no JSON object, but 7"),
    "an integer of 10,000 digits": (with_bytes(CONFIG, b'{"a": ' + b"9" * 10_000 + b"}"), r"config\.json is no JSON"),
    "layers of text": (with_settings(num_hidden_layers="many"), "'num_hidden_layers' expected int, got str"),
    "layers null": (with_settings(num_hidden_layers=None), "'num_hidden_layers' expected int, got NoneType"),
    "layers of a list": (with_settings(num_hidden_layers=[4]), "'num_hidden_layers' expected int, got list"),
    "1e308 layers": (with_settings(num_hidden_layers=1e308), "num_hidden_layers: 1e[+]308"),
    "no layers": (with_settings(num_hidden_layers=0), r"config\.json says num_hidden_layers: 0. Expected a size from"),
    "layers below 0": (with_settings(num_hidden_layers=-3), r"config\.json says num_hidden_layers: -3"),
    "a billion layers": (with_settings(num_hidden_layers=10**9), "num_hidden_layers: 1,000,000,000. So many"),
    "a width of 2**70": (with_settings(hidden_size=2**70), "hidden_size: 1180591620717411303424"),
    "words below 0": (with_settings(vocab_size=-1), "vocab_size: -1"),
    "no heads": (with_settings(num_attention_heads=0), r"config\.json says num_attention_heads: 0"),
    "heads that do not divide": (with_settings(num_attention_heads=5), r"\(32\) is not a multiple of .* \(5\)"),
    "heads of text": (with_settings(num_attention_heads="4"), "'num_attention_heads' expected int, got str"),
    "rope of text": (with_settings(rope_parameters="garbage"), "Field 'rope_parameters'"),
    "yarn without a factor": (rope(rope_type="yarn"), "Missing required keys in `rope_parameters`.*factor"),
    "an unknown family": (with_settings(model_type="nonsense"), "model type `nonsense`"),
    "a family that is a list": (with_settings(model_type=["llama"]), "Cannot load the model"),
    "quantised by text": (with_settings(quantization_config="garbage"), "Cannot load the model"),
    "a kernel of the hub": (with_settings(_attn_implementation="evil/kernels"), "asks for code of the hub"),
    "tokens of other bytes": (with_bytes(TOKENIZER, b"\xff\xfe"), r"tokenizer\.json is no JSON"),
    "tokens cut": (with_bytes(TOKENIZER, b'{"version": "1.0", '), r"tokenizer\.json is no JSON"),
    "tokens nested deeply": (with_bytes(TOKENIZER, NESTED), r"tokenizer\.json is no JSON: maximum recursion"),
    "tokens of 20 GB": (sparse(TOKENIZER, 20 << 30), r"tokenizer\.json has 21,474,836,480 bytes"),
    "tokens in a pipe": (pipe(TOKENIZER), r"tokenizer\.json is a pipe"),
    "its settings in a pipe": (pipe(TOKENIZER_CONFIG), r"tokenizer_config\.json is a pipe"),
    "its settings a list": (with_bytes(TOKENIZER_CONFIG, b"[1]"), r"tokenizer_config\.json holds no JSON object"),
    "its settings a gigabyte": (sparse(TOKENIZER_CONFIG), r"tokenizer_config\.json has 1,073,741,824 bytes"),
    "its class a number": (with_settings(TOKENIZER_CONFIG, tokenizer_class=7), "Cannot load the model"),
    "its longest a text": (with_settings(TOKENIZER_CONFIG, model_max_length="x"), "model_max_length: 'x'"),
    "special tokens a list": (with_bytes("special_tokens_map.json", b"[5]"), r"special_tokens_map\.json holds no JSON"),
    "special tokens in a pipe": (pipe("special_tokens_map.json"), r"special_tokens_map\.json is a pipe"),
    "a template in a pipe": (pipe("chat_template.jinja"), r"chat_template\.jinja is a pipe"),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_what_is_refused_before_weights_are_read(case: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    damage, said = READ[case]
    folder = copied(tiny_checkpoint, tmp_path / "model", damage)
    with pytest.raises(GradPrismError, match=said) as raised:
        read(folder)
    assert str(folder) in str(raised.value)


LOADED: dict[str, tuple[Damage, str]] = {
    "an unknown activation": (with_settings(hidden_act="nonsense"), r"config\.json says hidden_act: 'nonsense'"),
    "an unknown kind of rope": (rope(rope_type="nonsense"), r"config\.json says rope_type: 'nonsense'"),
    "a base of text": (rope(rope_theta="x"), r"config\.json says rope_theta: 'x'"),
    "no heads for keys": (with_settings(num_key_value_heads=0), r"config\.json says num_key_value_heads: 0"),
    "heads for keys that do not divide": (with_settings(num_key_value_heads=3), r"shapes differ: .*k_proj"),
    "padding behind the words": (with_settings(pad_token_id=10**9), "Padding_idx must be within num_embeddings"),
    "an unknown attention": (with_settings(_attn_implementation="nonsense"), 'attn_implementation="nonsense"'),
    "an unknown quantisation": (
        with_settings(quantization_config={"quant_method": "nonsense"}), "quantised by 'nonsense', which this"
    ),
    "generation a list": (with_bytes("generation_config.json", b"[1]"), r"generation_config\.json holds no JSON"),
}  # fmt: skip


@pytest.mark.parametrize("case", LOADED)
def test_what_is_refused_when_the_model_is_made(case: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    damage, said = LOADED[case]
    folder = copied(tiny_checkpoint, tmp_path / "model", damage)
    with pytest.raises(GradPrismError, match=said):
        find_checkpoint(CheckpointSettings(model=str(folder))).load_model()


def test_code_beside_the_weights_does_not_run(tiny_checkpoint: Path, tmp_path: Path) -> None:
    own = {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model", "AutoTokenizer": ["mine.T", "mine.T"]}
    code = f"open({str(tmp_path / 'executed')!r}, 'w')\n".encode()
    folder = copied(tiny_checkpoint, tmp_path / "model", with_settings(auto_map=own))
    with_bytes("mine.py", code)(folder)
    read(folder)  # a family that transformers knows needs none
    with_settings(TOKENIZER_CONFIG, auto_map=own)(folder)
    with_settings(model_type="mine")(folder)
    with pytest.raises(GradPrismError, match="--trust-remote-code"):
        read(folder)
    assert not (tmp_path / "executed").exists()


def test_rope_without_a_finite_frequency_is_a_failed_row(
    sample_rows: list[dict[str, str]], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    folder = copied(tiny_checkpoint, tmp_path / "model", rope(rope_theta=-1.0))
    examples = spectra(sample_rows[:1], folder, out=tmp_path / "run", max_length=60, projections=("q",)).examples
    assert examples["status"].to_list() == ["failed"]
    assert "not finite" in examples["reason"][0] or "non-finite" in examples["reason"][0]


def test_a_folder_beside_the_tokenizer_is_left_alone(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = copied(tiny_checkpoint, tmp_path / "model", folder_named("tokenizer_of_before"))
    there, copy = (find_checkpoint(CheckpointSettings(model=str(each))) for each in (tiny_checkpoint, folder))
    assert there.fingerprint(None) == copy.fingerprint(None)


GARBAGE = (None, "x", "", -1, 0, 1, 7, 2**31, 2**40, 2**70, 1e308, -0.5, float("nan"), True, [], [4], {}, {"a": 1})


@pytest.mark.parametrize(
    "seeds", [range(12), pytest.param(range(12, 600), marks=pytest.mark.exhaustive)], ids=["few", "many"]
)
def test_any_value_in_a_configuration_loads_or_is_refused(seeds: range, tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_checkpoint, folder)
    whole: Mapping[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    for seed in seeds:
        chance = random.Random(seed)
        changes = {name: chance.choice(GARBAGE) for name in chance.sample(sorted(whole), chance.randint(1, 2))}
        (folder / CONFIG).write_text(json.dumps({**whole, **changes}), encoding="utf-8")
        try:
            find_checkpoint(CheckpointSettings(model=str(folder))).load_model()
        except GradPrismError:
            continue
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {changes}") from error


@pytest.mark.exhaustive
def test_an_edited_tokenizer_loads_or_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_checkpoint, folder)
    whole = (folder / TOKENIZER).read_bytes()
    for seed in range(300):
        chance = random.Random(seed)
        at = chance.randrange(len(whole))
        cut = b"" if chance.randrange(2) else bytes([chance.choice(b'0123456789{}[]",:nt-')])
        (folder / TOKENIZER).write_bytes(whole[:at] + cut + whole[at + 1 :])
        try:
            find_checkpoint(CheckpointSettings(model=str(folder))).load_tokenizer()("Sunlight.")
        except GradPrismError:
            continue
        except BaseException as error:
            raise AssertionError(f"seed {seed}") from error
