"""Refuse to resume a run with other settings or other data than it was begun with."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradprism.core.errors import GradPrismError


def refuse_differences(path: Path, made: Mapping[str, Any], now: Mapping[str, Any], other: str = "--out") -> None:
    """Raise `GradPrismError` with the settings that differ between `made` (recorded) and `now`.

    `other` names the option that avoids the conflict.
    """
    different = [name for name in sorted({*made, *now}) if made.get(name) != now.get(name)]
    if different:
        lines = "\n".join(f"  {name}: the run has {made.get(name)!r}, now {now.get(name)!r}" for name in different)
        raise GradPrismError(
            f"The run {path} was made with other settings or data:\n{lines}\n{_on_digests(made, now, different)}"
            f"Repeat the command that made it (see its recipe.yaml), or choose another {other}."
        )


def _on_digests(made: Mapping[str, Any], now: Mapping[str, Any], different: Sequence[str]) -> str:
    """Explain a difference that may come from the digest alone: earlier ones had 16 digits, from the files' ends."""
    short, whole = re.compile(r"(.*\+)?[0-9a-f]{16}"), re.compile(r"(.*\+)?[0-9a-f]{32}")
    if not any(short.fullmatch(str(made.get(name))) and whole.fullmatch(str(now.get(name))) for name in different):
        return ""
    return (
        "Fingerprints of models are computed from all of their weights now, which they were not when that run was "
        "begun. The model may be the same, but the run cannot show it.\n"
    )


def refuse_other_data(path: Path, made: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `GradPrismError` where the data differ; `made` and `now` are the entries on the data in run.json."""
    if made["fingerprint"] != now["fingerprint"]:
        raise GradPrismError(
            f"The run {path} holds other rows: {made['rows']:,} of {', '.join(made['sources'])}, "
            f"now {now['rows']:,} of {', '.join(now['sources'])}, or rows whose content has changed.\n"
            "Give the data and the --rows, --sample and --limit that made it, or choose another --out."
        )
