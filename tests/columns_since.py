"""Columns of effects that mean something else since overlap weights decide; tables of before differ in them."""

OTHER_SINCE = {
    "p", "q",  # of logs since then where effects are ratios
    *(f"matched_{name}" for name in ("pairs", "difference", "difference_low", "difference_high")),  # nearest pairs
    *(f"matched_{name}" for name in ("effect", "low", "high", "p", "q")),  # adjusted for what is left of the gap
    "overlap", "held_extrapolates",  # of a study, by matched pairs: since then by what overlap weights leave
}  # fmt: skip
