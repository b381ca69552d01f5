"""Read and write the JSON records of runs, scores and comparisons, each with a checksum of its content."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from gradprism.core.errors import GradPrismError
from gradprism.files.paths import is_remote

CHECKSUM = "sha256"
"""The entry of a record with the checksum of all others. Records of earlier versions have none."""
_MOST_BYTES = 256 * 2**20


class RecordModel(BaseModel):
    """Base of the models of records: exact types, and further entries as they are."""

    model_config = ConfigDict(extra="allow", strict=True)


def record_bytes(values: Mapping[str, Any]) -> bytes:
    """Return a record as indented JSON in UTF-8; its last entry is the checksum of the others."""
    others = {name: value for name, value in values.items() if name != CHECKSUM}
    return json.dumps({**others, CHECKSUM: digest_of(others)}, indent=2, ensure_ascii=False).encode()


def read_record_file(path: Path, model: type[RecordModel], version: int | None = None) -> dict[str, Any]:
    """Read a record, and return it without its checksum.

    `version` is the `format_version` that it must have. Raises `FileNotFoundError` where there is no such file, and
    `GradPrismError` where it is not JSON, has changed since it was written, has another version, or does not hold what
    `model` says.
    """
    try:
        record = json.loads(_content(path))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise GradPrismError(
            f"Cannot read {path}: {error or type(error).__name__}. Expected a record in JSON, as gradprism wrote it; "
            "restore it from a copy."
        ) from error
    if isinstance(record, dict) and record.pop(CHECKSUM, None) not in (None, digest_of(record)):
        raise GradPrismError(
            f"{path} has changed since gradprism wrote it: its content and its checksum differ. Restore it from a "
            f'copy; where the change was meant, delete its entry "{CHECKSUM}".'
        )
    if version is not None and (found := record.get("format_version") if isinstance(record, dict) else None) != version:
        raise GradPrismError(f"{path} has the format version {found!r}; this gradprism reads version {version}.")
    try:
        model.model_validate_json(json.dumps(record))
    except (ValidationError, RecursionError) as error:
        raise GradPrismError(f"{path} is damaged: {_first_problem(error)}. Restore it from a copy.") from None
    assert isinstance(record, dict)
    return record


def digest_of(values: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON of some values."""
    plain = json.loads(json.dumps(values))  # keys are text from here on, so that their order is one
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def short_digest(text: str) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _content(path: Path) -> bytes:
    if not is_remote(path) and path.exists() and not path.is_file():
        raise OSError("it is no file")
    if not is_remote(path) and path.stat().st_size > _MOST_BYTES:
        raise OSError(f"it has more than {_MOST_BYTES // 2**20} MB")
    return path.read_bytes()


def _first_problem(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "the whole"
    given = "" if first["type"] == "missing" else f", given {str(first['input'])[:60]!r}"
    return f"{place}: {first['msg'][:1].lower()}{first['msg'][1:]}{given}"
