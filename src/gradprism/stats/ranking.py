"""Rows from best to worst: by one metric or by the mean of several ranks, equal values in a seeded order."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import polars as pl

Indices = np.ndarray  # places in the table of candidates, not row numbers of the data


@dataclass(frozen=True)
class Order:
    """Some rows from best to worst."""

    metric: str  # its name, "mean rank" of several, or "" where nothing ranks
    sign: int  # -1 where lower is better
    score: np.ndarray  # of every candidate, higher is better
    best_first: Indices

    def among(self, members: np.ndarray) -> Indices:
        """Those of a mask, from best to worst."""
        among: Indices = self.best_first[members[self.best_first]]
        return among

    def value(self, place: int) -> float:
        """What the metric itself gives for a row."""
        return float(self.sign * self.score[place])


def lottery(rows: pl.DataFrame, seed: int, purpose: str) -> np.ndarray:
    """A number for each row that depends on nothing but the seed, its `example_id` and its `row`.

    64 bits of BLAKE2b: the same on every machine, and whatever else is in the data.
    """
    names = zip(rows["row"], rows["example_id"], strict=True)
    digests = (blake2b(f"{purpose}\0{seed}\0{row}\0{name}".encode(), digest_size=8).digest() for row, name in names)
    return np.array([int.from_bytes(digest) for digest in digests], dtype=np.uint64)


def order_by(name: str, values: pl.DataFrame, places: Indices, tickets: np.ndarray) -> Order:
    """Rank by one metric; `-NAME` is lower first."""
    metric, sign = name.removeprefix("-"), -1 if name.startswith("-") else 1
    score = sign * values[metric].to_numpy()
    return Order(metric, sign, score, _sorted(score, places, tickets))


def mean_rank(orders: Sequence[Order], tickets: np.ndarray) -> Order:
    """Rank by the mean of several ranks, each from 0 (worst) to 1 (best); equal values share their mean rank."""
    places = orders[0].best_first
    ranks = [pl.Series(order.score[places]).rank("average").to_numpy() for order in orders]
    score = np.full(len(tickets), np.nan)
    score[places] = (np.mean(ranks, axis=0) - 1) / max(len(places) - 1, 1)
    return Order("mean rank", 1, score, _sorted(score, places, tickets))


def in_given_order(places: Indices, n: int) -> Order:
    """Nothing ranks: the order of the data."""
    return Order("", 1, np.zeros(n), places)


def _sorted(score: np.ndarray, places: Indices, tickets: np.ndarray) -> Indices:
    ordered: Indices = places[np.lexsort((tickets[places], -score[places]))]
    return ordered
