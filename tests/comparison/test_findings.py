"""What is said of a difference, case by case: the sentence must follow from the numbers, and from all of them."""

from typing import Any

import pytest
from tests.conftest import ROOT

from gradprism.comparison.findings import KINDS, by_importance, finding
from gradprism.metrics.titles import title

Numbers = tuple[float | None, float | None, float | None, float | None]


def row(
    raw: Numbers, weighted: Numbers, matched: Numbers = (None,) * 4, *, effective: float = 40.0, **others: Any
) -> dict[str, Any]:
    """A row of EFFECTS from effect, low, high and q of each: effects are logs of ratios."""
    values: dict[str, Any] = {
        "first": "high", "second": "low", "measure": "nuclear_norm", "projection": "mean", "layer": None,
        "n_first": 100, "n_second": 100, "regression_n": 200, "mean_first": 5.0, "mean_second": 4.0, "auc": 0.8,
        "regression_scale": "log", "raw_effect": raw[0], "raw_effect_low": raw[1], "raw_effect_high": raw[2],
        "q": raw[3], "weighted_n_first": effective, "weighted_n_second": 38.0, "weighted_imbalance": 0.01,
        "matched_pairs": 0 if matched[0] is None else 40, "partial_spearman": None, "spearman": None,
        "partial_low": None, "partial_high": None, "partial_q": None, "window_effect": None,
    }  # fmt: skip
    for name, given in (("weighted", weighted), ("matched", matched), ("regression", (None,) * 4)):
        values |= {f"{name}_effect": given[0], f"{name}_low": given[1], f"{name}_high": given[2], f"{name}_q": given[3]}
    return values | others


NO_VALUE: Numbers = (None, None, None, None)
RAW, SMALL, NO_RAW, WIDE_RAW = (
    (1.0, 0.8, 1.2, 0.001),
    (0.08, 0.02, 0.14, 0.01),
    (0.0, -0.05, 0.05, 0.6),
    (0.1, -0.3, 0.5, 0.6),
)
SAME, OPPOSITE, GONE, WIDE = (
    (0.7, 0.4, 1.0, 0.01),
    (-0.7, -1.0, -0.4, 0.01),
    (0.1, -0.2, 0.4, 0.5),
    (0.4, -0.5, 1.3, 0.4),
)
EQUAL, NEARLY_EQUAL, FOUND_SMALL = (0.0, -0.09, 0.09, 0.9), (0.0, -0.09, 0.10, 0.9), (0.06, 0.045, 0.08, 0.001)


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("survives", (RAW, SAME)),
        ("survives", (RAW, SAME, SAME)),
        ("survives", (RAW, SAME, GONE)),  # pairs that leave little are fewer rows, and contradict nothing
        ("survives", (SMALL, FOUND_SMALL)),
        ("length", (RAW, GONE)),
        ("survives", (RAW, (0.2, 0.1, 0.3, 0.001))),  # less than half of it, and still a difference
        ("length", (RAW, (0.06, 0.03, 0.09, 0.001))),  # a difference within the margin
        ("equal", (SMALL, EQUAL)),
        ("unclear", (SMALL, NEARLY_EQUAL)),
        ("unclear", (RAW, WIDE)),
        ("unclear", (RAW, NO_VALUE)),
        ("unclear", (RAW, WIDE, SAME)),  # pairs alone do not decide
        ("reversed", (RAW, OPPOSITE)),
        ("mixed", (RAW, SAME, OPPOSITE)),
        ("mixed", (WIDE_RAW, OPPOSITE, SAME)),
        ("hidden", (WIDE_RAW, SAME)),
        ("equal", (NO_RAW, EQUAL)),
        ("equal", (WIDE_RAW, EQUAL)),
        ("none", (NO_RAW, NEARLY_EQUAL)),
        ("none", (WIDE_RAW, WIDE)),
        ("none", (WIDE_RAW, NO_VALUE)),
        ("missing", (NO_VALUE, NO_VALUE)),
    ],
)
def test_the_kind_follows_from_raw_and_controls(kind: str, numbers: tuple) -> None:
    assert finding(row(*numbers)).kind == kind in KINDS


def test_every_kind_is_named_and_documented() -> None:
    documented = (ROOT / "docs" / "comparing.md").read_text(encoding="utf-8")
    for kind, words in KINDS.items():
        assert words.name
        assert f"\n| {kind} | {words.meaning}" in documented


def test_an_interval_without_zero_counts_only_with_its_q() -> None:
    assert finding(row(RAW, (0.7, 0.2, 0.8, 0.2))).kind == "unclear"
    assert finding(row((1.0, 0.8, 1.2, 0.2), WIDE)).kind == "none"


def test_little_is_left_only_where_the_whole_interval_is_within_half_of_the_raw_effect() -> None:
    assert finding(row(RAW, (0.2, -0.1, 0.51, 0.2))).kind == "unclear"
    assert finding(row(RAW, (0.2, -0.1, 0.49, 0.2))).kind == "length"


def test_without_common_support_nothing_is_found() -> None:
    assert finding(row(RAW, SAME, effective=4.9)).kind == "unclear"
    assert finding(row(RAW, SAME, weighted_imbalance=0.11)).kind == "unclear"
    assert finding(row(WIDE_RAW, EQUAL, effective=4.9)).kind == "none"
    assert finding(row(RAW, SAME, effective=0.4)).headline == (
        "gradients 2.72 times as large raw: cannot be told from length (the lengths hardly overlap)"
    )


def test_the_margin_decides_what_is_equal() -> None:
    assert finding(row(NO_RAW, EQUAL), margin=1.05).kind == "none"
    assert finding(row(SMALL, NEARLY_EQUAL), margin=1.2).kind == "equal"
    assert finding(row(NO_RAW, EQUAL, regression_scale="linear")).kind == "none"  # no ratio: no margin


def test_rows_without_a_logarithm_leave_no_verdict_where_they_are_many() -> None:
    many = finding(row(RAW, SAME, regression_n=160))
    assert (many.kind, many.headline) == ("missing", "40 of 200 rows have a value of 0, which is in no ratio")
    assert finding(row(RAW, SAME, regression_n=199)).kind == "survives"
    assert finding(row(RAW, SAME, regression_n=160, regression_scale="linear")).kind == "survives"


def test_groups_chosen_by_a_measure_differ_by_construction() -> None:
    chosen = finding(row(RAW, SAME, measure="effective_rank"), by="nuclear_norm:q@3")
    assert chosen.kind == "chosen"
    assert chosen.sentence == (
        "Effective rank: the groups are the extremes of nuclear_norm:q@3, so that they differ by construction."
    )
    assert finding(row(RAW, SAME), by="leading_share:v").kind == "chosen"  # of the same singular values
    assert finding(row(RAW, SAME), by="ifd").kind == "survives"
    metric = row(RAW, SAME, measure="influence:mine", projection=None)
    assert finding(metric, by="influence:mine").kind == "chosen"
    assert finding(metric, by="nuclear_norm:q").kind == "survives"  # other values


def test_too_few_rows_are_said_to_be_too_few() -> None:
    assert finding(row(WIDE_RAW, WIDE, n_first=2, n_second=2)).headline.endswith(
        "nor that there is none (too few rows)"
    )


@pytest.mark.parametrize(
    ("numbers", "headline"),
    [
        ((RAW, SAME), "gradients 2.72 times as large raw, 2.01 length-controlled: not just length"),
        (
            (SMALL, FOUND_SMALL),
            "gradients 1.08 times as large raw, 1.06 length-controlled: not just length, though equal within 10%",
        ),
        ((RAW, GONE), "gradients 2.72 times as large raw, 1.11 length-controlled: mostly length"),
        (
            (RAW, (0.2, 0.1, 0.3, 0.001)),
            "gradients 2.72 times as large raw, 1.22 length-controlled: mostly length, yet a difference stays",
        ),
        (
            (RAW, OPPOSITE),
            "gradients 2.72 times as large raw, 0.50 length-controlled: with length controlled the "
            "difference turns around",
        ),
        (
            (SMALL, EQUAL),
            "gradients 1.08 times as large raw, 1.00 length-controlled: equal within 10% once length is controlled",
        ),
        ((NO_RAW, EQUAL), "gradients 1.00 times as large raw, 1.00 length-controlled: equal within 10%"),
        (
            (RAW, WIDE),
            "gradients 2.72 times as large raw, 1.49 length-controlled: cannot be told from length (the interval "
            "[×0.61, ×3.67] is wide)",
        ),
        (
            (RAW, SAME, OPPOSITE),
            "gradients 2.72 times as large raw, 2.01 length-controlled: the controls contradict each other "
            "(matched pairs)",
        ),
    ],
)
def test_the_headline_has_both_factors_and_what_they_come_to(numbers: tuple, headline: str) -> None:
    found = finding(row(*numbers))
    assert found.headline == headline
    assert found.sentence == f"Nuclear norm: high against low: {headline} (means 5.00 and 4.00, AUC 0.80)."


def test_the_details_have_every_control_that_counts() -> None:
    assert finding(row(RAW, SAME, GONE)).details == (
        "raw ×2.72 [×2.23, ×3.32], p adjusted (BH) 0.0010; overlap weights, 40 and 38 effective rows ×2.01 "
        "[×1.49, ×2.72], p adjusted (BH) 0.010; 40 matched pairs ×1.11 [×0.82, ×1.49], p adjusted (BH) 0.50"
    )
    assert finding(row(RAW, SAME)).details.endswith("no rows could be matched in length")


def test_contrasts_that_are_decided_come_first() -> None:
    found = [
        finding(row(*numbers, first=first, measure=measure))
        for first, measure, numbers in (
            ("a", "nuclear_norm", (RAW, WIDE)), ("a", "effective_rank", (WIDE_RAW, WIDE)),
            ("b", "nuclear_norm", (WIDE_RAW, WIDE)), ("b", "effective_rank", (RAW, SAME)),
        )
    ]  # fmt: skip
    order = [(each.first, each.kind) for each in by_importance(found)]
    assert order == [("b", "none"), ("b", "survives"), ("a", "unclear"), ("a", "none")]


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        ("nuclear_norm", "nuclear norm"), ("effective_rank", "effective rank"), ("frobenius_norm", "Frobenius norm"),
        ("spectral_norm", "spectral norm"), ("stable_rank", "stable rank"), ("leading_share", "leading share"),
        ("nuclear_norm_over_loss", "nuclear norm over loss"), ("relative_nuclear_norm", "relative nuclear norm"),
        ("relative_effective_rank", "relative effective rank"), ("adjacent_cosine", "adjacent-layer cosine"),
    ],
)  # fmt: skip
def test_a_projection_stands_beside_its_measure_by_its_full_name(measure: str, words: str) -> None:
    assert [title(f"{measure}:{name}") for name in ("q", "kv_a", "mean")] == [f"{words} q_proj", f"{words} kv_a_proj",
                                                                             words]  # fmt: skip


def test_measures_in_words() -> None:
    assert title("frobenius_norm") == "Frobenius norm"
    assert title("adjacent_cosine") == "adjacent-layer cosine"
    assert title("effective_rank:mean") == "effective rank"
    assert title("gradient_l2:all") == "gradient L2 norm"
    assert title("same_layer_cosine:k-v") == "same-layer cosine k-v"
    assert title("column:my_score") == "my_score (column)"
