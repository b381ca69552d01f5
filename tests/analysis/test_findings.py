"""What is said of a difference, case by case: the sentence must follow from the numbers, and from all of them."""

from typing import Any

import pytest

from gradprism.analysis.findings import finding, title


def row(raw: tuple, matched: tuple, regression: tuple, partial: tuple, pairs: int = 40) -> dict[str, Any]:
    """Each of effect, low, high, q; the raw effects are 1 on every scale, or what `raw` says."""
    values: dict[str, Any] = {
        "first": "high", "second": "low", "measure": "effective_rank", "projection": "mean", "layer": None,
        "n_first": 100, "n_second": 100, "mean_first": 5.0, "mean_second": 4.0, "auc": 0.8, "matched_pairs": pairs,
        "regression_scale": "log", "raw_effect": raw[0], "spearman": raw[0], "matched_difference": matched[0],
        "regression_effect": regression[0], "partial_spearman": partial[0], "difference": raw[0],
    }  # fmt: skip
    for name, given in (("difference", raw), ("matched", matched), ("regression", regression), ("partial", partial)):
        values |= {f"{name}_low": given[1], f"{name}_high": given[2]}
        values["q" if name == "difference" else f"{name}_q"] = given[3]
    return values


RAW, NO_RAW, NO_VALUE = (1.0, 0.8, 1.2, 0.001), (0.1, -0.3, 0.5, 0.6), (None, None, None, None)
SAME, OPPOSITE, GONE, WIDE = (
    (0.5, 0.2, 0.8, 0.01),
    (-0.5, -0.8, -0.2, 0.01),
    (0.0, -0.2, 0.2, 0.9),
    (0.4, -0.5, 1.3, 0.4),
)


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("survives", (RAW, SAME, SAME, SAME)),
        ("survives", (RAW, NO_VALUE, SAME, SAME)),
        ("partly", (RAW, WIDE, SAME, SAME)),
        ("length", (RAW, GONE, GONE, GONE)),
        ("unclear", (RAW, GONE, GONE, WIDE)),
        ("unclear", (RAW, WIDE, WIDE, WIDE)),
        ("unclear", (RAW, NO_VALUE, NO_VALUE, NO_VALUE)),
        ("reversed", (RAW, OPPOSITE, OPPOSITE, OPPOSITE)),
        ("reversed", (RAW, OPPOSITE, GONE, WIDE)),
        ("mixed", (RAW, GONE, SAME, SAME)),
        ("mixed", (RAW, SAME, OPPOSITE, SAME)),
        ("hidden", (NO_RAW, SAME, SAME, SAME)),
        ("mixed", (NO_RAW, SAME, GONE, SAME)),
        ("none", (NO_RAW, GONE, WIDE, GONE)),
        ("missing", (NO_VALUE, NO_VALUE, NO_VALUE, NO_VALUE)),
    ],
)
def test_the_kind_follows_from_raw_and_controls(kind: str, numbers: tuple) -> None:
    assert finding(row(*numbers)).kind == kind


def test_an_interval_without_zero_counts_only_with_its_q() -> None:
    half = (0.5, 0.2, 0.8, 0.2)
    assert finding(row(RAW, half, half, half)).kind == "unclear"
    assert finding(row((1.0, 0.8, 1.2, 0.2), GONE, GONE, GONE)).kind == "none"


def test_where_groups_hardly_overlap_models_of_length_are_no_evidence() -> None:
    assert finding(row(RAW, WIDE, SAME, SAME, pairs=24)).kind == "unclear"
    assert finding(row(RAW, WIDE, SAME, SAME, pairs=25)).kind == "partly"
    assert finding(row(RAW, SAME, SAME, SAME, pairs=24)).kind == "partly"  # the pairs themselves still count


def test_the_sentence_says_which_control_finds_what() -> None:
    said = finding(row(RAW, GONE, SAME, SAME))
    assert said.sentence == (
        "Effective rank: high is higher than low (5.00 against 4.00, AUC 0.80), and raw and controlled disagree: at "
        "equal length matched pairs find nothing left, regression and partial rank correlation find it again."
    )
    assert said.details == (
        "40 matched pairs 0.00 [-0.200, 0.200] (raw 1.00); regression, ratio 1.65 [1.22, 2.23] (raw 2.72); "
        "partial Spearman 0.500 [0.200, 0.800] (raw 1.00)"
    )
    gone = finding(row(RAW, GONE, GONE, GONE)).sentence
    assert "but that is length" in gone
    assert "matched pairs, regression and partial rank correlation find nothing left." in gone
    alone = finding(row(RAW, NO_VALUE, SAME, GONE)).sentence
    assert "regression finds it again, partial rank correlation finds nothing left" in alone
    assert finding(row(RAW, NO_VALUE, SAME, SAME, pairs=0)).details.endswith("no rows could be matched in length")


def test_measures_in_words() -> None:
    assert title("frobenius_norm") == "Frobenius norm"
    assert title("adjacent_cosine") == "adjacent-layer cosine"
    assert title("column:my_score") == "column:my_score"
