"""What is said of a difference, case by case: the sentence must follow from the numbers, and from all of them."""

from typing import Any

import pytest
from tests.conftest import ROOT

from gradprism.comparison.findings import KINDS, finding
from gradprism.metrics.titles import title


def row(raw: tuple, matched: tuple, regression: tuple, partial: tuple, pairs: int = 40) -> dict[str, Any]:
    """Each of effect, low, high, q; the raw effects are 1 on every scale, or what `raw` says."""
    values: dict[str, Any] = {
        "first": "high", "second": "low", "measure": "effective_rank", "projection": "mean", "layer": None,
        "n_first": 100, "n_second": 100, "mean_first": 5.0, "mean_second": 4.0, "auc": 0.8, "matched_pairs": pairs,
        "regression_scale": "log", "raw_effect": raw[0], "spearman": raw[0], "matched_effect": matched[0],
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
        ("partly", (RAW, NO_VALUE, SAME, SAME)),
        ("partly", (RAW, WIDE, SAME, SAME)),
        ("length", (RAW, GONE, GONE, GONE)),
        ("unclear", (RAW, NO_VALUE, GONE, GONE)),
        ("unclear", (RAW, GONE, GONE, WIDE)),
        ("unclear", (RAW, WIDE, WIDE, WIDE)),
        ("unclear", (RAW, NO_VALUE, NO_VALUE, NO_VALUE)),
        ("reversed", (RAW, OPPOSITE, OPPOSITE, OPPOSITE)),
        ("reversed", (RAW, OPPOSITE, WIDE, WIDE)),
        ("mixed", (RAW, OPPOSITE, GONE, GONE)),
        ("mixed", (RAW, GONE, SAME, SAME)),
        ("mixed", (RAW, SAME, OPPOSITE, SAME)),
        ("hidden", (NO_RAW, SAME, SAME, SAME)),
        ("mixed", (NO_RAW, SAME, GONE, SAME)),
        ("none", (NO_RAW, GONE, WIDE, GONE)),
        ("missing", (NO_VALUE, NO_VALUE, NO_VALUE, NO_VALUE)),
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
    half = (0.7, 0.2, 0.8, 0.2)
    assert finding(row(RAW, half, half, half)).kind == "unclear"
    assert finding(row((1.0, 0.8, 1.2, 0.2), GONE, GONE, GONE)).kind == "none"


def test_little_is_left_only_where_the_whole_interval_is_within_half_of_the_raw_figure() -> None:
    wide, narrow = (0.2, -0.1, 0.51, 0.2), (0.2, -0.1, 0.49, 0.2)
    assert finding(row(RAW, wide, wide, wide)).kind == "unclear"
    assert finding(row(RAW, narrow, narrow, narrow)).kind == "length"


def test_where_groups_hardly_overlap_models_of_length_are_no_evidence_for_or_against() -> None:
    assert finding(row(RAW, WIDE, SAME, SAME, pairs=24)).kind == "unclear"
    assert finding(row(RAW, WIDE, SAME, SAME, pairs=25)).kind == "partly"
    assert finding(row(RAW, SAME, GONE, GONE, pairs=24)).kind == "partly"  # the pairs themselves still count
    assert finding(row(RAW, GONE, GONE, GONE, pairs=24)).kind == "unclear"
    assert "cannot say (no common support)" in finding(row(RAW, WIDE, SAME, SAME, pairs=24)).sentence


def test_groups_chosen_by_a_measure_differ_by_construction() -> None:
    chosen = finding(row(RAW, SAME, SAME, SAME), by="nuclear_norm:q@3")
    assert chosen.kind == "chosen"
    assert chosen.sentence == (
        "Effective rank: the groups are the extremes of nuclear_norm:q@3, so that they differ by construction."
    )
    assert finding(row(RAW, SAME, SAME, SAME), by="leading_share:v").kind == "chosen"  # of the same singular values
    assert finding(row(RAW, SAME, SAME, SAME), by="ifd").kind == "survives"


def test_too_few_rows_are_said_to_be_too_few() -> None:
    few = row(NO_RAW, GONE, GONE, GONE) | {"n_first": 2, "n_second": 2}
    assert finding(few).sentence == (
        "Effective rank: no difference between high and low can be shown (5.00 against 4.00, AUC 0.80), with too few "
        "rows to show one, nor with length controlled."
    )


def test_the_sentence_says_which_control_finds_what() -> None:
    said = finding(row(RAW, GONE, SAME, SAME))
    assert said.sentence == (
        "Effective rank: high is higher than low (5.00 against 4.00, AUC 0.80), and raw and controlled disagree: with "
        "length controlled, matched pairs leave little of it, regression and partial rank correlation find it again."
    )
    assert said.details == (
        "40 matched pairs ×1.00 [×0.819, ×1.22], p adjusted (BH) 0.90 (raw ×2.72); regression ×1.65 [×1.22, ×2.23], "
        "p adjusted (BH) 0.010 (raw ×2.72); partial Spearman 0.500 [0.200, 0.800], p adjusted (BH) 0.010 (raw 1.00)"
    )
    gone = finding(row(RAW, GONE, GONE, GONE)).sentence
    assert (
        "but length accounts for most of it: with length controlled, matched pairs, regression and partial rank" in gone
    )
    alone = finding(row(RAW, NO_VALUE, SAME, GONE, pairs=30)).sentence
    assert "no pairs match, regression finds it again, partial rank correlation leaves little of it" in alone
    assert finding(row(RAW, NO_VALUE, SAME, SAME, pairs=0)).details.endswith("no rows could be matched in length")


def test_measures_in_words() -> None:
    assert title("frobenius_norm") == "Frobenius norm"
    assert title("adjacent_cosine") == "adjacent-layer cosine"
    assert title("effective_rank:q") == "effective rank q"
    assert title("effective_rank:mean") == "effective rank"
    assert title("column:my_score") == "my_score (column)"
