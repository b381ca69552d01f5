"""JSON inside a page: text that no parser of HTML takes for markup, tables by column, numbers rounded."""

import json
import math
import re
from collections.abc import Sequence
from typing import Any

import polars as pl

DIGITS = 8  # of a comparison's tables: rounded to three for reading, it is what the unrounded number gives
EXAMPLE_DIGITS = 4  # of single examples, of which there are many
# `<`, `>` and `&` could end or open markup, U+2028 and U+2029 end lines of scripts, and a file cannot hold the rest:
# control characters beyond ASCII, half surrogate pairs, byte order marks and noncharacters.
_UNSAFE = re.compile("[<>&\u2028\u2029\u007f-\u009f\ud800-\udfff\ufeff\ufdd0-\ufdef\ufffe\uffff]")


def script_json(value: Any) -> str:
    """Return JSON for a `<script type="application/json">`: no character of it means anything to HTML."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def rounded(value: float | None, digits: int = DIGITS) -> float | int | None:
    """Return `value` with so many significant digits; None where it is not finite."""
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def columns_of(frame: pl.DataFrame, names: Sequence[str] | None = None, digits: int = DIGITS) -> dict[str, Any]:
    """Return a table column by column: strings as indices into a list of the different ones, numbers rounded."""
    return {name: _column_json(frame[name], digits) for name in (frame.columns if names is None else names)}


def _column_json(series: pl.Series, digits: int) -> Any:
    if series.dtype == pl.String:
        kinds = series.drop_nulls().unique().sort()
        return {"kinds": kinds.to_list(), "index": series.cast(pl.Enum(kinds)).to_physical().to_list()}
    if series.dtype.is_float():
        return [rounded(value, digits) for value in series]
    if isinstance(series.dtype, pl.List):
        return [None if value is None else [rounded(item, digits) for item in value] for value in series.to_list()]
    return series.to_list()
