"""Runs whose measures are given as arrays, written by the store itself: groups to compare, with known truths."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gradprism import Run, open_run
from gradprism.prism.measures import MEASURES
from gradprism.prism.tables import EXAMPLES, SIMILARITY, SPECTRA, Tables
from gradprism.runs.writer import RunWriter

PROJECTIONS = ("q", "k", "v", "o")


def given_run(
    path: Path,
    measures: np.ndarray | Mapping[str, np.ndarray],
    tokens: Sequence[int] | np.ndarray,
    *,
    prompt_tokens: Sequence[int] | np.ndarray | None = None,
    model: str = "given-1b",
    rows: int | None = None,
    identity: Mapping[str, Any] | None = None,
    similarity: pl.DataFrame | None = None,
    singular_values: bool = True,
    sketches: pl.DataFrame | None = None,
    token_lists: pl.DataFrame | None = None,
    examples: Mapping[str, Sequence[Any]] | None = None,
    found: Mapping[str, Any] | None = None,
    **columns: Sequence[Any],
) -> Run:
    """`measures`: (n, projections, layers) for all measures or for each; `tokens`: of the n responses.

    `rows`: how many the run is to have, if it is not complete; `identity`: settings that differ from the usual, as
    `examples` are columns of that table, and `found` entries on the model.
    """
    given = measures if isinstance(measures, Mapping) else dict.fromkeys(MEASURES, measures)
    n, n_projections, layers = next(iter(given.values())).shape
    row, projection, layer = (index.ravel() for index in np.indices((n, n_projections, layers)))
    cells = len(row)
    spectra = pl.DataFrame(
        {
            "example_id": row.astype(str), "row": row, "layer": layer, "d_out": np.full(cells, 64),
            "d_in": np.full(cells, 64), "projection": np.array(PROJECTIONS)[projection],
            **{name: values.ravel() for name, values in given.items()},
            "singular_values": [[1.0, 0.5, 0.25]] * cells if singular_values else [None] * cells,
        }
    ).with_columns(pl.col(name).fill_nan(None) for name in given)  # fmt: skip
    prompts = np.arange(n) % 7 + 5 if prompt_tokens is None else np.asarray(prompt_tokens)
    table_of_examples = pl.DataFrame(
        {
            "example_id": np.arange(n).astype(str), "row": np.arange(n), "status": ["ok"] * n,
            "content_hash": [f"{path.name} {i}" for i in range(n)], "truncated": [False] * n,
            "n_tokens": prompts + np.asarray(tokens), "n_prompt_tokens": prompts,
            "n_response_tokens": np.asarray(tokens), "loss": np.linspace(1, 2, n),
            "columns": [json.dumps({name: values[i] for name, values in columns.items()}) for i in range(n)],
            **(examples or {}),
        }
    )  # fmt: skip
    description = _description(model, rows or n, n_projections, layers, identity or {})
    description["model"] |= found or {}
    with RunWriter(path, description) as writer:
        table = pl.DataFrame(schema=SIMILARITY) if similarity is None else _as(SIMILARITY, similarity)
        writer.publish(0, Tables(_as(EXAMPLES, table_of_examples), _as(SPECTRA, spectra), table, token_lists, sketches))
    return open_run(path)


def _description(model: str, rows: int, projections: int, layers: int, identity: Mapping[str, Any]) -> dict[str, Any]:
    usual = {
        "prism.projections": ",".join(PROJECTIONS[:projections]), "prism.precision": "exact",
        "text.template": "paper", "text.max_length": 2048, "checkpoint.from_scratch": False, "checkpoint.init_seed": 0,
    }  # fmt: skip
    return {
        "identity": {**usual, **identity}, "sessions": [],
        "model": {"name": model, "class": "LlamaForCausalLM", "revision": "1", "dtype": "float32", "layers": layers,
                  "hidden_size": 64},
        "data": {"sources": ["given"], "formats": ["given"], "schema": "given", "rows": rows, "fingerprint": "given"},
    }  # fmt: skip


def _as(schema: pl.Schema, frame: pl.DataFrame) -> pl.DataFrame:
    missing = [pl.lit(None).cast(kind).alias(name) for name, kind in schema.items() if name not in frame.columns]
    return frame.with_columns(missing).select(schema.names()).cast(dict(schema))
