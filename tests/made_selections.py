"""Rows to select from with made-up numbers; every selection made here is checked to account for all of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from gradprism.core.settings import checked
from gradprism.selection.exclusions import Candidates, RowSketches
from gradprism.selection.selection import Selection
from gradprism.selection.settings import SelectSettings
from gradprism.selection.subsets import select_rows

Values = Sequence[float | None]


def candidates(
    *,
    length: Values | None = None,
    prompt_length: Values | None = None,
    unit: str = "tokens",
    columns: dict[str, Any] | None = None,
    sketches: np.ndarray | None = None,
    **values: Values,
) -> Candidates:
    """Rows 10, 11, ... named `id 10`, ...; a null value's reason is `made up`, a sketch of NaN is none."""
    n = len(next(iter([*values.values(), *(columns or {}).values(), length or []])))
    frame = pl.DataFrame({name: pl.Series(given, dtype=pl.Float64) for name, given in values.items()})
    rows = [10 + i for i in range(n)]
    names = [f"id {row}" for row in rows]
    return Candidates(
        rows=pl.DataFrame(
            {"row": rows, "example_id": names, "problem": [None] * n},
            schema={"row": pl.Int64, "example_id": pl.String, "problem": pl.String},
        ),
        values=frame,
        reasons=pl.DataFrame([pl.Series(name, ["made up"] * n, dtype=pl.String) for name in frame.columns]),
        columns=pl.DataFrame(columns or {}),
        length=pl.Series("length", [1.0] * n if length is None else length, dtype=pl.Float64),
        length_unit=unit,
        prompt_length=None if prompt_length is None else pl.Series(prompt_length, dtype=pl.Float64),
        sketches=None if sketches is None else row_sketches(sketches),
    )


def row_sketches(sketches: np.ndarray) -> RowSketches:
    """Sketches in the reverse order of their candidates, without those of NaN."""
    usable = np.flatnonzero(~np.isnan(sketches).any(axis=1))[::-1]
    at = np.full(len(sketches), -1)
    at[usable] = np.arange(len(usable))
    return RowSketches(sketches[usable].astype(np.float16), at)


def selected(
    given: Candidates, /, by: str | tuple[str, ...] = "m", seed: int = 0, texts: Any = None, **options: Any
) -> Selection:
    made = select_rows(given, checked(SelectSettings, {"by": by, **options}), seed, texts)
    check_partition(made, given)
    return made


def check_partition(made: Selection, given: Candidates) -> None:
    """Every row is there once, and either in a group or left out with a reason."""
    assert made.table["row"].to_list() == given.rows["row"].to_list()
    assert (made.table["group"].is_null() != made.table["reason"].is_null()).all()
    assert made.selected.height + made.left_out.height == len(given)
    assert set(made.selected["group"].unique()) <= set(made.groups)


def places(made: Selection, group: str = "selected") -> set[int]:
    return {row - 10 for row in made.rows_of(group)["row"]}
