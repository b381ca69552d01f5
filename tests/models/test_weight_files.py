"""Damaged files of weights: refused by their headers, and never loaded as other weights."""

import json
import pickle
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.command import run
from tests.conftest import SAMPLE
from tests.damaged_checkpoints import (
    NESTED,
    Damage,
    Execute,
    copied,
    folder_named,
    link,
    pipe,
    split,
    with_bytes,
    with_settings,
    write_safetensors,
)

from gradprism import GradPrismError
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.settings import CheckpointSettings

pytestmark = pytest.mark.slow  # many cases, of which each takes a moment

WEIGHTS, INDEX, PICKLE = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
Q, K = "model.layers.2.self_attn.q_proj.weight", "model.layers.2.self_attn.k_proj.weight"


def load(folder: Path, **settings: Any) -> Any:
    return find_checkpoint(CheckpointSettings(model=str(folder), **settings)).load_model()


def entry(name: str, **changes: Any) -> Damage:
    """Change what the header says of a tensor."""

    def damage(folder: Path) -> None:
        header, data = split(folder / WEIGHTS)
        header[name] |= changes
        write_safetensors(folder / WEIGHTS, header, data)

    return damage


def cut(keep: int) -> Damage:
    return lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:keep])


def header(content: bytes, length: int | None = None) -> Damage:
    return lambda folder: write_safetensors(folder / WEIGHTS, content, b"", length)


def overlapping(folder: Path) -> None:
    begin = split(folder / WEIGHTS)[0][K]["data_offsets"][0]
    entry(Q, data_offsets=[begin, begin + 4096])(folder)


def reversed_offsets(folder: Path) -> None:
    entry(Q, data_offsets=split(folder / WEIGHTS)[0][Q]["data_offsets"][::-1])(folder)


def twice(folder: Path) -> None:
    """A name that is there twice; safetensors takes the last, and finds nothing wrong."""
    found, data = split(folder / WEIGHTS)
    again = json.dumps({Q: found[Q]}).encode()
    write_safetensors(folder / WEIGHTS, json.dumps(found).encode()[:-1] + b"," + again[1:], data)


def trailing(folder: Path) -> None:
    with (folder / WEIGHTS).open("ab") as file:
        file.write(bytes(64))


def all_whole_numbers(folder: Path) -> None:
    found, data = split(folder / WEIGHTS)
    for name in found.keys() - {"__metadata__"}:
        found[name]["dtype"] = "U32"
    write_safetensors(folder / WEIGHTS, found, data)


SAFE: dict[str, tuple[Damage, str]] = {
    "empty": (with_bytes(WEIGHTS, b""), "header too small"),
    "four bytes": (with_bytes(WEIGHTS, b"abcd"), "header too small"),
    "cut in its header": (cut(100), "invalid header length"),
    "cut in its data": (cut(-1000), "not fully covered"),
    "more behind its data": (trailing, "not fully covered"),
    "header of 2**63 bytes": (header(b"{}", 2**63), "header too large"),
    "header longer than the file": (header(b"{}", 1000), "invalid header length"),
    "header of other bytes": (header(b"\xff\xfe{{{"), "invalid UTF-8"),
    "header nested deeply": (header(NESTED), "recursion limit"),
    "header is a list": (header(b"[1, 2]"), "invalid JSON"),
    "overlapping tensors": (overlapping, "invalid offset"),
    "negative offsets": (entry(Q, data_offsets=[-4096, 0]), "expected usize"),
    "reversed offsets": (reversed_offsets, "invalid offset"),
    "offsets behind the end": (entry(Q, data_offsets=[10**9, 10**9 + 4096]), "invalid offset"),
    "a shape that overflows": (entry(Q, shape=[2**40, 2**40]), "overflow"),
    "a shape of other bytes": (entry(Q, shape=[32, 31]), "invalid shape"),
    "a shape of text": (entry(Q, shape="many"), "expected a sequence"),
    "an unknown type": (entry(Q, dtype="F31"), "unknown variant `F31`"),
    "a name twice": (twice, f"has {Q} twice"),
    "one of whole numbers": (entry(Q, dtype="I32"), rf"{Q} as whole numbers \(I32\)"),
    "all of whole numbers": (all_whole_numbers, r"39 in all\) as whole numbers \(U32\)"),
    "a pipe": (pipe(WEIGHTS), "is a pipe, socket or device"),
    "a device": (link(WEIGHTS, "/dev/zero"), "is a pipe, socket or device"),
    "a folder": (folder_named(WEIGHTS), "is a folder"),
    "a link to nothing": (link(WEIGHTS, "nothing"), r"is a link \(No such file"),
    "a link to itself": (link(WEIGHTS, WEIGHTS), r"is a link \(Too many levels"),
}  # fmt: skip


@pytest.mark.parametrize("case", SAFE)
def test_damaged_safetensors(case: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    damage, said = SAFE[case]
    folder = copied(tiny_checkpoint, tmp_path / "model", damage)
    with pytest.raises(GradPrismError, match=said) as raised:
        load(folder)
    assert str(folder / WEIGHTS) in str(raised.value)


def test_the_command_says_it_in_one_message(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = copied(tiny_checkpoint, tmp_path / "model", cut(-1000))
    done = run("spectra", SAMPLE, "--model", folder, "--out", tmp_path / "run", "--limit", 1)
    assert done.returncode == 2
    assert f"gradprism: {folder / WEIGHTS} is damaged: incomplete metadata" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def sharded(make_model: Callable[..., Any], tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded") / "model"
    make_model("llama").save_pretrained(folder, max_shard_size="60KB")
    tokenizer.save_pretrained(folder)
    return folder


def mapped(name: Any) -> Damage:
    """Let the index name another file for a weight."""

    def damage(folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        index["weight_map"][Q] = name
        (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")

    return damage


def in_two_shards(folder: Path) -> None:
    shard = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"][Q]
    shutil.copy(folder / shard, folder / "copy.safetensors")
    mapped("copy.safetensors")(folder)


def outside(folder: Path) -> None:
    """A shard that is whole, and lies where no fingerprint sees it."""
    shard = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"][Q]
    shutil.copy(folder / shard, folder.parent / "outside.safetensors")
    mapped("../outside.safetensors")(folder)


INDEXES: dict[str, tuple[Damage, str]] = {
    "a file that is not there": (mapped("gone.safetensors"), "names gone.safetensors, which is not there"),
    "a path that climbs out": (mapped("../../etc/passwd"), r"names '\.\./\.\./etc/passwd'"),
    "a whole file outside": (outside, r"names '\.\./outside\.safetensors'"),
    "an absolute path": (mapped("/etc/passwd"), "names '/etc/passwd'"),
    "a pickle": (mapped("evil.bin"), "names 'evil.bin'"),
    "a number": (mapped(5), "names 5"),
    "garbage": (with_bytes(INDEX, b"\xff{"), "is no JSON"),
    "a list": (with_bytes(INDEX, b"[1]"), r"holds no JSON object, but \[1\]"),
    "nested deeply": (with_bytes(INDEX, NESTED), "is no JSON: maximum recursion"),
    "no weight_map": (with_bytes(INDEX, b"{}"), "is no index"),
    "an empty weight_map": (with_bytes(INDEX, b'{"metadata": {}, "weight_map": {}}'), "is no index"),
    "a weight in two shards": (in_two_shards, "in several of its files"),
    "a pipe": (pipe(INDEX), "is a pipe"),
}  # fmt: skip


@pytest.mark.parametrize("case", INDEXES)
def test_damaged_indexes(case: str, sharded: Path, tmp_path: Path) -> None:
    damage, said = INDEXES[case]
    folder = copied(sharded, tmp_path / "model", damage)
    with pytest.raises(GradPrismError, match=said) as raised:
        load(folder)
    assert str(folder) in str(raised.value)


def test_a_file_that_the_configuration_names(tiny_checkpoint: Path, tmp_path: Path) -> None:
    named = with_settings(transformers_weights="other.safetensors")
    folder = copied(tiny_checkpoint, tmp_path / "model", named)
    (folder / WEIGHTS).rename(folder / "other.safetensors")
    load(folder)
    with_settings(transformers_weights="adapter_model.bin")(folder)
    with pytest.raises(GradPrismError, match=r"transformers_weights: 'adapter_model\.bin'"):
        load(folder)


def pickled(content: Any) -> Damage:
    def damage(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        torch.save(content, folder / PICKLE)

    return damage


def pickled_bytes(content: bytes) -> Damage:
    def damage(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        (folder / PICKLE).write_bytes(content)

    return damage


def half_a_pickle(folder: Path) -> None:
    pickled(load_file(folder / WEIGHTS))(folder)
    content = (folder / PICKLE).read_bytes()
    (folder / PICKLE).write_bytes(content[: len(content) // 2])


def zip_of_garbage(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    with zipfile.ZipFile(folder / PICKLE, "w") as archive:
        archive.writestr("a/data.pkl", b"garbage")


PICKLES: dict[str, tuple[Damage, str]] = {
    "half of one": (half_a_pickle, "is damaged"),
    "text": (pickled_bytes(b"not a zip"), "is damaged"),
    "empty": (pickled_bytes(b""), "is damaged"),
    "a zip of garbage": (zip_of_garbage, "is damaged"),
    "a list": (pickled([1, 2]), "holds more than weights"),
    "numbers": (pickled({Q: 5}), "holds more than weights"),
    "numbers for names": (pickled({5: torch.ones(2)}), "holds more than weights"),
}  # fmt: skip


@pytest.mark.parametrize("case", PICKLES)
def test_damaged_pickles(case: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    damage, said = PICKLES[case]
    folder = copied(tiny_checkpoint, tmp_path / "model", damage)
    with pytest.raises(GradPrismError, match=rf"pytorch_model\.bin.* {said}"):
        load(folder, allow_pickle=True)
    with pytest.raises(GradPrismError, match="--allow-pickle also loads"):
        load(folder)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_does_not_run_it(zipped: bool, tiny_checkpoint: Path, tmp_path: Path) -> None:
    evil = {"a": Execute(f"touch {tmp_path / 'executed'}")}
    damage = pickled(evil) if zipped else pickled_bytes(pickle.dumps(evil))
    folder = copied(tiny_checkpoint, tmp_path / "model", damage)
    for allowed in (True, False):
        with pytest.raises(GradPrismError):
            load(folder, allow_pickle=allowed)
    assert not (tmp_path / "executed").exists()


def test_a_pickle_of_weights_loads(tiny_checkpoint: Path, tmp_path: Path) -> None:
    weights = load_file(tiny_checkpoint / WEIGHTS)
    folder = copied(tiny_checkpoint, tmp_path / "model", pickled(weights))
    found = load(folder, allow_pickle=True).state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in weights.items())


def edited(content: bytes, seed: int) -> bytes:
    """Change a file by one edit: of bytes of its header, its length, or the order of its parts."""
    chance = random.Random(seed)
    until = 8 + int.from_bytes(content[:8], "little")
    at, other = sorted(chance.sample(range(until), 2))
    kind = chance.randrange(6)
    if kind == 0:
        return content[: chance.randrange(len(content))]
    if kind == 1:
        return content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :]
    if kind == 2:
        return content[:at] + content[other:]
    if kind == 3:
        swapped = content[other : other + 1] + content[at + 1 : other] + content[at : at + 1]
        return content[:at] + swapped + content[other + 1 :]
    if kind == 4:
        return content[:at] + content[at:other] * 2 + content[other:]
    digits = [place for place in range(8, until) if 48 <= content[place] < 58]
    at = chance.choice(digits)
    return content[:at] + str(chance.randrange(10)).encode() + content[at + 1 :]


@pytest.mark.parametrize(
    "seeds", [range(25), pytest.param(range(25, 2000), marks=pytest.mark.exhaustive)], ids=["few", "many"]
)
def test_an_edited_file_gives_the_same_weights_or_one_error(
    seeds: range, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "model")
    file = tmp_path / "model" / WEIGHTS
    whole, weights = file.read_bytes(), load_file(file)
    refused = 0
    for seed in seeds:
        file.write_bytes(edited(whole, seed))
        try:
            found = load(file.parent).state_dict()
        except GradPrismError:
            refused += 1
        else:
            assert all(torch.equal(found[name], weight) for name, weight in weights.items()), seed
    assert refused > len(seeds) / 2
