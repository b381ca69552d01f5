"""Measure the diversity of rows and sources, and say what stands between the scores and a conclusion."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from gradprism.core.numbers import count, number
from gradprism.set_diversity.diversity import Diversity
from gradprism.set_diversity.settings import DiversitySettings
from gradprism.set_diversity.sketched_rows import SketchedRows
from gradprism.set_diversity.sources import MOST_UNIONS, Sizes, SourceMeasurer, common_sizes
from gradprism.set_diversity.tables import ALL_ROWS, PAIRS, ROWS, SOURCES
from gradprism.stats.leave_one_out import LeaveOneOut, leave_one_out
from gradprism.stats.neighbours import Neighbours, near_duplicate_pairs, nearest_neighbours

_UNLIKE_LENGTHS = 1.25  # ratio of median lengths from which a note says that they differ
_UNCERTAIN = 1.05  # ratio of the score to the least it can be from which a note says so


def measure_diversity(found: SketchedRows, settings: DiversitySettings, about: Mapping[str, Any]) -> Diversity:
    """Measure a set of rows, and its sources where there are several."""
    sources = found.sources if found.rows["source"].n_unique() > 1 else {}
    everything = np.arange(found.rows.height)
    sizes = common_sizes(sources or {ALL_ROWS: everything}, found.tokens, settings)
    measurer, without = SourceMeasurer(found, sizes, settings), leave_one_out(found.values)
    described = [measurer.describe(ALL_ROWS, everything, without.shares)]
    described += [measurer.describe(name, rows) for name, rows in sources.items()]
    table = pl.DataFrame(described, schema=SOURCES).with_columns(pl.col(pl.Float64).fill_nan(None))
    alone = dict(table.drop_nulls("equal_rows").select("source", "equal_rows").iter_rows())
    neighbours = nearest_neighbours(found.values, seed=settings.seed)
    return Diversity(
        table,
        measurer.unions(sources, alone),
        _pair_table(found.rows, neighbours, settings.duplicate),
        _row_table(found.rows, neighbours, without, float(table["vendi"][0])),
        (*found.notes, *_notes(table, sizes, sources, found.values.shape[1])),
        {**about, "dim": found.values.shape[1], "subset_rows": sizes.rows, "subset_tokens": sizes.tokens},
    )


def _pair_table(rows: pl.DataFrame, neighbours: Neighbours, threshold: float) -> pl.DataFrame:
    """Make the table PAIRS."""
    pairs, cosines = near_duplicate_pairs(neighbours, threshold)
    named = rows.select("run", "row", "example_id", "source")
    first, second = (named[pairs[:, side]] for side in (0, 1))
    other = second.rename(lambda name: f"other_{name}")
    return pl.concat([first, other, pl.DataFrame({"cosine": cosines})], how="horizontal").select(*PAIRS).cast(PAIRS)


def _row_table(rows: pl.DataFrame, neighbours: Neighbours, without: LeaveOneOut, score: float) -> pl.DataFrame:
    """Make the table ROWS, in the order of what each adds."""
    nearest = rows[np.maximum(neighbours.rows[:, 0], 0)]
    return (
        rows.with_columns(
            adds=pl.Series(score * -np.expm1(-without.losses)),
            nearest_run=nearest["run"],
            nearest_row=nearest["row"],
            nearest_cosine=pl.Series(neighbours.cosines[:, 0]),
        )
        .with_columns(pl.col(pl.Float64).fill_nan(None))
        .select(*ROWS)
        .cast(ROWS)
        .sort("adds", descending=True, nulls_last=True, maintain_order=True)
    )


def _notes(table: pl.DataFrame, sizes: Sizes, sources: Mapping[str, np.ndarray], dim: int) -> Iterator[str]:
    """Say what stands between the scores and a conclusion: lengths, few rows, and the limits of sketches."""
    whole = table.row(0, named=True)
    if whole["vendi"] > _UNCERTAIN * whole["lowest"]:
        yield (
            f"A sketch of {dim:,} coordinates does not show all of so many and so different rows: the score is at "
            f"least {number(whole['lowest'])}, and the rest is extrapolated. Measure with a larger --sketch."
        )
    if not sources:
        return
    if small := [name for name, rows in sources.items() if len(rows) < sizes.least]:
        yield f"Not compared at equal size, since of fewer than {sizes.least:,} rows: {', '.join(small)}."
    short = table[1:].filter(pl.col("equal_rows").is_not_null() & pl.col("equal_tokens").is_null())["source"].to_list()
    if sizes.tokens and short:
        yield f"Not compared at equal tokens, since of fewer than {sizes.tokens:,.0f} in all: {', '.join(short)}."
    if len(sources) > MOST_UNIONS:
        yield f"Unions are of the {MOST_UNIONS} largest of {len(sources)} sources."
    yield from _note_on_lengths(table[1:])


def _note_on_lengths(sources: pl.DataFrame) -> Iterator[str]:
    known = sources.filter(pl.col("response_tokens") > 0)
    lengths: Sequence[float] = known["response_tokens"].to_list()
    if len(lengths) > 1 and max(lengths) > _UNLIKE_LENGTHS * min(lengths):
        short, long = (known.sort("response_tokens")[end].row(0, named=True) for end in (0, -1))
        yield (
            f"Lengths differ (median response {count(short['response_tokens'])} tokens in {short['source']}, "
            f"{count(long['response_tokens'])} in {long['source']}), and how alike gradients are goes with length: "
            "see the scores at equal tokens."
        )
