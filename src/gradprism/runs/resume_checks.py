"""Refuse to resume a run with other settings or other data than it was begun with; say which options differ."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradprism.core.errors import GradPrismError

ROWS = ("read.limit", "read.rows", "data fingerprint")
"""The entries of an identity that change where more or fewer rows of the same data are chosen."""
_CONTENTS = {  # entries that are digests or versions, in words
    "data fingerprint": "the data: other rows, or rows whose content has changed",
    "first line": "the data: other statistics in the first row",
    "model fingerprint": "--model or --adapter: other weights, or another tokenizer",
    "template digest": "--template: its text is another",
    "targets": "--target: other rows, another mean or rank, or other targets",
    "architecture digest": "--architecture: its text is another",
    "method": "the version of gradprism: it reads rows and takes their loss in another way",
    "judge.revision": "--judge: its weights or its tokenizer are others",
    "judge.template": "--judge-template: its text is another",
    "judge.reading": "the version of gradprism: it reads answers in another way",
}
_NAMES = {"judge.dtype": "--judge-dtype"}
_GROUPS = ("", "read", "text", "checkpoint", "train", "prism", "likelihood", "judge", "reward", "origin")


def refuse_differences(path: Path, made: Mapping[str, Any], now: Mapping[str, Any], other: str = "--out") -> None:
    """Raise `GradPrismError` with the options that differ between the identities `made` (recorded) and `now`.

    `other` names the option that avoids the conflict.
    """
    lines = differences(made, now)
    if lines:
        raise GradPrismError(
            f"The run {path} was made with other settings or data:\n{lines}\n{_on_digests(made, now)}"
            f"Repeat the command that made it (see its recipe.yaml), or choose another {other}."
        )


def differences(made: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Describe what differs between two identities, a line for each option; empty where nothing does."""
    return "\n".join(f"  {_difference(name, made.get(name), now.get(name))}" for name in _different(made, now))


def differ_in_rows_alone(made: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Return whether two identities differ in the options that choose rows, and in nothing else.

    Data that have changed under the same options are other data.
    """
    different = {*_different(made, now)}
    return different <= {*ROWS} and "data fingerprint" in different and len(different) > 1


def refuse_fewer_rows(path: Path, rows: int, made: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `GradPrismError` for fewer rows than the run of `rows` rows holds."""
    lines = differences(*({key: each.get(key) for key in ROWS[:2]} for each in (made, now)))
    raise GradPrismError(
        f"The run {path} holds {rows:,} rows, and fewer are asked for now:\n{lines}\n"
        "Ask for as many or more, of which only the new ones are measured; or choose another --out."
    )


def refuse_other_data(path: Path, made: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise `GradPrismError` where the data differ; `made` and `now` are the entries on the data in run.json."""
    if made["fingerprint"] != now["fingerprint"]:
        raise GradPrismError(
            f"The run {path} holds other rows: {made['rows']:,} of {', '.join(made['sources'])}, "
            f"now {now['rows']:,} of {', '.join(now['sources'])}, or rows whose content has changed.\n"
            "Give the data and the --rows, --sample and --limit that made it, or choose another --out."
        )


def _different(made: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [name for name in sorted({*made, *now}) if made.get(name) != now.get(name)]


def _difference(name: str, made: Any, now: Any) -> str:
    """Describe one difference, as in `--max-length 2048 (now 1024)`."""
    if name in _CONTENTS:
        return _CONTENTS[name]
    group, _, field = name.rpartition(".")
    if " " in name or name in ("measures", "arithmetic", "spectra"):
        return f"{name}: {_listed(made)} (now {_listed(now)})"
    if group not in _GROUPS:  # a setting that only one metric has
        return f"{field} of {group}: {_listed(made)} (now {_listed(now)})"
    option = _NAMES.get(name, f"--{field.replace('_', '-')}")
    if isinstance(made, bool | None) and isinstance(now, bool | None) and (made, now) != (None, None):
        return f"{_switch(option, made)} (now {_switch(option, now)})"
    return f"{option} {_listed(made)} (now {_listed(now)})" if made is not None else f"no {option} (now {option} {now})"


def _switch(option: str, value: Any) -> str:
    return option if value else option.replace("--", "--no-", 1)


def _listed(value: Any) -> str:
    if isinstance(value, bool):  # of --spectrum, which may be words
        return "all" if value else "none"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else "none" if value is None else str(value)


def _on_digests(made: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Explain a difference that may come from the digest alone: earlier ones had 16 digits, from the files' ends."""
    short, whole = re.compile(r"(.*\+)?[0-9a-f]{16}"), re.compile(r"(.*\+)?[0-9a-f]{32}")
    different: Sequence[str] = _different(made, now)
    if not any(short.fullmatch(str(made.get(name))) and whole.fullmatch(str(now.get(name))) for name in different):
        return ""
    return (
        "Fingerprints of models are computed from all of their weights now, which they were not when that run was "
        "begun. The model may be the same, but the run cannot show it.\n"
    )
