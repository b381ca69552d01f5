"""Vendi score of random subsets: the standard error of a score, and sets of different sizes at one size.

A bootstrap draws rows twice, and copies lower a diversity. So the error comes from random halves without replacement
(the delete-half jackknife: Shao & Wu, Annals of Statistics 17, 1989): over complementary halves of n rows the variance
of a smooth statistic is that of the whole over sets of n rows. The score grows with the number of rows, so two sets are
compared by random subsets of one size.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gradprism.stats.vendi import MOST_DIM, log_vendi, log_vendi_of, unit_rows

HALVES = 24
"""Halves that give the standard error, in complementary pairs."""
_GROUPS = 32  # of rows, where Gram matrices of groups are added up to those of halves


@dataclass(frozen=True)
class Spread:
    """Scores of random subsets of one size: mean, and the middle 95%."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Halves:
    """Vendi score of half of the rows (geometric mean), and the standard error of the log of that of all of them.

    NaN for fewer than four rows.
    """

    score: float
    error: float


def random_halves(
    values: Float[np.ndarray, "n d"],
    rng: np.random.Generator,
    rows: Int[np.ndarray, " m"] | None = None,
    *,
    sketched: bool = False,
    halves: int = HALVES,
) -> Halves:
    """Compute the Vendi score of random halves of some rows.

    The error is that of the rows as a sample of all that might have been drawn. Of many rows (more than 2,048) the Gram
    matrices of 32 random groups are computed in the first 1,024 coordinates, and added up to those of halves.
    """
    chosen = np.arange(len(values)) if rows is None else rows
    n = len(chosen)
    if n < 4:
        return Halves(float("nan"), float("nan"))
    dim = min(MOST_DIM, values.shape[1])
    few = n <= 2 * dim
    sums = _kernel_halves(values, chosen, halves, rng) if few else _grouped_halves(values, chosen, dim, halves, rng)
    noise = (values.shape[1] if few else dim) if sketched else None
    logs = [log_vendi_of(gram, size, noise) for gram, size in sums]
    return Halves(float(np.exp(np.mean(logs))), float(np.std(logs, ddof=1)))


def _kernel_halves(
    values: np.ndarray, rows: np.ndarray, halves: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the kernel of each half, and its size."""
    unit = np.concatenate([*unit_rows(values, rows)])
    kernel, half = unit @ unit.T, len(rows) // 2  # (n, d) @ (d, n)
    for _ in range(halves // 2):
        order = rng.permutation(len(rows))
        for part in (order[:half], order[half : 2 * half]):
            yield kernel[np.ix_(part, part)].astype(np.float64), half


def _grouped_halves(
    values: np.ndarray, rows: np.ndarray, dim: int, halves: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield the sum of the Gram matrices of 16 of 32 random groups, and its rows: once over the rows for all halves."""
    group_of = rng.permutation(len(rows)) % _GROUPS
    parts = [np.flatnonzero(group_of == group) for group in range(_GROUPS)]
    grams = np.stack([_feature_gram(values, rows[part], dim) for part in parts])
    sizes = np.array([len(part) for part in parts])
    for _ in range(halves // 2):
        order = rng.permutation(_GROUPS)
        for half in (order[: _GROUPS // 2], order[_GROUPS // 2 :]):
            yield grams[half].sum(axis=0, dtype=np.float64), int(sizes[half].sum())


def _feature_gram(values: np.ndarray, rows: np.ndarray, dim: int) -> Float[np.ndarray, "dim dim"]:
    gram = np.zeros((dim, dim), dtype=np.float32)
    for unit in unit_rows(values, rows, dim):
        gram += unit.T @ unit  # (dim, block) @ (block, dim)
    return gram


def random_subsets(
    pools: Sequence[tuple[Int[np.ndarray, " pool"], int]], draws: int, rng: np.random.Generator
) -> Iterator[Int[np.ndarray, " rows"]]:
    """Yield random rows without replacement, `draws` times: of each pool so many, in one array."""
    for _ in range(draws):
        yield np.sort(np.concatenate([rng.choice(pool, size, replace=False) for pool, size in pools]))


def subsets_of_tokens(
    pool: Int[np.ndarray, " pool"],
    tokens: Float[np.ndarray, " pool"],
    budget: float,
    draws: int,
    rng: np.random.Generator,
) -> Iterator[Int[np.ndarray, " rows"]]:
    """Yield random rows in whose order the tokens fit into a budget, at least one row, `draws` times."""
    for _ in range(draws):
        order = rng.permutation(len(pool))
        fitting = int((np.cumsum(tokens[order]) <= budget).sum())
        yield np.sort(pool[order[: max(fitting, 1)]])


def spread_of_subsets(
    values: Float[np.ndarray, "n d"], subsets: Iterable[Int[np.ndarray, " rows"]], *, sketched: bool = False
) -> Spread:
    """Compute the Vendi score of each subset: return the geometric mean, and the middle 95%.

    Of more than 1,024 rows in the first 1,024 coordinates.
    """
    logs = [
        log_vendi(values, rows, sketched=sketched, dim=MOST_DIM if len(rows) > MOST_DIM else None) for rows in subsets
    ]
    low, high = np.quantile(logs, [0.025, 0.975])
    return Spread(*(float(np.exp(each)) for each in (np.mean(logs), low, high)))
