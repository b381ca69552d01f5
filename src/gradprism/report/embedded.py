"""Data inside a page: JSON that no parser of HTML can take for markup, with as many digits as it needs."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

DIGITS = 8  # of what the comparison says: rounded to three for reading, it is what the unrounded number gives
EXAMPLE_DIGITS = 4  # of single examples, of which there are many
# `<`, `>` and `&` could end or open markup, U+2028 and U+2029 end lines of scripts, and a file cannot hold the rest:
# control characters beyond ASCII, half surrogate pairs, byte order marks and noncharacters.
_UNSAFE = re.compile("[<>&\u2028\u2029\u007f-\u009f\ud800-\udfff\ufeff\ufdd0-\ufdef\ufffe\uffff]")


def script_json(value: Any) -> str:
    """JSON for a `<script type="application/json">`: no character of it means anything to HTML."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def rounded(value: float | None, digits: int = DIGITS) -> float | int | None:
    """Return `value` with so many significant digits; None where it is not finite."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def columns_of(frame: pl.DataFrame, names: Sequence[str] | None = None, digits: int = DIGITS) -> dict[str, Any]:
    """A table column by column: strings as places in a list of their kinds, numbers rounded."""
    return {name: _column(frame[name], digits) for name in (frame.columns if names is None else names)}


def plain(value: Any) -> Any:
    """A value of a record as JSON takes it: what has no JSON becomes its text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return rounded(value)
    return value if isinstance(value, str | int | bool | None) else str(value)


def _column(series: pl.Series, digits: int) -> Any:
    if series.dtype == pl.String:
        kinds = sorted({value for value in series if value is not None})
        place = {kind: index for index, kind in enumerate(kinds)}
        return {"kinds": kinds, "index": [None if value is None else place[value] for value in series]}
    if series.dtype.is_float():
        return [rounded(value, digits) for value in series]
    if isinstance(series.dtype, pl.List):
        return [None if value is None else [rounded(item, digits) for item in value] for value in series.to_list()]
    return series.to_list()
