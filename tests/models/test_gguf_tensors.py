"""Damaged GGUF files: refused by their table, before a library reads them."""

import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.models.test_missing_weights import write_gguf

from gradprism import GradPrismError
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.gguf_tensors import tensors_in
from gradprism.models.settings import CheckpointSettings

pytestmark = pytest.mark.slow  # many cases, of which each takes a moment

Edit = Callable[[bytes], bytes]
NAME = b"token_embd.weight"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("gguf") / "model.gguf"
    write_gguf(file)
    return file.read_bytes()


def put(layout: str, value: int, at: int, behind: bytes = b"") -> Edit:
    """Write a number at an offset, or as many bytes behind a text."""

    def edit(content: bytes) -> bytes:
        place = at + (content.index(behind) + len(behind) if behind else 0)
        return content[:place] + struct.pack(layout, value) + content[place + struct.calcsize(layout) :]

    return edit


def cut(keep: int) -> Edit:
    return lambda content: content[:keep]


DAMAGED: dict[str, tuple[Edit, str]] = {
    "empty": (cut(0), "cannot mmap an empty file"),
    "cut in its first numbers": (cut(10), "requires a buffer of at least 24 bytes"),
    "cut in its settings": (cut(500), "a value ends at byte"),
    "cut in its tensors": (cut(1500), "requires a buffer"),
    "cut in its data": (cut(20_000), "its tensors end at byte .*, and the file at 20,000"),
    "another format": (lambda content: b"XXXX" + content[4:], "begins with b'XXXX'"),
    "another version": (put("<I", 99, 4), "GGUF v99"),
    "2**60 tensors": (put("<Q", 2**60, 8), "is damaged"),
    "no tensors": (put("<Q", 0, 8), "block_count says 2 layers, and it has 0 tensors"),
    "2**60 settings": (put("<Q", 2**60, 16), "a value ends at byte"),
    "a name of 2**60 letters": (put("<Q", 2**60, 24), "a value ends at byte"),
    "a text of 2**60 letters": (put("<Q", 2**60, 4, b"general.architecture"), "a value ends at byte"),
    "a value of an unknown type": (put("<I", 99, 0, b"general.architecture"), "unknown type 99"),
    "a list of 2**60 words": (put("<Q", 2**60, 8, b"tokenizer.ggml.tokens"), "a value ends|requires a buffer"),
    "two billion layers": (put("<I", 2**31 - 1, 4, b"llama.block_count"), "block_count says 2,147,483,647 layers"),
    "two billion dimensions": (put("<I", 2**31, 0, NAME), "has 2,147,483,648 dimensions"),
    "a dimension of 2**60": (put("<Q", 2**60, 4, NAME), "its tensors end at byte|overlap"),
    "an unknown kind of tensor": (put("<I", 77, 20, NAME), "77 is not a valid"),
    "a tensor behind the end": (put("<Q", 2**60, 24, NAME), "its tensors end at byte"),
    "tensors that overlap": (put("<Q", 32, 24, NAME), "two of its tensors overlap"),
    "a name that is no text": (
        lambda content: content.replace(NAME, b"\xff\xfe\xfd" + NAME[3:]), "'utf-8' codec can't decode"
    ),
    "a name twice": (lambda content: content.replace(b"blk.0.attn_q.", b"blk.1.attn_q."), "is there twice"),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files(case: str, whole: bytes, tmp_path: Path) -> None:
    edit, said = DAMAGED[case]
    file = tmp_path / "model.gguf"
    file.write_bytes(edit(whole))
    with pytest.raises(GradPrismError, match=said) as raised:
        find_checkpoint(CheckpointSettings(model=str(file))).load_config()
    assert str(file) in str(raised.value)


@pytest.mark.parametrize(
    "seeds", [range(300), pytest.param(range(300, 20_000), marks=pytest.mark.exhaustive)], ids=["few", "many"]
)
def test_the_table_of_an_edited_file_is_read_or_refused(seeds: range, whole: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    for seed in seeds:
        chance = random.Random(seed)
        at, length = chance.randrange(3000), chance.choice([1, 4, 8])
        file.write_bytes(whole[:at] + chance.randbytes(length) + whole[at + length :])
        try:
            tensors_in(file)
        except GradPrismError:
            continue
        except BaseException as error:
            raise AssertionError(f"seed {seed}") from error
