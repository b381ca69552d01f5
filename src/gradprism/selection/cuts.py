"""Cuts of a ranking: a number of rows, a share, two quantiles or a budget of tokens, in each stratum."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from gradprism.selection.settings import Amount, SelectSettings
from gradprism.stats.ranking import Indices, Order


@dataclass(frozen=True)
class Quota:
    """Most rows and most tokens to take of one stratum; no limit where None."""

    rows: int | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class Cut:
    """One group and the end of the ranking that it is cut from. Without any limit it takes every row."""

    group: str
    worst_first: bool = False
    amount: Amount | None = None
    tokens: int | None = None
    quantiles: tuple[Decimal, Decimal] | None = None

    def take(self, best_first: Indices, lengths: np.ndarray, quota: Quota) -> tuple[Indices, Indices]:
        """Return the rows taken of one stratum, and all of its rows in the order of the cut."""
        walk = best_first[::-1] if self.worst_first else best_first
        if self.quantiles:
            low, high = (int(quantile * len(walk)) for quantile in self.quantiles)
            return walk[low:high], walk
        return within(walk, lengths, quota), walk


@dataclass(frozen=True)
class Edge:
    """The last value taken, how many rows share it, and how many of these were taken."""

    group: str
    stratum: str | None
    metric: str
    value: float
    sharing: int
    taken: int


def cuts_of(settings: SelectSettings) -> tuple[Cut, ...]:
    """Return the cut of the group `selected`, or those of `high` and `low`."""
    top, bottom, tokens = settings.top_amount, settings.bottom_amount, settings.tokens
    if settings.quantiles:
        return (Cut("selected", worst_first=True, quantiles=settings.quantiles),)
    if top and bottom:
        return Cut("high", amount=top, tokens=tokens), Cut("low", worst_first=True, amount=bottom, tokens=tokens)
    return (Cut("selected", worst_first=bottom is not None, amount=top or bottom, tokens=tokens),)


def within(walk: Indices, lengths: np.ndarray, quota: Quota) -> Indices:
    """Return the first rows, up to a number of them and up to the row that would exceed the tokens."""
    if quota.tokens is not None:
        walk = walk[np.cumsum(lengths[walk]) <= quota.tokens]
    return walk[: quota.rows]


def edges(cut: Cut, order: Order, stratum: str | None, taken: Indices, walk: Indices) -> Iterator[tuple[Edge, Indices]]:
    """Yield the values at which a walk was cut, each with the rows that share it and were not taken."""
    if not order.metric or not len(taken):
        return
    first = int(np.flatnonzero(walk == taken[0])[0])
    ends = [taken[0]] * (first > 0) + [taken[-1]] * (first + len(taken) < len(walk))
    for end in ends:
        sharing = walk[order.score[walk] == order.score[end]]
        left = np.setdiff1d(sharing, taken)
        counts = len(sharing), len(sharing) - len(left)
        yield Edge(cut.group, stratum, order.metric, order.value(end), *counts), left


def quotas(cut: Cut, sizes: Sequence[int], tokens: Sequence[int], taken: Sequence[int], equal: bool) -> list[Quota]:
    """Share a cut out over strata of `sizes` rows and `tokens` tokens, `taken` rows of which are already promised."""
    rows: Sequence[int | None] = [None] * len(sizes)
    budget: Sequence[int | None] = rows
    if cut.amount:
        free = [size - gone for size, gone in zip(sizes, taken, strict=True)]
        rows = apportion(min(cut.amount.of(sum(sizes)), sum(free)), free, equal)
    if cut.tokens is not None:
        budget = apportion(cut.tokens, tokens, equal)
    return [Quota(*pair) for pair in zip(rows, budget, strict=True)]


def apportion(total: int, sizes: Sequence[int], equal: bool = False) -> list[int]:
    """Share out `total`, in proportion to the sizes or equally; none gets more than its size.

    In proportion: the method of largest remainders (Hamilton), equal remainders to the earlier one. Equally: one
    that is too small gives all it has, and the others share the rest.
    """
    total = min(total, sum(sizes))
    if total == 0:
        return [0] * len(sizes)
    if equal:
        return _equally(total, sizes)
    shares = [divmod(total * size, sum(sizes)) for size in sizes]
    given = [whole for whole, _ in shares]
    by_remainder = sorted(range(len(sizes)), key=lambda i: -shares[i][1])
    for i in by_remainder[: total - sum(given)]:
        given[i] += 1
    return given


def _equally(total: int, sizes: Sequence[int]) -> list[int]:
    given = [0] * len(sizes)
    smallest_first = sorted(range(len(sizes)), key=lambda i: sizes[i])
    for done, i in enumerate(smallest_first):
        given[i] = min(sizes[i], total // (len(sizes) - done))
        total -= given[i]
    return given
