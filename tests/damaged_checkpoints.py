"""Checkpoints damaged on purpose: copies whose headers, settings or files are no longer what they were."""

import json
import os
import shutil
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Damage = Callable[[Path], object]
NESTED = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
OVER = 1 << 30


def copied(folder: Path, to: Path, damage: Damage) -> Path:
    """Copy a folder, and damage the copy."""
    shutil.copytree(folder, to)
    damage(to)
    return to


def with_bytes(name: str, content: bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(content)


def with_settings(name: str = "config.json", **changes: Any) -> Damage:
    def damage(folder: Path) -> None:
        settings = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps(settings | changes), encoding="utf-8")

    return damage


def sparse(name: str, size: int = OVER) -> Damage:
    """A file of that size which takes no disk."""

    def damage(folder: Path) -> None:
        with (folder / name).open("wb") as file:
            file.truncate(size)

    return damage


def pipe(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)

    return damage


def link(name: str, to: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(to)

    return damage


def folder_named(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return damage


def split(file: Path) -> tuple[dict[str, Any], bytes]:
    """Header and data of a safetensors file."""
    content = file.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write_safetensors(file: Path, header: Mapping[str, Any] | bytes, data: bytes, length: int | None = None) -> None:
    """Write header and data, whatever they are; `length` is what the file says of its header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


class Execute:
    """An object whose pickle runs a command when it is read."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)
