"""The schemas of the tables that describe a data set's gradients: the public format.

A run directory stores exactly these columns; `GradientAnalyzer` returns them in memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import polars as pl

from gradprism.prism.measures import ERROR_COLUMNS, MEASURES, NULL_COLUMNS, TAIL_COLUMNS, stored_measures
from gradprism.prism.settings import PrismSettings

if TYPE_CHECKING:
    import pandas as pd


def _schema(columns: dict[str, Any]) -> pl.Schema:
    return pl.Schema(columns)


EXAMPLES = _schema(
    {
        "example_id": pl.String,
        "row": pl.Int64,
        "content_hash": pl.String,
        "n_tokens": pl.Int32,
        "n_prompt_tokens": pl.Int32,
        "n_response_tokens": pl.Int32,
        "truncated": pl.Boolean,
        "loss": pl.Float64,  # mean negative log-likelihood of the response tokens, nats
        "nll_sum": pl.Float64,
        "status": pl.String,  # ok | skipped | failed
        "reason": pl.String,
        "columns": pl.String,  # the data's other scalar columns, as one JSON object
    }
)

_GRADIENT: dict[str, Any] = {
    "example_id": pl.String,
    "row": pl.Int64,
    "layer": pl.Int16,
    "projection": pl.String,
    "d_out": pl.Int32,
    "d_in": pl.Int32,
}
_OF_ENTRIES: dict[str, Any] = {
    "grad_mean": pl.Float64,
    "grad_min": pl.Float64,  # null unless entry_stats is set
    "grad_max": pl.Float64,
    "singular_values": pl.List(pl.Float32),  # descending, at most min(tokens, d_out, d_in)
}
SPECTRA = _schema(_GRADIENT | dict.fromkeys(MEASURES, pl.Float64) | _OF_ENTRIES)


def spectra_schema(settings: PrismSettings) -> pl.Schema:
    """Return the schema of `spectra`, with the measures of other packages, and what the settings ask for beside."""
    null = NULL_COLUMNS if settings.null_draws else ()
    errors = ERROR_COLUMNS if settings.precision != "exact" else ()
    tail = TAIL_COLUMNS if settings.has_tails else ()
    measures = dict.fromkeys((*stored_measures(), *null, *errors), pl.Float64)
    return _schema(_GRADIENT | measures | _OF_ENTRIES | dict.fromkeys(tail, pl.Float64))


def sketches_schema(dimension: int) -> pl.Schema:
    """Return the schema of `sketches`, a row for each example that was measured."""
    return _schema(
        {
            "example_id": pl.String,
            "row": pl.Int64,
            "norm": pl.Float64,  # Frobenius norm of the gradient over all measured projections
            "sketch": pl.Array(pl.Float16, dimension),  # of the gradient divided by its norm; null where that is 0
        }
    )


SIMILARITY = _schema(
    {
        "example_id": pl.String,
        "row": pl.Int64,
        "layer": pl.Int16,
        "other_layer": pl.Int16,
        "kind": pl.String,  # adjacent | same_layer | all_layers | chosen_rejected (of the two answers, in one layer)
        "pair": pl.String,  # q, k, v, o | k-v, q-o
        "cosine": pl.Float64,  # null where shapes differ or a gradient is zero
    }
)

TOKENS = _schema(  # a row an example; the lists run over its tokens
    {
        "example_id": pl.String,
        "row": pl.Int64,
        "token_ids": pl.List(pl.Int32),
        "pieces": pl.List(pl.String),  # joined, the text that was measured
        "loss": pl.List(pl.Float32),  # negative log-likelihood, nats; null for tokens outside the loss
        "gradient_size": pl.List(pl.Float32),  # over all layers and projections
        "projections": pl.List(pl.Struct({"projection": pl.String, "gradient_size": pl.List(pl.Float32)})),
    }
)


_COMPARED: dict[str, Any] = {
    "inner_product": pl.Float64,
    "cosine": pl.Float64,  # null where a gradient is zero
    "left_share": pl.Float64,  # of the squared norm, in the target's leading left singular vectors
    "right_share": pl.Float64,
    "share": pl.Float64,  # within both
}
INFLUENCE = _schema(  # a row an example, as the scores of a metric
    {
        "example_id": pl.String,
        "row": pl.Int64,
        "value": pl.Float64,  # cosine of the gradient over all measured projections with the target's
        "status": pl.String,  # ok | skipped | failed
        "reason": pl.String,
        **{name: kind for name, kind in _COMPARED.items() if name != "cosine"},
        "layers": pl.List(pl.Struct({"layer": pl.Int16, "projection": pl.String, **_COMPARED})),
    }
)


@dataclass(frozen=True)
class Tables:
    """The tables of one part of a run, or of an analysis in memory."""

    examples: pl.DataFrame
    spectra: pl.DataFrame
    similarity: pl.DataFrame
    tokens: pl.DataFrame | None = None
    """Unless asked for, None; as the next."""
    sketches: pl.DataFrame | None = None
    influence: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    """By target."""

    def __repr__(self) -> str:
        """Describe the size of each table, and show its first rows."""
        ok = self.examples.filter(pl.col("status") == "ok").height
        own = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "influence"}
        tables = own | {f"influence on {name}": table for name, table in self.influence.items()}
        heads = "\n".join(
            f"{name}: {table.height:,} rows\n{table.head(4)}" for name, table in tables.items() if table is not None
        )
        return f"{self.examples.height} examples, {ok} ok\n{heads}"

    def to_pandas(self) -> "tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]":
        """Return the three tables as pandas frames, in the order examples, spectra, similarity."""
        return self.examples.to_pandas(), self.spectra.to_pandas(), self.similarity.to_pandas()
