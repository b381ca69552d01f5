"""Measure the diversity of rows and sources: scores, random subsets of one size, unions, and what each row adds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from gradprism.core.numbers import count, number
from gradprism.set_diversity.diversity import Diversity
from gradprism.set_diversity.settings import DiversitySettings
from gradprism.set_diversity.sketched_rows import SketchedRows
from gradprism.set_diversity.tables import ALL_ROWS, PAIRS, ROWS, SOURCES, UNIONS
from gradprism.stats.leave_one_out import LeaveOneOut, leave_one_out
from gradprism.stats.neighbours import Neighbours, near_duplicate_pairs, nearest_neighbours
from gradprism.stats.sketch_noise import entropy_before_sketching, error_of_sketching
from gradprism.stats.subset_diversity import (
    Spread,
    half_sample_error,
    random_subsets,
    spread_of_subsets,
    subsets_of_tokens,
)  # fmt: skip
from gradprism.stats.vendi import MOST_DIM, eigenvalue_shares, gram_matrix

FEWEST_ROWS = 10
"""Rows that a source needs, to be compared at equal size."""
MOST_ROWS = 500
"""Rows of a random subset, where their number is not given."""
MOST_UNIONS = 6
"""Sources, the largest, of which every two are united."""

_HALF_DRAWS = 10
_FEWEST_OF_TOKENS = 5  # rows of the source of the longest responses in a subset of equal tokens
_UNLIKE_LENGTHS = 1.25  # ratio of median lengths from which a note says that they differ
_UNCERTAIN = 1.05  # ratio of the score to the least it can be from which a note says so


@dataclass(frozen=True)
class _Sizes:
    """The rows and response tokens of the random subsets that sources are compared by; None where none can be."""

    rows: int | None
    tokens: float | None
    least: int  # rows that a source needs


def measure_diversity(found: SketchedRows, settings: DiversitySettings, about: Mapping[str, Any]) -> Diversity:
    """Measure a set of rows, and its sources where there are several."""
    rng = np.random.default_rng(settings.seed)
    sources = found.sources if found.rows["source"].n_unique() > 1 else {}
    everything = np.arange(found.rows.height)
    sizes = _sizes({**sources} or {ALL_ROWS: everything}, _tokens(found), settings)
    without = leave_one_out(found.values)
    described = [_describe(ALL_ROWS, found, everything, sizes, settings, rng, without.shares)]
    described += [_describe(name, found, rows, sizes, settings, rng) for name, rows in sources.items()]
    table = pl.DataFrame(described, schema=SOURCES, orient="row").with_columns(pl.col(pl.Float64).fill_nan(None))
    neighbours = nearest_neighbours(found.values, seed=settings.seed)
    return Diversity(
        table,
        _unions(found, sources, table, sizes, settings, rng),
        _pair_table(found.rows, neighbours, settings.duplicate),
        _row_table(found.rows, neighbours, without, float(table["vendi"][0])),
        (*found.notes, *_notes(table, sizes, sources, found.values.shape[1])),
        {**about, "dim": found.values.shape[1], "subset_rows": sizes.rows, "subset_tokens": sizes.tokens},
    )


def _tokens(found: SketchedRows) -> np.ndarray:
    return found.rows["response_tokens"].cast(pl.Float64).fill_null(0.0).to_numpy()


def _sizes(sources: Mapping[str, np.ndarray], tokens: np.ndarray, settings: DiversitySettings) -> _Sizes:
    """Choose sizes that every source of enough rows can give."""
    least = settings.rows or FEWEST_ROWS
    enough = [rows for rows in sources.values() if len(rows) >= least]
    if not enough or (len(sources) == 1 and settings.rows is None):
        return _Sizes(None, None, least)
    rows = settings.rows or min(MOST_ROWS, *(len(each) for each in enough))
    means = [float(tokens[each].mean()) for each in enough]
    budgets = sorted(rows * mean for mean in means if rows * mean >= _FEWEST_OF_TOKENS * max(means) > 0)
    return _Sizes(rows, budgets[0] if len(budgets) > 1 else None, least)


def _describe(
    name: str,
    found: SketchedRows,
    rows: np.ndarray,
    sizes: _Sizes,
    settings: DiversitySettings,
    rng: np.random.Generator,
    shares: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return a row of SOURCES. `shares` are the eigenvalues of all coordinates, where they are known."""
    values, tokens = found.values, _tokens(found)
    if shares is None:
        dim = min(values.shape[1], 2 * MOST_DIM)
        shares = eigenvalue_shares(gram_matrix(values, rows, dim))
    else:
        dim = values.shape[1]
    entropy = entropy_before_sketching(shares, len(rows), dim)
    halves = half_sample_error(values, rng, rows, sketched=True)
    error = 1.96 * float(np.hypot(halves, error_of_sketching(shares, dim)))
    half = _spread(values, random_subsets([(rows, len(rows) // 2)], _HALF_DRAWS, rng)) if len(rows) >= 4 else None
    equal, budget = None, None
    if sizes.rows is not None and len(rows) >= sizes.rows:
        equal = _spread(values, random_subsets([(rows, sizes.rows)], settings.draws, rng))
    fitting = list[np.ndarray]()
    if sizes.tokens is not None and equal is not None and _has_tokens(tokens[rows], sizes):
        fitting = [*subsets_of_tokens(rows, tokens[rows], sizes.tokens, settings.draws, rng)]
        budget = _spread(values, fitting)
    return {
        "source": name, "rows": len(rows), "response_tokens": float(np.median(tokens[rows])),
        "total_tokens": float(tokens[rows].sum()),
        "vendi": np.exp(entropy.value), "low": np.exp(entropy.value - error),
        "high": min(np.exp(entropy.value + error), len(rows)), "lowest": np.exp(entropy.lowest),
        "half": half.mean if half else None,
        **_columns("equal_rows", equal, len(rows) == sizes.rows), **_columns("equal_tokens", budget),
        "rows_of_equal_tokens": float(np.mean([len(each) for each in fitting])) if fitting else None,
    }  # fmt: skip


def _has_tokens(tokens: np.ndarray, sizes: _Sizes) -> bool:
    """Return whether a source has the response tokens of a subset; rounding of a mean does not count."""
    return sizes.tokens is not None and bool(tokens.sum() >= sizes.tokens * (1 - 1e-9))


def _spread(values: np.ndarray, subsets: Any) -> Spread:
    return spread_of_subsets(values, subsets, sketched=True)


def _columns(name: str, spread: Spread | None, is_whole: bool = False) -> dict[str, float | None]:
    """Return three columns of SOURCES: a subset of all rows is no random one, and has no range."""
    if spread is None or is_whole:
        return {name: None if spread is None else spread.mean, f"{name}_low": None, f"{name}_high": None}
    return {name: spread.mean, f"{name}_low": spread.low, f"{name}_high": spread.high}


def _unions(
    found: SketchedRows,
    sources: Mapping[str, np.ndarray],
    table: pl.DataFrame,
    sizes: _Sizes,
    settings: DiversitySettings,
    rng: np.random.Generator,
) -> pl.DataFrame:
    """Compare as many rows of a source with half as many of it and of another, for every two of the largest."""
    alone = dict(table.drop_nulls("equal_rows").select("source", "equal_rows").iter_rows())
    named = [name for name in sources if name in alone][:MOST_UNIONS]
    rows = list[tuple[Any, ...]]()
    for one, other in combinations(named, 2) if sizes.rows else ():
        assert sizes.rows is not None
        half = sizes.rows // 2
        pools = [(sources[one], sizes.rows - half), (sources[other], half)]
        union = _spread(found.values, random_subsets(pools, settings.draws, rng))
        for first, second in ((one, other), (other, one)):
            rows.append((first, second, sizes.rows, alone[first], union.mean, union.low, union.high,
                         union.mean / alone[first]))  # fmt: skip
    return pl.DataFrame(rows, schema=UNIONS, orient="row").sort("ratio", descending=True)


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


def _notes(table: pl.DataFrame, sizes: _Sizes, sources: Mapping[str, np.ndarray], dim: int) -> Iterator[str]:
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
