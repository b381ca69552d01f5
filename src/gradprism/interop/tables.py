"""Lines of a published file made into one part of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import torch

from gradprism.data.encode import Encoded
from gradprism.data.example import Example
from gradprism.interop.line_reader import Gradient, Line
from gradprism.interop.naming import WeightKey
from gradprism.interop.noise import without_noise
from gradprism.prism.measures import MEASURES, measure_spectra
from gradprism.prism.tables import EXAMPLES, SIMILARITY, SPECTRA, Tables
from gradprism.prism.tail import Spectra

Shapes = Mapping[WeightKey, tuple[int, int]]


@dataclass(frozen=True)
class ReadRow:
    """An example with its line, or the problem of that line; its tokens where they were counted."""

    example: Example
    line: Line | None = None
    problem: str | None = None
    encoded: Encoded | None = None
    spectra: pl.DataFrame = field(default_factory=SPECTRA.to_frame)


def measured(example: Example, line: Line, encoded: Encoded | None, shapes: Shapes) -> ReadRow:
    """Return an example with the measures of its line; singular values that are noise are cut away."""
    n_tokens = encoded.n_tokens if encoded else None
    kept = [without_noise(g.values, n_tokens) for g in line.gradients if g.values is not None]
    columns = {
        "example_id": example.example_id,
        "row": example.row,
        "layer": [g.key.layer for g in line.gradients],
        "projection": [g.key.projection for g in line.gradients],
        "d_out": [shapes[g.key][0] if shapes else None for g in line.gradients],
        "d_in": [shapes[g.key][1] if shapes else None for g in line.gradients],
        **_columns_of_measures(line.gradients, kept),
        "frobenius_norm": [g.frobenius_norm for g in line.gradients],
        "grad_mean": [g.mean for g in line.gradients],
        "grad_min": [g.smallest for g in line.gradients],
        "grad_max": [g.largest for g in line.gradients],
        "singular_values": pl.Series(kept, dtype=pl.List(pl.Float32)) if kept else None,
    }
    frame = pl.DataFrame(columns, schema_overrides=SPECTRA).select(SPECTRA.names())
    return ReadRow(example, line, None, encoded, frame.with_columns(pl.col(pl.Float64).fill_nan(None)))


def _columns_of_measures(gradients: Sequence[Gradient], kept: Sequence[np.ndarray]) -> dict[str, list[float | None]]:
    """Measure singular values; of a file without them take its own sum and largest value, and no effective rank."""
    if not kept:
        return {
            **dict.fromkeys(MEASURES, [None] * len(gradients)),
            "nuclear_norm": [g.nuclear_norm for g in gradients],
            "spectral_norm": [g.spectral_norm for g in gradients],
            "stable_rank": [_stable_rank(g) for g in gradients],
        }
    stack = torch.zeros(len(kept), max(map(len, kept), default=0), dtype=torch.float64)
    for row, values in zip(stack, kept, strict=True):
        row[: len(values)] = torch.from_numpy(values.astype(np.float64))
    found = measure_spectra(Spectra(stack))
    return {name: [each[name] for each in found] for name in MEASURES}


def _stable_rank(gradient: Gradient) -> float | None:
    """Return ‖G‖_F² / σ_1², both from the file."""
    if not gradient.spectral_norm:
        return None
    return (gradient.frobenius_norm / gradient.spectral_norm) ** 2


def tables_of(rows: Sequence[ReadRow]) -> Tables:
    """Return one part of a run."""
    similarity = [
        (row.example.example_id, row.example.row, c.layer, c.other_layer, c.kind, c.pair, c.value)
        for row in rows
        if row.line
        for c in row.line.cosines
    ]
    return Tables(
        pl.DataFrame([_example_row(row) for row in rows], schema=EXAMPLES, orient="row"),
        pl.concat([row.spectra for row in rows]),
        pl.DataFrame(similarity, schema=SIMILARITY, orient="row"),
    )


def _example_row(row: ReadRow) -> tuple[object, ...]:
    example, encoded, loss = row.example, row.encoded, row.line.loss if row.line else None
    counts: tuple[int | None, ...] = (None, None, None)
    if encoded:
        n, n_response = encoded.n_tokens, encoded.n_response_tokens
        counts = (n, n - n_response, n_response)
    return (
        example.example_id, example.row, example.content_hash, *counts, encoded.truncated if encoded else None,
        loss, loss * encoded.n_response_tokens if encoded and loss is not None else None,
        "failed" if row.problem else "ok", row.problem, example.columns_json,
    )  # fmt: skip
