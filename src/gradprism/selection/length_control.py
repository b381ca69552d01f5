"""Length in a selection: what is left of each metric given length, and how what ranks goes with length."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.selection.exclusions import Candidates
from gradprism.selection.settings import SelectSettings
from gradprism.stats.given_length import CUBIC_FROM, FEWEST_ROWS, RANK_PASSES, is_ratio_scaled, place_given_length
from gradprism.stats.ranking import Indices

CORRELATIONS = {"metric": pl.String, "response": pl.Float64, "prompt": pl.Float64, "rows": pl.Int64}


def criteria_of(settings: SelectSettings) -> tuple[str, ...]:
    """Return the columns that rank, each with its direction, as `by` gives them: `-loss`, or `-loss given length`."""
    return tuple(f"{name} given {settings.given}" if settings.given else name for name in settings.by)


def with_places_given_length(
    candidates: Candidates, settings: SelectSettings, ranked: Indices
) -> tuple[Candidates, list[str]]:
    """Add what is left of each metric given length, a column each, over the rows that can be ranked; say how.

    Raises `GradPrismError` for too few rows, and for a metric that the lengths explain entirely.
    """
    if len(ranked) < FEWEST_ROWS:
        raise GradPrismError(
            f"--given length: {len(ranked):,} rows can be ranked and have their lengths; expected {FEWEST_ROWS} or "
            "more, to see how the metric goes with length."
        )
    tokens = _lengths(candidates).to_numpy()[ranked]
    columns, notes = [], []
    for metric, criterion in zip(settings.metrics, criteria_of(settings), strict=True):
        values = candidates.values[metric].to_numpy()[ranked]
        places = np.full(len(candidates), np.nan)
        places[ranked] = place_given_length(values, tokens)
        if np.isnan(places[ranked]).any():
            raise GradPrismError(
                f"--given length: the lengths explain {metric} entirely, and nothing is left to rank by. Expected "
                "another --by, or no --given."
            )
        columns.append(pl.Series(criterion.removeprefix("-"), places).fill_nan(None))
        notes.append(_formula(metric, values, candidates.length_unit))
    return replace(candidates, values=candidates.values.with_columns(columns)), notes


def _formula(metric: str, values: np.ndarray, unit: str) -> str:
    logs = is_ratio_scaled(values)
    shape = "a cubic in" if len(values) >= CUBIC_FROM else "the"
    return (
        f"{metric} given length: the residual of its {'log' if logs else 'rank'} on {shape} log response and log "
        f"prompt {unit}, over its spread at such lengths; then the same {RANK_PASSES} times of its ranks on theirs. "
        f"Over {len(values):,} rows; 0 is the lowest for its length, 1 the highest"
    )


def length_correlations(candidates: Candidates, scores: Mapping[str, np.ndarray], ranked: Indices) -> pl.DataFrame:
    """Compute Spearman of each score with the lengths of response and prompt, over the rows that can be ranked.

    Columns `metric`, `response`, `prompt` (null where lengths are not known or do not vary) and `rows`.
    """
    lengths = _lengths(candidates)[ranked]
    rows = []
    for name, score in scores.items():
        frame = lengths.with_columns(score=pl.Series(score[ranked]).fill_nan(None))
        rows.append((name, _spearman(frame, "response"), _spearman(frame, "prompt"), frame["score"].count()))
    return pl.DataFrame(rows, schema=CORRELATIONS, orient="row")


def _spearman(frame: pl.DataFrame, length: str) -> float | None:
    known = frame.select("score", length).drop_nulls()
    value = known.select(pl.corr("score", length, method="spearman")).item() if known.height > 2 else None
    return value if value is not None and np.isfinite(value) else None


def _lengths(candidates: Candidates) -> pl.DataFrame:
    return pl.DataFrame({"response": candidates.length, "prompt": candidates.prompt_length})
