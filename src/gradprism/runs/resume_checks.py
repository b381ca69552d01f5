"""Refuse to resume a run with other settings or other data than it was begun with."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradprism.core.errors import GradPrismError


def refuse_differences(path: Path, made: Mapping[str, Any], now: Mapping[str, Any], other: str = "--out") -> None:
    """Refuse to go on with other settings than those that were begun with; `other` is the option that avoids it."""
    different = [name for name in sorted({*made, *now}) if made.get(name) != now.get(name)]
    if different:
        lines = "\n".join(f"  {name}: the run has {made.get(name)!r}, now {now.get(name)!r}" for name in different)
        raise GradPrismError(
            f"The run {path} was made with other settings or data:\n{lines}\n{_on_digests(made, now, different)}"
            f"Repeat the command that made it (see its recipe.yaml), or choose another {other}."
        )


def _on_digests(made: Mapping[str, Any], now: Mapping[str, Any], different: Sequence[str]) -> str:
    """Say where a difference may be one of digests alone: they had 16 digits while they were of the files' ends."""
    short, whole = re.compile(r"(.*\+)?[0-9a-f]{16}"), re.compile(r"(.*\+)?[0-9a-f]{32}")
    if not any(short.fullmatch(str(made.get(name))) and whole.fullmatch(str(now.get(name))) for name in different):
        return ""
    return (
        "The way of telling models apart has changed since that run was begun: the whole of their weights is looked at "
        "now. The model may be the same, which the run cannot show.\n"
    )


def refuse_other_data(path: Path, made: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to put two data sets into one run; `made` and `now` are what run.json says of the data."""
    if made["fingerprint"] != now["fingerprint"]:
        raise GradPrismError(
            f"The run {path} holds other rows: {made['rows']:,} of {', '.join(made['sources'])}, "
            f"now {now['rows']:,} of {', '.join(now['sources'])}, or rows whose content has changed.\n"
            "Give the data and the --rows, --sample and --limit that made it, or choose another --out."
        )
