"""Subsets of a data set by any numbers of its rows: which rows, and for every other row why not.

In this order: rows without a value, with an IFD above 1, or for which --where does not hold are put aside; so are
near-duplicates of a better row; the others are ranked and cut, within each stratum; several cuts are combined; two
groups are matched in length. Rows of equal value are ordered by a hash of the seed, `example_id` and `row`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.selection.cuts import Cut, Edge, Quota, cuts_of, edges, quotas, within
from gradprism.selection.eligible import Candidates, obstacles, where_obstacles
from gradprism.selection.near_duplicates import near_duplicates
from gradprism.selection.selection import TABLE, Selection
from gradprism.selection.settings import SelectSettings
from gradprism.stats.length_match import length_pairs
from gradprism.stats.ranking import Indices, Order, in_given_order, mean_rank, order_by, tie_breakers

Texts = Callable[[frozenset[int]], Iterable[tuple[int, str]]]
Groups = dict[str, Indices]

_MOST_STRATA = 256


@dataclass(frozen=True)
class _Stratum:
    name: str | None  # None where nothing is stratified
    members: np.ndarray  # mask of the candidates


@dataclass(frozen=True)
class _Pool:
    """The rows that can be selected, ranked: what the cuts are made of."""

    deciding: tuple[Order, ...]  # one, or one a metric where each is cut by itself
    overall: Order
    strata: tuple[_Stratum, ...]
    lengths: np.ndarray  # of every candidate's response, 0 where not known

    @property
    def n(self) -> int:
        return sum(self.sizes)

    @property
    def sizes(self) -> list[int]:
        return [int(stratum.members.sum()) for stratum in self.strata]

    @property
    def tokens(self) -> list[int]:
        return [int(self.lengths[stratum.members].sum()) for stratum in self.strata]


@dataclass
class _Account:
    """Why rows are left out, where the cuts fell, and what is worth saying. The first reason for a row stands."""

    reasons: list[str | None]
    edges: list[Edge] = field(default_factory=list)
    tied: set[int] = field(default_factory=set)  # not taken, though of the same value as one that was
    notes: list[str] = field(default_factory=list)

    @property
    def open(self) -> np.ndarray:
        """Mask of the rows against which nothing has been said."""
        return np.array([reason is None for reason in self.reasons], dtype=bool)

    def leave_out(self, places: Indices, reason: str) -> None:
        for place in places.tolist():
            if self.reasons[place] is None:
                self.reasons[place] = reason

    def leave_out_each(self, reasons: Iterable[str | None]) -> None:
        """Leave out the rows that have a reason, of one for each."""
        self.reasons = [first or second for first, second in zip(self.reasons, reasons, strict=True)]


def select_rows(
    candidates: Candidates, settings: SelectSettings, seed: int = 0, texts: Texts | None = None
) -> Selection:
    """Put every row into a group, or leave it out with a reason.

    `texts` gives (row, text) for the rows asked for, in any order; only --dedup asks. Raises `GradPrismError` where
    the settings contradict each other, where --where cannot be evaluated, where --top and --bottom overlap, and where
    --tokens has no token counts to go by.
    """
    settings.check()
    _refuse(candidates, settings)
    candidates = candidates.finite()
    account = _Account(obstacles(candidates, settings).to_list())
    valid = account.open
    account.leave_out_each(where_obstacles(candidates, settings.where))
    deciding, overall = _orders(candidates, settings, np.flatnonzero(account.open), seed)
    if settings.dedup is not None:
        _drop_near_duplicates(candidates, settings, overall, texts, account)
    strata = _strata(candidates, settings, account.open)
    pool = _Pool(deciding, overall, strata, candidates.length.fill_null(0.0).to_numpy())
    groups = _separate(_cut(pool, settings, account), account)
    if settings.match_length:
        groups = _matched(groups, pool, candidates.length_unit, account)
    drawn = _baseline(candidates, settings, pool, groups, valid, seed) if settings.random else _joined([])
    return replace(_selection(candidates, settings, pool, groups, drawn, account), seed=seed)


def _refuse(candidates: Candidates, settings: SelectSettings) -> None:
    if clash := {*TABLE} & {*candidates.values.columns}:
        raise GradPrismError(f"A metric cannot be named {clash.pop()!r} here: a column of the selection has that name.")
    if settings.tokens and candidates.length_unit != "tokens":
        raise GradPrismError(
            "--tokens needs token counts, and nothing has counted these rows. Expected a run that holds them: "
            "gradprism score DATA --metric length --model MODEL --out RUN, then gradprism select RUN."
        )


def _orders(
    candidates: Candidates, settings: SelectSettings, places: Indices, seed: int
) -> tuple[tuple[Order, ...], Order]:
    """The rankings to be cut, and the one that says which of two rows is better."""
    if not settings.by:
        given = in_given_order(places, len(candidates))
        return (given,), given
    ties = tie_breakers(candidates.rows, seed, "ties")
    each = tuple(order_by(name, candidates.values, places, ties) for name in settings.by)
    overall = each[0] if len(each) == 1 else mean_rank(each, ties)
    return ((overall,) if settings.combine == "rank" else each), overall


def _drop_near_duplicates(
    candidates: Candidates, settings: SelectSettings, overall: Order, texts: Texts | None, account: _Account
) -> None:
    if texts is None or settings.dedup is None:
        raise GradPrismError("--dedup compares texts, and none were given.")
    order = overall.among(account.open)
    if settings.bottom and not settings.top:
        order = order[::-1]
    rows = candidates.rows["row"].to_list()
    place_of = {rows[place]: place for place in order.tolist()}
    for row, (other, similarity) in near_duplicates(texts(frozenset(place_of)), [*place_of], settings.dedup).items():
        reason = f"near-duplicate (of row {other}, which ranks better; similarity {similarity:.2f})"
        account.leave_out(np.array([place_of[row]]), reason)


def _stratum_names(candidates: Candidates, settings: SelectSettings) -> pl.Series:
    if settings.stratify is None:
        return pl.Series("stratum", [None] * len(candidates), dtype=pl.String)
    return candidates.columns[settings.stratify].cast(pl.String).fill_null("(none)").rename("stratum")


def _strata(candidates: Candidates, settings: SelectSettings, members: np.ndarray) -> tuple[_Stratum, ...]:
    if settings.stratify is None:
        return (_Stratum(None, members),)
    names = _stratum_names(candidates, settings)
    different = names.filter(pl.Series(members)).unique().sort().to_list()
    if len(different) > _MOST_STRATA:
        raise GradPrismError(
            f"--stratify {settings.stratify}: {len(different):,} different values; expected at most {_MOST_STRATA}."
        )
    return tuple(_Stratum(name, members & (names == name).to_numpy()) for name in different)


def _cut(pool: _Pool, settings: SelectSettings, account: _Account) -> Groups:
    """Cut each ranking in each stratum, and combine what several rankings give."""
    cuts = cuts_of(settings)
    _check_amounts(cuts, pool.n, account)
    promised, groups = [0] * len(pool.strata), Groups()
    for cut in cuts:
        shares = quotas(cut, pool.sizes, pool.tokens, promised, settings.stratify_equal)
        taken = [_cut_stratum(cut, pool, *pair, settings, account) for pair in zip(pool.strata, shares, strict=True)]
        groups[cut.group] = _joined(taken)
        promised = [0 if cut.tokens else quota.rows or 0 for quota in shares]
        if pool.n and cut.tokens and not len(groups[cut.group]):
            account.notes.append(f"no row was taken for {cut.group}: the first has more than {cut.tokens:,} tokens")
    return groups


def _cut_stratum(
    cut: Cut, pool: _Pool, stratum: _Stratum, quota: Quota, settings: SelectSettings, account: _Account
) -> Indices:
    sets = []
    for order in pool.deciding:
        taken, walk = cut.take(order.among(stratum.members), pool.lengths, quota)
        for edge, tied in edges(cut, order, stratum.name, taken, walk):
            account.edges.append(edge)
            if len(pool.deciding) == 1:
                account.tied.update(tied.tolist())
        sets.append(set(taken.tolist()))
    combined = set.union(*sets) if settings.combine == "or" else set.intersection(*sets)
    return np.array(sorted(combined), dtype=np.int64)


def _check_amounts(cuts: Sequence[Cut], n: int, account: _Account) -> None:
    """Refuse two groups that would overlap; note where more rows are asked for than there are."""
    wanted = [cut.amount.of(n) for cut in cuts if cut.amount and not cut.tokens]
    if len(wanted) == 2 and sum(wanted) > n > 0:
        raise GradPrismError(
            f"--top and --bottom overlap: {wanted[0]:,} + {wanted[1]:,} rows of only {n:,} that can be ranked. "
            "Expected fewer, or shares such as 10%."
        )
    for cut in cuts:
        if cut.amount and (cut.amount.rows or 0) > n:
            account.notes.append(f"{cut.amount.rows:,} rows were asked for; {n:,} can be ranked")


def _separate(groups: Groups, account: _Account) -> Groups:
    """A row that is in both groups is in neither: best by one metric and worst by another, or tokens for all."""
    if len(groups) < 2:
        return groups
    both = np.intersect1d(groups["high"], groups["low"])
    account.leave_out(both, "in both groups")
    return {name: np.setdiff1d(places, both) for name, places in groups.items()}


def _matched(groups: Groups, pool: _Pool, unit: str, account: _Account) -> Groups:
    """Within each stratum, keep the rows of `high` and `low` that pair in length."""
    kept: dict[str, list[Indices]] = {"high": [], "low": []}
    for stratum in pool.strata:
        high, low = (_most_extreme_first(groups[name], pool.overall, stratum, name == "low") for name in kept)
        pairs = length_pairs(pool.lengths[high], pool.lengths[low])
        kept["high"].append(high[pairs[0]])
        kept["low"].append(low[pairs[1]])
    matched = {name: np.sort(_joined(parts)) for name, parts in kept.items()}
    for name, places in groups.items():
        account.leave_out(np.setdiff1d(places, matched[name]), "no row of like length in the other group")
    medians = [f"{np.median(pool.lengths[places]):,.0f}" for places in matched.values() if len(places)]
    account.notes.append(
        f"matched in length: {len(matched['high']):,} rows in each group remain of {len(groups['high']):,} in high and "
        f"{len(groups['low']):,} in low" + (f"; median {unit} {' and '.join(medians)}" if medians else "")
    )
    return matched


def _joined(parts: Sequence[Indices]) -> Indices:
    return np.concatenate([np.array([], dtype=np.int64), *parts])


def _most_extreme_first(places: Indices, order: Order, stratum: _Stratum, worst_first: bool) -> Indices:
    mask = np.zeros(len(stratum.members), dtype=bool)
    mask[places] = True
    best_first = order.among(mask & stratum.members)
    return best_first[::-1] if worst_first else best_first


def _baseline(
    candidates: Candidates, settings: SelectSettings, pool: _Pool, groups: Groups, valid: np.ndarray, seed: int
) -> Indices:
    """As many rows as the first group has of each stratum, or as many tokens, from all that could be selected.

    Where nothing but --where selects, these are the rows for which it does not hold too.
    """
    cut, *_ = cuts_of(settings)
    strata = pool.strata if settings.by else (_Stratum(None, valid),)
    first = np.isin(np.arange(len(candidates)), groups[cut.group])
    shares = [Quota(rows=int((first & stratum.members).sum())) for stratum in strata]
    if settings.tokens and not settings.match_length:
        budgets = quotas(cut, pool.sizes, pool.tokens, [0] * len(strata), settings.stratify_equal)
        shares = [Quota(tokens=quota.tokens) for quota in budgets]
    order = np.argsort(tie_breakers(candidates.rows, seed, "baseline"), kind="stable")
    drawn = [
        within(order[stratum.members[order]], pool.lengths, quota)
        for stratum, quota in zip(strata, shares, strict=True)
    ]
    return _joined(drawn)


def _selection(
    candidates: Candidates, settings: SelectSettings, pool: _Pool, groups: Groups, drawn: Indices, account: _Account
) -> Selection:
    group: list[str | None] = [None] * len(candidates)
    for name, places in groups.items():
        for place in places.tolist():
            group[place] = name
    rest = np.setdiff1d(np.flatnonzero(account.open), _joined([*groups.values()]))
    tied = np.intersect1d(rest, [*account.tied]).astype(np.int64)
    account.leave_out(tied, "same value as the cut, not drawn by the tie rule")
    account.leave_out(rest, _outside(settings))
    baseline = np.zeros(len(candidates), dtype=bool)
    baseline[drawn] = True
    table = candidates.rows.select("row", "example_id").with_columns(
        pl.Series("group", group, dtype=pl.String),
        pl.Series("reason", account.reasons, dtype=pl.String),
        _stratum_names(candidates, settings),
        pl.Series("baseline", baseline),
        candidates.length.alias("response_length"),
        *candidates.values,
        *([pl.Series("mean rank", pool.overall.score).fill_nan(None)] if len(settings.by) > 1 else []),
    )
    return Selection(
        table,
        metrics=tuple(candidates.values.columns),
        settings=settings,
        edges=tuple(account.edges),
        notes=tuple(account.notes),
        length_unit=candidates.length_unit,
    )


def _outside(settings: SelectSettings) -> str:
    """Why a row that could have been taken was not."""
    if settings.is_two_groups:
        return "between the two groups"
    if settings.quantile:
        return "outside the quantiles"
    if settings.combine != "rank" and len(settings.by) > 1:
        return f"not within the cut of {'every' if settings.combine == 'and' else 'any'} metric"
    return "ranks above the cut" if settings.bottom else "ranks below the cut"
