"""Nearest rows by cosine, and clusters of rows, by FAISS (Douze et al., "The Faiss library", arXiv 2401.08281, 2024).

FAISS is of the extra `gradprism[diversity]`. The same rows and seed give the same result.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from gradprism.core.optional import need
from gradprism.stats.vendi import BLOCK, unit_rows

EXACT = 10_000
"""Up to so many rows every two are compared in all coordinates."""
_DIM = 512  # coordinates that are searched first of more rows
_RANKED = 256  # rows whose candidates are held at a time, in fp32
_PROBED = 16  # of the cells that rows are searched in
_ITERATIONS = 20


@dataclass(frozen=True)
class Neighbours:
    """The k nearest other rows of each row, nearest first, and their cosines; -1 and NaN where there are fewer."""

    rows: Int[np.ndarray, "n k"]
    cosines: Float[np.ndarray, "n k"]


def nearest_neighbours(values: Float[np.ndarray, "n d"], k: int = 4, seed: int = 0) -> Neighbours:
    """Find the k other rows of the largest cosine with each row.

    Exact for up to 10,000 rows. Of more, k are searched in 16 of about 4 sqrt(n) cells of the first 512 coordinates,
    and their cosines are of all: benchmarks/diversity.py has the part of near-duplicates that is found.
    """
    n = len(values)
    k = min(k, n - 1)
    if k < 1:
        return Neighbours(np.empty((n, 0), dtype=np.int64), np.empty((n, 0)))
    index, searched = _index(values, seed)
    found = np.concatenate([index.search(unit, k + 1)[1] for unit in unit_rows(values, dim=searched)])
    norms = np.concatenate([np.linalg.norm(np.asarray(values[at : at + BLOCK], dtype=np.float32), axis=1)
                            for at in range(0, n, BLOCK)])  # fmt: skip
    pairs = [_nearest(values, norms, at, found[at : at + _RANKED], k) for at in range(0, n, _RANKED)]
    return Neighbours(*(np.concatenate(each) for each in zip(*pairs, strict=True)))


def _index(values: np.ndarray, seed: int) -> tuple[Any, int]:
    """Build an index of all rows: return it, and its coordinates."""
    faiss = need("faiss", "diversity")
    n, d = values.shape
    dim = d if n <= EXACT else min(_DIM, d)
    index = faiss.IndexFlatIP(dim)
    if n > EXACT:
        index = faiss.IndexIVFFlat(index, dim, int(4 * np.sqrt(n)), faiss.METRIC_INNER_PRODUCT)
        index.cp.seed, index.cp.min_points_per_centroid, index.nprobe = seed, 1, _PROBED
        sample = np.sort(np.random.default_rng(seed).choice(n, min(n, 40 * index.nlist), replace=False))
        index.train(np.concatenate([*unit_rows(values, sample, dim)]))
    for unit in unit_rows(values, dim=dim):
        index.add(unit)
    return index, dim


def _nearest(
    values: np.ndarray, norms: np.ndarray, start: int, found: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Rank the candidates of a block of rows by the cosine in all coordinates, without the row itself."""
    different, place = np.unique(found[found >= 0], return_inverse=True)
    where = np.full(found.shape, -1)
    where[found >= 0] = place
    rows, cosines = np.full((len(found), k), -1), np.full((len(found), k), np.nan)
    others = values[different].astype(np.float32)
    for i, own in enumerate(values[start : start + len(found)].astype(np.float32)):
        candidates = where[i][(found[i] >= 0) & (found[i] != start + i)]
        row = different[candidates]
        cosine = others[candidates] @ own / (norms[row] * norms[start + i])  # (candidates, d) @ (d,)
        best = np.lexsort((row, -cosine))[:k]
        rows[i, : len(best)], cosines[i, : len(best)] = row[best], cosine[best]
    return rows, np.clip(cosines, -1, 1)


def near_duplicate_pairs(found: Neighbours, threshold: float) -> tuple[Int[np.ndarray, "pairs 2"], np.ndarray]:
    """Return every pair among neighbours whose cosine is at least the threshold, each once, closest first."""
    near = found.cosines >= threshold  # False for NaN
    first = np.nonzero(near)[0]
    pairs = np.sort(np.column_stack([first, found.rows[near]]), axis=1)
    pairs, places = np.unique(pairs, axis=0, return_index=True)
    cosines = found.cosines[near][places]
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -cosines))
    return pairs[order], cosines[order]


def clusters_of(values: Float[np.ndarray, "n d"], k: int, seed: int = 0) -> Int[np.ndarray, " n"]:
    """Return the cluster of each row, 0 to k - 1: k-means of unit rows with centres of norm 1, by cosine.

    In the first 512 coordinates. Some clusters may be empty.
    """
    faiss = need("faiss", "diversity")
    dim = min(_DIM, values.shape[1])
    unit = np.concatenate([*unit_rows(values, dim=dim)])
    means = faiss.Kmeans(
        dim, min(k, len(unit)), niter=_ITERATIONS, seed=seed, spherical=True, min_points_per_centroid=1
    )
    means.train(unit)
    return np.asarray(means.index.search(unit, 1)[1][:, 0])
