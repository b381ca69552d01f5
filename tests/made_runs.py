"""Runs with made-up numbers, written by the store itself: no model, and any value a test wants."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from gradprism import Run, open_run
from gradprism.core.settings import recipe_text
from gradprism.data.example_set import open_examples
from gradprism.data.settings import ReadSettings
from gradprism.metrics.tables import SCORES
from gradprism.prism.measures import MEASURES
from gradprism.prism.tables import EXAMPLES, SIMILARITY, SPECTRA, Tables
from gradprism.runs.record import data_record
from gradprism.runs.scores import ScoreWriter, locked_run
from gradprism.runs.writer import RunWriter
from gradprism.scoring.settings import ScoreRecipe

Row = dict[str, Any]


def scored_run(path: Path, data: Path, **metrics: Sequence[Row] | Sequence[float | None]) -> Run:
    """A run of scores alone: for each metric the values, or rows with `value`, `reason` and own columns."""
    examples = open_examples(str(data), ReadSettings())
    numbered = [(example.row, example.example_id) for example in examples]
    with locked_run(path, {"data": data_record(examples)}) as run:
        for metric, given in metrics.items():
            recipe = ScoreRecipe(data=(str(data),), metric=metric, out=str(path))
            writer = ScoreWriter(run, metric, {"identity": {}}, recipe_text(recipe))
            writer.publish(0, score_table(numbered, given))
    return open_run(path)


def score_table(numbered: Sequence[tuple[int, str]], given: Sequence[Row] | Sequence[float | None]) -> pl.DataFrame:
    rows = []
    for (row, name), score in zip(numbered, given, strict=False):
        own: Mapping[str, Any] = score if isinstance(score, dict) else {"value": score}
        missing = None if own.get("value") is not None else "made up"
        rows.append({"example_id": name, "row": row, "status": "ok", "reason": missing, **own})
    return pl.DataFrame(rows, schema_overrides=SCORES, infer_schema_length=None)


def measured_run(path: Path, n: int, layers: int, value: Any, **columns: Sequence[Any]) -> Run:
    """A run of spectra, published in parts of 4 rows; `value(measure, row, layer, projection)` gives every number.

    Row 1 is skipped; prompts have `row` tokens and responses 10 more. `columns` are those of the data.
    """
    examples = pl.DataFrame(
        [
            {"example_id": f"id {row}", "row": row, "n_prompt_tokens": row, "n_response_tokens": row + 10,
             "truncated": False, "loss": None if row == 1 else row / 10, "status": "skipped" if row == 1 else "ok",
             "reason": "nothing to score" if row == 1 else None,
             "columns": json.dumps({name: given[row] for name, given in columns.items()})}
            for row in range(n)
        ],
    )  # fmt: skip
    cells = [(row, layer, name) for row in range(n) if row != 1 for layer in range(layers) for name in "qv"]
    spectra = pl.DataFrame(
        [
            {"row": row, "layer": layer, "projection": name, **{m: value(m, row, layer, name) for m in MEASURES}}
            for row, layer, name in cells
        ],
        infer_schema_length=None,
    )
    description = {
        "identity": {"prism.projections": "q,v"}, "sessions": [],
        "data": {"rows": n, "fingerprint": "made up", "sources": ["made up"]},
    }  # fmt: skip
    with RunWriter(path, description) as writer:
        for part in range(0, n, 4):
            within = pl.col("row").is_between(part, part + 3)
            writer.publish(
                part // 4,
                Tables(
                    _as(EXAMPLES, examples.filter(within)),
                    _as(SPECTRA, spectra.filter(within)),
                    pl.DataFrame(schema=SIMILARITY),
                ),
            )
    return open_run(path)


def _as(schema: pl.Schema, frame: pl.DataFrame) -> pl.DataFrame:
    missing = [pl.lit(None).cast(kind).alias(name) for name, kind in schema.items() if name not in frame.columns]
    return frame.with_columns(missing).select(schema.names()).cast(dict(schema))
