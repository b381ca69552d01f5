"""Near-duplicates against an exhaustive search over sets of words."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradprism.selection.near_duplicates import near_duplicates

words = st.lists(st.sampled_from("abcdef"), max_size=14).map(" ".join)


def shingles(text: str) -> set[tuple[str, ...]]:
    tokens = re.findall(r"\w+", text.lower())
    n = min(5, len(tokens))
    return {tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)} if n else set()


@settings(deadline=None)
@given(st.lists(words, min_size=1, max_size=12), st.sampled_from([0.2, 0.5, 0.8, 1.0]))
def test_near_duplicates_are_those_of_an_exhaustive_search(texts: list[str], threshold: float) -> None:
    def similarity(i: int, j: int) -> float:
        one, other = shingles(texts[i]), shingles(texts[j])
        return len(one & other) / len(one | other) if one | other else 0.0

    kept: list[int] = []
    for i in range(len(texts)):
        if all(similarity(i, j) < threshold for j in kept):
            kept.append(i)
    dropped = near_duplicates(enumerate(texts), range(len(texts)), threshold)
    assert set(range(len(texts))) - set(dropped) == set(kept)
    for row, (other, found) in dropped.items():
        assert other in kept
        assert found == pytest.approx(similarity(row, other))


@pytest.mark.parametrize(
    ("one", "other"),
    [("Hello, World!", "hello world"), ("これは文です。長い文。", "これは文です。長い文"), ("a\ud800 b", "A\ud800 B")],
)
def test_case_and_punctuation_do_not_count(one: str, other: str) -> None:
    assert near_duplicates([(1, one), (2, other), (3, ""), (4, "...")], [1, 2, 3, 4], 1.0) == {2: (1, 1.0)}
