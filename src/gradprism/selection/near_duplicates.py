"""Near-duplicate rows, by the exact Jaccard similarity of their five-word sequences.

Prefix filtering (Chaudhuri et al., "A primitive operator for similarity joins", ICDE 2006; Bayardo et al., "Scaling
up all pairs similarity search", WWW 2007) finds every pair at or above the threshold without comparing all; unlike
MinHash it misses none and estimates none. Holds 8 bytes for each word of the texts.
"""

import math
import re
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np

Shingles = dict[int, np.ndarray]  # row -> its five-word sequences, each once, rarest first

WORDS = 5
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff"  # Japanese and Chinese: each character counts as a word
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplication loses nothing


def near_duplicates(
    texts: Iterable[tuple[int, str]],
    best_first: Sequence[int],
    threshold: float,
    references: Container[int] | None = None,
) -> dict[int, tuple[int, float]]:
    """Find rows to drop: row -> (the row that is kept instead, their similarity).

    Rows are gone through from best to worst; one is dropped if its similarity to a kept one (of `references` where they
    are given) is at least the threshold. Case and punctuation do not count; a text of fewer than five words is compared
    as a whole, one without any word is never a duplicate.
    """
    shingles = _rarest_first({row: _shingles(text) for row, text in texts})
    having: dict[int, list[int]] = defaultdict(list)  # shingle -> kept rows that have it in their prefix
    dropped = {}
    for row in best_first:
        own = shingles[row]
        # of two sets in one order that are this similar, the first so many of each share at least one element
        prefix = own[: len(own) - math.ceil(threshold * len(own) - 1e-9) + 1].tolist()
        near = dict.fromkeys(other for shingle in prefix for other in having.get(shingle, ()))
        similar = ((other, _similarity(own, shingles[other], threshold)) for other in near)
        twin = next(((other, found) for other, found in similar if found >= threshold - 1e-12), None)
        if twin:
            dropped[row] = twin
            continue
        for shingle in prefix if references is None or row in references else ():
            having[shingle].append(row)
    return dropped


def _similarity(one: np.ndarray, other: np.ndarray, threshold: float) -> float:
    """Compute the Jaccard index; 0 where the sizes alone keep it below the threshold."""
    if min(len(one), len(other)) < threshold * max(len(one), len(other)) - 1e-9:
        return 0.0
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)


def _shingles(text: str) -> np.ndarray:
    """Hash the five-word sequences of a text, each once."""
    words = np.array([_word_hash(word) for word in _WORD.findall(text.casefold())], dtype=np.uint64)
    n = min(WORDS, len(words))
    hashes = np.zeros(max(len(words) - n + 1, 0) if n else 0, dtype=np.uint64)
    for offset in range(n):  # a polynomial in the words' hashes, modulo 2^64
        hashes = hashes * _BASE + words[offset : offset + len(hashes)]
    return np.unique(hashes)


@lru_cache(maxsize=1 << 18)
def _word_hash(word: str) -> int:
    return int.from_bytes(blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def _rarest_first(shingles: Shingles) -> Shingles:
    """Replace shingles by ranks of rarity, so that prefixes hold those that few other rows share."""
    if not shingles:
        return {}
    lengths = [len(own) for own in shingles.values()]
    _, which, counts = np.unique(np.concatenate([*shingles.values()]), return_inverse=True, return_counts=True)
    number = np.empty(len(counts), dtype=np.int64)
    number[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    pieces = np.split(number[which], np.cumsum(lengths)[:-1])
    return {row: np.sort(piece) for row, piece in zip(shingles, pieces, strict=True)}
