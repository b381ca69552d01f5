"""Orders of choice that look at more than one ranking: rows that differ, clusters in turn, and metrics in turn."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.selection.exclusions import Candidates
from gradprism.selection.settings import SelectSettings
from gradprism.stats.diverse_order import ALPHA, diverse_order, quality_of_places
from gradprism.stats.neighbours import clusters_of
from gradprism.stats.ranking import Indices, Order
from gradprism.stats.subset_diversity import random_subsets, spread_of_subsets

DIVERSITY = {
    "group": pl.String, "rows": pl.Int64, "vendi": pl.Float64, "random": pl.Float64, "random_low": pl.Float64,
    "random_high": pl.Float64,
}  # fmt: skip
_DRAWS = 20


@dataclass(frozen=True)
class Choice:
    """Candidates in the order in which they are taken, and how that came about, in words."""

    order: Order
    note: str


def choice(
    candidates: Candidates, settings: SelectSettings, each: Sequence[Order], overall: Order, left: np.ndarray, seed: int
) -> Choice | None:
    """Order the candidates of the mask `left` by the way that the settings name; None where they name none.

    `each` are the rankings by the metrics, `overall` the one of all. Candidates that no cut can reach are not in it.
    """
    best_first = overall.among(left)
    if settings.round_robin:
        found, note = _in_turn([order.among(left) for order in each]), f"the best of {len(each)} metrics in turn"
    elif settings.diverse:
        found, note = _diverse(candidates, settings, best_first)
    elif settings.per_cluster:
        found, note = _per_cluster(candidates, settings, best_first, seed)
    else:
        return None
    return Choice(Order("", 1, np.zeros(len(candidates)), found), note)


def _in_turn(rankings: Sequence[Indices]) -> Indices:
    """Take the best of each ranking that is not taken yet, in turn."""
    taken = dict[int, None]()
    queues = [iter(ranking.tolist()) for ranking in rankings]
    while len(taken) < len(rankings[0]):
        for queue in queues:
            taken |= dict.fromkeys(islice((row for row in queue if row not in taken), 1))
    return np.array([*taken], dtype=np.int64)


def _diverse(candidates: Candidates, settings: SelectSettings, best_first: Indices) -> tuple[Indices, str]:
    """Choose greedily by quality and the log-determinant, as many as a cut can reach."""
    n, amount = len(best_first), settings.top_amount
    reached = n if settings.stratify or amount is None else amount.of(n)
    places = 1 - np.arange(n) / max(n - 1, 1) if settings.by else np.ones(n)
    order, _ = diverse_order(
        candidates.sketches_of(best_first),
        quality_of_places(places, settings.quality),
        tokens=candidates.length.fill_null(0.0).to_numpy()[best_first],
        most_rows=reached,
        most_tokens=None if settings.stratify else settings.tokens,
    )
    weights = f", q² from 1/{settings.quality:g} (worst by --by) to 1 (best)" if settings.by else ", q = 1"
    return best_first[order], (
        f"chosen greedily for the largest log det(I + {ALPHA:g} diag(q) K diag(q)), K the cosines of gradients{weights}"
    )


def _per_cluster(
    candidates: Candidates, settings: SelectSettings, best_first: Indices, seed: int
) -> tuple[Indices, str]:
    """Take the best of each cluster in turn, at most --per-cluster of each; of equal rank the better one first."""
    most, n = settings.per_cluster or 0, len(best_first)
    if not n:
        return best_first, "no row can be clustered"
    wanted = n if settings.top_amount is None else settings.top_amount.of(n)
    k = settings.clusters or (round(np.sqrt(n)) if settings.top is None else -(-wanted // most))
    cluster = clusters_of(candidates.sketches_of(best_first), min(k, n), seed)
    place = pl.DataFrame({"cluster": cluster}).select(place=pl.int_range(pl.len()).over("cluster"))["place"].to_numpy()
    kept = np.flatnonzero(place < most)
    in_turn = kept[np.argsort(place[kept], kind="stable")]
    short = "" if settings.top is None or len(kept) >= wanted else f": {len(kept):,} rows of {wanted:,} asked for"
    return best_first[in_turn], (
        f"the best of {len(np.unique(cluster)):,} k-means clusters of gradients in turn, at most {most:,} of each"
        f"{short}"
    )


def diversity_of_groups(candidates: Candidates, groups: dict[str, Indices], ranked: Indices, seed: int) -> pl.DataFrame:
    """Compute the Vendi score of each group beside random subsets of equal size of the rows that can be ranked."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, chosen in groups.items():
        if not len(chosen):
            continue
        values = candidates.sketches_of(np.concatenate([chosen, ranked]))
        pool = np.arange(len(chosen), len(values))
        own = spread_of_subsets(values, [np.arange(len(chosen))], sketched=True)
        drawn = spread_of_subsets(values, random_subsets([(pool, len(chosen))], _DRAWS, rng), sketched=True)
        rows.append((name, len(chosen), own.mean, drawn.mean, drawn.low, drawn.high))
    return pl.DataFrame(rows, schema=DIVERSITY, orient="row")


def refuse_missing_sketches(candidates: Candidates, settings: SelectSettings) -> None:
    """Raise `GradPrismError` where a way to choose needs sketches, and there are none."""
    if settings.needs_sketches and candidates.sketches is None:
        option = "--diverse" if settings.diverse else "--per-cluster"
        raise GradPrismError(
            f"{option} compares gradients, and data alone have none. Expected a run with sketches: "
            "gradprism spectra DATA --model MODEL --sketch 4096 --out RUN, then gradprism select RUN."
        )
