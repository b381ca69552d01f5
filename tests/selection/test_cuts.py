"""What is shared out among strata."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gradprism.selection.cuts import apportion

sizes = st.lists(st.integers(0, 30), min_size=1, max_size=6)


@settings(deadline=None)
@given(sizes, st.integers(0, 120), st.booleans())
def test_shares_add_up_and_fit(sizes: list[int], total: int, equal: bool) -> None:
    given_ = apportion(total, sizes, equal)
    assert sum(given_) == min(total, sum(sizes))
    assert all(0 <= share <= size for share, size in zip(given_, sizes, strict=True))
    if equal:  # who gets less than another by two or more gives all there is
        assert all(share == size or share >= max(given_) - 1 for share, size in zip(given_, sizes, strict=True))
    elif 0 < total <= sum(sizes):
        ideal = [total * size / sum(sizes) for size in sizes]
        assert all(abs(share - quota) < 1 for share, quota in zip(given_, ideal, strict=True))
