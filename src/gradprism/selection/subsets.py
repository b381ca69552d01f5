"""Subsets of a data set by any numbers of its rows: the chosen rows, and for every other row the reason.

In this order: rows without a value, with an IFD above 1 or a perplexity above --max-perplexity, or for which --where
does not hold are left out; so are
near-duplicates of a better row; the others are ranked and cut, within each stratum; several cuts are combined; two
groups are matched in length. Rows of equal value are ordered by a hash of the seed, `example_id` and `row`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.selection.choice import choice, diversity_of_groups, refuse_missing_sketches
from gradprism.selection.cuts import Cut, Edge, Quota, cuts_of, edges, quotas, within
from gradprism.selection.exclusions import Candidates, exclusion_reasons, where_exclusion_reasons
from gradprism.selection.length_control import criteria_of, length_correlations, with_places_given_length
from gradprism.selection.matching import caliper_hint, lacks_support, matched_rows, refuse_empty_match
from gradprism.selection.near_duplicates import near_duplicates
from gradprism.selection.selection import TABLE, Selection
from gradprism.selection.settings import SelectSettings
from gradprism.stats.ranking import Indices, Order, in_given_order, mean_rank, order_by, tie_breakers

Texts = Callable[[frozenset[int]], Iterable[tuple[int, str]]]
Groups = dict[str, Indices]

_MOST_STRATA = 256


@dataclass(frozen=True)
class _Stratum:
    """Candidates of one value of the column of --stratify."""

    name: str | None  # None where nothing is stratified
    mask: np.ndarray  # of the candidates


@dataclass(frozen=True)
class _Pool:
    """Rankings of the rows that can be selected, and their strata and lengths."""

    deciding: tuple[Order, ...]  # those that are cut: one, or one a metric where each is cut by itself
    overall: Order
    strata: tuple[_Stratum, ...]
    lengths: np.ndarray  # of every candidate's response, 0 where not known

    @property
    def n(self) -> int:
        """Number of rows that can be selected."""
        return sum(self.sizes)

    @property
    def sizes(self) -> list[int]:
        """Rows of each stratum."""
        return [int(stratum.mask.sum()) for stratum in self.strata]

    @property
    def tokens(self) -> list[int]:
        """Response tokens of each stratum."""
        return [int(self.lengths[stratum.mask].sum()) for stratum in self.strata]


@dataclass
class _Decisions:
    """Reasons for rows left out (the first for a row stands), values at the cuts, and notes."""

    reasons: list[str | None]
    edges: list[Edge] = field(default_factory=list)
    tied: set[int] = field(default_factory=set)  # not taken, of the same value as one that was
    notes: list[str] = field(default_factory=list)

    @property
    def remaining(self) -> np.ndarray:
        """Mask of the rows that are not left out so far."""
        return np.array([reason is None for reason in self.reasons], dtype=bool)

    def leave_out(self, candidates: Indices, reason: str) -> None:
        """Leave out rows for one reason."""
        for candidate in candidates.tolist():
            if self.reasons[candidate] is None:
                self.reasons[candidate] = reason

    def leave_out_each(self, reasons: Iterable[str | None]) -> None:
        """Leave out each row that has a reason."""
        self.reasons = [first or second for first, second in zip(self.reasons, reasons, strict=True)]


@dataclass(frozen=True)
class _Ranking:
    """Candidates with what was added to them, their rankings, and what is decided before a cut."""

    candidates: Candidates
    pool: _Pool
    decisions: _Decisions
    ranked: Indices  # those that can be ranked, near-duplicates among them
    valid: np.ndarray  # mask of those that can be selected, whatever --where says


def select_rows(
    candidates: Candidates, settings: SelectSettings, seed: int = 0, texts: Texts | None = None
) -> Selection:
    """Put every row into a group, or leave it out with a reason.

    `texts` gives (row, text) for the rows asked for, in any order; only --dedup asks. Raises `GradPrismError` where
    the settings contradict each other, where --where cannot be evaluated, where --top and --bottom overlap, and where
    --tokens has no token counts to go by.
    """
    ranking = _rank(candidates, settings, seed, texts)
    candidates, pool, decisions, ranked = ranking.candidates, ranking.pool, ranking.decisions, ranking.ranked
    groups = _drop_common_rows(_cut(pool, settings, decisions), decisions)
    if settings.match_length:
        groups = _match_lengths(groups, pool, candidates.length_unit, settings.caliper, decisions)
    drawn = _baseline(candidates, settings, pool, groups, ranking.valid, seed) if settings.random else _concatenate([])
    selection = _assemble(candidates, settings, pool, groups, drawn, decisions)
    ranks = dict.fromkeys((*settings.metrics, *(name.removeprefix("-") for name in criteria_of(settings))))
    scores = {name: candidates.values[name].to_numpy() for name in ranks}
    if len(settings.by) > 1 and not settings.round_robin:
        scores[pool.overall.metric] = pool.overall.score
    if settings.ways:
        scores["chosen"] = np.isin(np.arange(len(candidates)), _concatenate([*groups.values()])).astype(float)
    diversity = selection.diversity
    if candidates.sketches is not None:
        sketched = ranked[candidates.sketches.at[ranked] >= 0]
        diversity = diversity_of_groups(candidates, groups, sketched, seed)
    correlations = length_correlations(candidates, scores, ranked)
    return replace(selection, seed=seed, length_correlations=correlations, diversity=diversity)


def rows_in_order(
    candidates: Candidates, settings: SelectSettings, seed: int = 0, texts: Texts | None = None
) -> tuple[Indices, tuple[str, ...]]:
    """Return the row numbers in the order in which a budget of tokens takes them, and notes on how they are ranked.

    Rows that are left out are not in it. The arguments and what is raised are those of `select_rows`; also raises
    `GradPrismError` for settings that have no single order.
    """
    if settings.stratify or settings.combine != "rank" or settings.is_two_groups or settings.quantile:
        raise GradPrismError(
            "Expected settings that take rows in one order: no stratify, combine, quantile, nor both top and bottom."
        )
    ranking = _rank(candidates, settings, seed, texts)
    (order,) = ranking.pool.deciding
    walk = order.among(ranking.decisions.remaining)
    if settings.bottom:
        walk = walk[::-1]
    rows: Indices = ranking.candidates.rows["row"].to_numpy()[walk]
    return rows, tuple(ranking.decisions.notes)


def _rank(candidates: Candidates, settings: SelectSettings, seed: int, texts: Texts | None) -> _Ranking:
    """Leave out the rows that cannot be selected, and rank the others."""
    settings.check()
    _check_candidates(candidates, settings)
    refuse_missing_sketches(candidates, settings)
    candidates = candidates.finite()
    decisions = _Decisions(exclusion_reasons(candidates, settings).to_list())
    valid = decisions.remaining
    decisions.leave_out_each(where_exclusion_reasons(candidates, settings.where))
    ranked = np.flatnonzero(decisions.remaining)
    if settings.given:
        candidates, notes = with_places_given_length(candidates, settings, ranked)
        decisions.notes += notes
    each, overall = _orders(candidates, settings, ranked, seed)
    if settings.dedup is not None:
        _drop_near_duplicates(candidates, settings, overall, texts, decisions)
    deciding = (overall,) if settings.combine == "rank" else each
    if way := choice(candidates, settings, each, overall, decisions.remaining, seed):
        deciding = (way.order,)
        decisions.notes.append(way.note)
    strata = _strata(candidates, settings, decisions.remaining)
    pool = _Pool(deciding, overall, strata, candidates.length.fill_null(0.0).to_numpy())
    return _Ranking(candidates, pool, decisions, ranked, valid)


def _check_candidates(candidates: Candidates, settings: SelectSettings) -> None:
    """Raise `GradPrismError` for metrics with the name of a column of ours, and for a budget without token counts."""
    if clash := {*TABLE} & {*candidates.values.columns}:
        raise GradPrismError(f"A metric cannot be named {clash.pop()!r} here: a column of the selection has that name.")
    if settings.tokens and candidates.length_unit != "tokens":
        raise GradPrismError(
            "--tokens needs token counts, and nothing has counted these rows. Expected a run that holds them: "
            "gradprism score DATA --metric length --model MODEL --out RUN, then gradprism select RUN."
        )


def _orders(
    candidates: Candidates, settings: SelectSettings, ranked: Indices, seed: int
) -> tuple[tuple[Order, ...], Order]:
    """Rank candidates: return the ranking by each metric, and the one that decides which of two rows is better."""
    if not settings.by:
        given = in_given_order(ranked, len(candidates))
        return (given,), given
    ties = tie_breakers(candidates.rows, seed, "ties")
    each = tuple(order_by(name, candidates.values, ranked, ties) for name in criteria_of(settings))
    overall = each[0] if len(each) == 1 else mean_rank(each, ties)
    return each, overall


def _drop_near_duplicates(
    candidates: Candidates, settings: SelectSettings, overall: Order, texts: Texts | None, decisions: _Decisions
) -> None:
    """Leave out near-duplicates of rows that rank better. Raises `GradPrismError` where no texts are given."""
    if texts is None or settings.dedup is None:
        raise GradPrismError("--dedup compares texts, and none were given.")
    order = overall.among(decisions.remaining)
    if settings.bottom and not settings.top:
        order = order[::-1]
    rows = candidates.rows["row"].to_list()
    candidate_of = {rows[candidate]: candidate for candidate in order.tolist()}
    found = near_duplicates(texts(frozenset(candidate_of)), [*candidate_of], settings.dedup)
    for row, (other, similarity) in found.items():
        reason = f"near-duplicate (of row {other}, which ranks better; similarity {similarity:.2f})"
        decisions.leave_out(np.array([candidate_of[row]]), reason)


def _stratum_names(candidates: Candidates, settings: SelectSettings) -> pl.Series:
    if settings.stratify is None:
        return pl.Series("stratum", [None] * len(candidates), dtype=pl.String)
    return candidates.columns[settings.stratify].cast(pl.String).fill_null("(none)").rename("stratum")


def _strata(candidates: Candidates, settings: SelectSettings, mask: np.ndarray) -> tuple[_Stratum, ...]:
    """Split the candidates of a mask by --stratify. Raises `GradPrismError` where it has too many values."""
    if settings.stratify is None:
        return (_Stratum(None, mask),)
    names = _stratum_names(candidates, settings)
    different = names.filter(pl.Series(mask)).unique().sort().to_list()
    if len(different) > _MOST_STRATA:
        raise GradPrismError(
            f"--stratify {settings.stratify}: {len(different):,} different values; expected at most {_MOST_STRATA}."
        )
    return tuple(_Stratum(name, mask & (names == name).to_numpy()) for name in different)


def _cut(pool: _Pool, settings: SelectSettings, decisions: _Decisions) -> Groups:
    """Cut each ranking in each stratum, and combine the rows that several rankings give."""
    cuts = cuts_of(settings)
    _check_amounts(cuts, pool.n, decisions)
    promised, groups = [0] * len(pool.strata), Groups()
    for cut in cuts:
        shares = quotas(cut, pool.sizes, pool.tokens, promised, settings.stratify_equal)
        taken = [_cut_stratum(cut, pool, *pair, settings, decisions) for pair in zip(pool.strata, shares, strict=True)]
        groups[cut.group] = _concatenate(taken)
        promised = [0 if cut.tokens else quota.rows or 0 for quota in shares]
        if pool.n and cut.tokens and not len(groups[cut.group]):
            decisions.notes.append(f"no row was taken for {cut.group}: the first has more than {cut.tokens:,} tokens")
    return groups


def _cut_stratum(
    cut: Cut, pool: _Pool, stratum: _Stratum, quota: Quota, settings: SelectSettings, decisions: _Decisions
) -> Indices:
    """Cut each ranking in one stratum; note the values at the cuts."""
    sets = []
    for order in pool.deciding:
        taken, walk = cut.take(order.among(stratum.mask), pool.lengths, quota)
        for edge, tied in edges(cut, order, stratum.name, taken, walk):
            decisions.edges.append(edge)
            if len(pool.deciding) == 1:
                decisions.tied.update(tied.tolist())
        sets.append(set(taken.tolist()))
    combined = set.union(*sets) if settings.combine == "or" else set.intersection(*sets)
    return np.array(sorted(combined), dtype=np.int64)


def _check_amounts(cuts: Sequence[Cut], n: int, decisions: _Decisions) -> None:
    """Raise `GradPrismError` for groups that would overlap; note amounts larger than the rows that can be ranked."""
    wanted = [cut.amount.of(n) for cut in cuts if cut.amount and not cut.tokens]
    if len(wanted) == 2 and sum(wanted) > n > 0:
        raise GradPrismError(
            f"--top and --bottom overlap: {wanted[0]:,} + {wanted[1]:,} rows of only {n:,} that can be ranked. "
            "Expected fewer, or shares such as 10%."
        )
    for cut in cuts:
        if cut.amount and (cut.amount.rows or 0) > n:
            decisions.notes.append(f"{cut.amount.rows:,} rows were asked for; {n:,} can be ranked")


def _drop_common_rows(groups: Groups, decisions: _Decisions) -> Groups:
    """Leave out rows in both groups: best by one metric and worst by another, or within both token budgets."""
    if len(groups) < 2:
        return groups
    both = np.intersect1d(groups["high"], groups["low"])
    decisions.leave_out(both, "in both groups")
    return {name: np.setdiff1d(rows, both) for name, rows in groups.items()}


def _match_lengths(groups: Groups, pool: _Pool, unit: str, caliper: float, decisions: _Decisions) -> Groups:
    """Keep the rows of `high` and `low` that pair in length, within each stratum. Raises `GradPrismError` for none."""
    sides = [
        (
            _most_extreme_first(groups["high"], pool.overall, stratum, False),
            _most_extreme_first(groups["low"], pool.overall, stratum, True),
        )
        for stratum in pool.strata
    ]
    matched = dict(zip(("high", "low"), map(np.sort, matched_rows(sides, pool.lengths, caliper)), strict=True))
    if not len(matched["high"]):
        refuse_empty_match(sides, pool.lengths, unit, caliper)
    for name, rows in groups.items():
        decisions.leave_out(np.setdiff1d(rows, matched[name]), "no row of like length in the other group")
    medians = " and ".join(f"{np.median(pool.lengths[rows]):,.0f}" for rows in matched.values())
    decisions.notes.append(
        f"matched in length: {len(matched['high']):,} rows in each group remain of {len(groups['high']):,} in high and "
        f"{len(groups['low']):,} in low; median {unit} {medians}"
    )
    if lacks_support(sides, len(matched["high"])) and (hint := caliper_hint(sides, pool.lengths)):
        decisions.notes.append(f"fewer than a quarter of the smaller group has a row of like length; {hint}")
    return matched


def _concatenate(parts: Sequence[Indices]) -> Indices:
    return np.concatenate([np.array([], dtype=np.int64), *parts])


def _most_extreme_first(rows: Indices, order: Order, stratum: _Stratum, worst_first: bool) -> Indices:
    mask = np.zeros(len(stratum.mask), dtype=bool)
    mask[rows] = True
    best_first = order.among(mask & stratum.mask)
    return best_first[::-1] if worst_first else best_first


def _baseline(
    candidates: Candidates, settings: SelectSettings, pool: _Pool, groups: Groups, valid: np.ndarray, seed: int
) -> Indices:
    """Draw as many rows as the first group has of each stratum, or as many tokens, from all that could be selected.

    Where --where alone selects, rows for which it does not hold are drawn from too.
    """
    cut, *_ = cuts_of(settings)
    strata = pool.strata if settings.by or settings.diverse else (_Stratum(None, valid),)
    first = np.isin(np.arange(len(candidates)), groups[cut.group])
    shares = [Quota(rows=int((first & stratum.mask).sum())) for stratum in strata]
    if settings.tokens and not settings.match_length:
        budgets = quotas(cut, pool.sizes, pool.tokens, [0] * len(strata), settings.stratify_equal)
        shares = [Quota(tokens=quota.tokens) for quota in budgets]
    order = np.argsort(tie_breakers(candidates.rows, seed, "baseline"), kind="stable")
    drawn = [
        within(order[stratum.mask[order]], pool.lengths, quota) for stratum, quota in zip(strata, shares, strict=True)
    ]
    return _concatenate(drawn)


def _assemble(
    candidates: Candidates, settings: SelectSettings, pool: _Pool, groups: Groups, drawn: Indices, decisions: _Decisions
) -> Selection:
    """Give every row its group or reason, and make the `Selection`."""
    group: list[str | None] = [None] * len(candidates)
    for name, rows in groups.items():
        for candidate in rows.tolist():
            group[candidate] = name
    rest = np.setdiff1d(np.flatnonzero(decisions.remaining), _concatenate([*groups.values()]))
    tied = np.intersect1d(rest, [*decisions.tied]).astype(np.int64)
    decisions.leave_out(tied, "same value as the cut, not drawn by the tie rule")
    decisions.leave_out(rest, _reason_outside(settings))
    baseline = np.zeros(len(candidates), dtype=bool)
    baseline[drawn] = True
    table = candidates.rows.select("row", "example_id").with_columns(
        pl.Series("group", group, dtype=pl.String),
        pl.Series("reason", decisions.reasons, dtype=pl.String),
        _stratum_names(candidates, settings),
        pl.Series("baseline", baseline),
        candidates.length.alias("response_length"),
        *candidates.values,
        *_mean_rank(pool, settings),
    )
    return Selection(
        table,
        metrics=tuple(candidates.values.columns),
        settings=settings,
        edges=tuple(decisions.edges),
        notes=tuple(decisions.notes),
        length_unit=candidates.length_unit,
    )


def _mean_rank(pool: _Pool, settings: SelectSettings) -> list[pl.Series]:
    """Return the mean rank as a column, where that decided."""
    decided = len(settings.by) > 1 and not settings.round_robin
    return [pl.Series("mean rank", pool.overall.score).fill_nan(None)] if decided else []


def _reason_outside(settings: SelectSettings) -> str:
    """Say why rows that could be selected were not taken."""
    if settings.is_two_groups:
        return "between the two groups"
    if settings.quantile:
        return "outside the quantiles"
    if settings.diverse:
        return "adds less than the rows taken"
    if settings.per_cluster:
        return "ranks below the cut in its cluster"
    if settings.combine != "rank" and len(settings.by) > 1:
        return f"not within the cut of {'every' if settings.combine == 'and' else 'any'} metric"
    return "ranks above the cut" if settings.bottom else "ranks below the cut"
