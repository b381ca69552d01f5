"""Rankings of rows, best first: by one metric or by the mean of several ranks, equal values in a seeded order."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import polars as pl

Indices = np.ndarray  # positions in the table of candidates, not row numbers of the data
TIE_RULE = (  # `tie_breakers` in words
    "Rows of equal value stand in the order of BLAKE2b(`ties`, seed, row, example_id): "
    "the same rows and --seed give the same choice on every machine."
)


@dataclass(frozen=True)
class Order:
    """A ranking of some candidates, best first."""

    metric: str  # its name, "mean rank" of several, or "" where nothing ranks
    sign: int  # -1 where lower is better
    score: np.ndarray  # of every candidate, higher is better
    best_first: Indices

    def among(self, mask: np.ndarray) -> Indices:
        """Return the candidates of a mask, best first."""
        among: Indices = self.best_first[mask[self.best_first]]
        return among

    def value(self, candidate: int) -> float:
        """Return the value of the metric for a candidate."""
        return float(self.sign * self.score[candidate])


def tie_breakers(rows: pl.DataFrame, seed: int, purpose: str) -> np.ndarray:
    """Hash each row to a number that depends on the seed, its `example_id` and its `row` alone.

    64 bits of BLAKE2b: the same on every machine, and whatever else is in the data.
    """
    names = zip(rows["row"], rows["example_id"], strict=True)
    digests = (blake2b(f"{purpose}\0{seed}\0{row}\0{name}".encode(), digest_size=8).digest() for row, name in names)
    return np.array([int.from_bytes(digest) for digest in digests], dtype=np.uint64)


def order_by(name: str, values: pl.DataFrame, candidates: Indices, ties: np.ndarray) -> Order:
    """Rank candidates by a metric, highest first, or lowest first for `-NAME`; equal values in the order of `ties`."""
    metric, sign = name.removeprefix("-"), -1 if name.startswith("-") else 1
    score = sign * values[metric].to_numpy()
    return Order(metric, sign, score, _best_first(score, candidates, ties))


def mean_rank(orders: Sequence[Order], ties: np.ndarray) -> Order:
    """Rank by the mean of several ranks, each from 0 (worst) to 1 (best); equal values share their mean rank."""
    candidates = orders[0].best_first
    ranks = [pl.Series(order.score[candidates]).rank("average").to_numpy() for order in orders]
    score = np.full(len(ties), np.nan)
    score[candidates] = (np.mean(ranks, axis=0) - 1) / max(len(candidates) - 1, 1)
    return Order("mean rank", 1, score, _best_first(score, candidates, ties))


def in_given_order(candidates: Indices, n: int) -> Order:
    """Rank candidates in the order of the data, for `n` rows in all."""
    return Order("", 1, np.zeros(n), candidates)


def _best_first(score: np.ndarray, candidates: Indices, ties: np.ndarray) -> Indices:
    ordered: Indices = candidates[np.lexsort((ties[candidates], -score[candidates]))]
    return ordered
