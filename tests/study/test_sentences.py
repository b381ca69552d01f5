"""What a study found, in words."""

import polars as pl

from gradprism.core.settings import checked
from gradprism.study.claims import Count, Verdict
from gradprism.study.result import CONTROLLED, JudgedClaim, StudyResult
from gradprism.study.sentences import predictor_sentence, verdict_sentence
from gradprism.study.settings import Claim, StudyRecipe

RECIPE = checked(
    StudyRecipe,
    {
        "title": "t", "out": "o", "models": {"a": {"model": "a"}, "b": {"model": "b"}},
        "texts": {"whole": {}, "cut": {"prompt_tokens": 8, "response_tokens": 8},
                  "short": {"prompt_tokens": 8, "response_tokens": 1}},
        "sets": {"high": {"data": "a.json"}, "low": {"data": "b.json"}},
        "contrasts": {"c": {"first": "high", "second": "low"}},
        "claims": {"higher": {"says": "First is higher", "measure": "effective_rank", "expect": "higher"}},
    },
)  # fmt: skip
OUTCOME = StudyResult(RECIPE, {}, (), (), {})


def judged(
    raw: Count, held: Count, cut: dict[str, Count], deciding: set[str], verdict: Verdict, table: pl.DataFrame
) -> JudgedClaim:
    return JudgedClaim("higher", RECIPE.claims["higher"], table, raw, held, cut, frozenset(deciding), verdict)


def effects(*rows: tuple[str, str, float, float, float]) -> pl.DataFrame:
    """Of ratios, by model and text, with what `averages` reads; no weights, no pairs."""
    nothing = {f"{name}_{end}": None for name in ("weighted", "matched") for end in ("effect", "low", "high")}
    return pl.DataFrame(
        [{"model": model, "text": text, "projection": "mean", "regression_scale": "log", "support": False,
          "raw_effect": value, "raw_effect_low": low, "raw_effect_high": high, **nothing}
         for model, text, value, low, high in rows]
    )  # fmt: skip


def test_a_verdict_is_said_with_what_it_rests_on() -> None:
    table = effects(("a", "whole", 0.0, -0.1, 0.1), ("b", "whole", 0.693147, 0.6, 0.8), ("a", "cut", 0.0, -0.01, 0.01))
    found = judged(Count(shown=3, opposite=1), Count(undecided=4), {"cut": Count(shown=2, opposite=1, length=1)},
                   {"cut"}, "holds", table)  # fmt: skip
    assert verdict_sentence(found, OUTCOME) == (
        "**First is higher**: this *holds*. Raw: 3 of 4 comparisons show it, 1 shows the opposite "
        "(×1.00 [0.905, 1.11]; ×2.00 [1.81, 2.21]); in `cut` 2 of 4 show it, 1 shows the opposite, 1 is length alone "
        "(×1.00 [0.990, 1.01])."
    )


def test_where_no_control_decides_each_is_shown_and_why() -> None:
    found = judged(
        Count(shown=2), Count(length=2, opposite=2), {"short": Count(length=2)}, set(),
        "is not decided with length controlled", effects(("a", "whole", 0.0, -0.1, 0.1)),
    )  # fmt: skip
    said = verdict_sentence(found, OUTCOME)
    assert "no length control decides: by overlap weights 0 of 4 show it, 2 show the opposite, 2 are length" in said
    assert said.endswith("in `short` 0 of 2 show it, 2 are length alone, where too few tokens are left to decide.")


def test_weights_and_pairs_stand_together_for_a_model() -> None:
    controlled = {
        f"{name}_{end}": pl.lit(value + step)
        for name, value in (("weighted", 0.2), ("matched", 0.1))
        for end, step in (("effect", 0.0), ("low", -0.1), ("high", 0.1))
    }
    table = effects(("a", "whole", 0.0, -0.1, 0.1), ("b", "whole", 0.0, -0.1, 0.1)).with_columns(
        support=pl.col("model") == "a", **controlled
    )
    found = judged(Count(shown=2), Count(shown=2), {}, {CONTROLLED}, "holds", table)
    assert verdict_sentence(found, OUTCOME).endswith(
        "; by overlap weights 2 of 2 show it (weights ×1.22 [1.11, 1.35], pairs ×1.11 [1.00, 1.22])."
    )


def test_differences_are_no_factors() -> None:
    table = effects(("a", "whole", 0.02, 0.01, 0.03)).with_columns(regression_scale=pl.lit("linear"))
    found = judged(Count(shown=1), Count(), {}, set(), "is not decided with length controlled", table)
    assert "1 of 1 comparisons show it (0.0200 [0.0100, 0.0300])" in verdict_sentence(found, OUTCOME)


def test_each_claim_names_its_own_length_control() -> None:
    expected = {
        "separation": "; no length control decides: with lengths regressed out 0 of 2 show it, 2 are undecided.",
        "mad:effective_rank": "; there is no length control.",
        "effective_rank": "; no length control decides: by overlap weights 0 of 2 show it, 2 are undecided.",
    }
    for measure, end in expected.items():
        claim = {"says": "s", "measure": measure, "expect": None if measure == "separation" else "lower"}
        found = JudgedClaim("c", checked(Claim, claim), pl.DataFrame(), Count(shown=2), Count(undecided=2), {},
                            frozenset(), "is not decided with length controlled")  # fmt: skip
        assert verdict_sentence(found, OUTCOME).endswith(end)


def test_what_was_not_tested_is_said_in_five_words() -> None:
    found = judged(Count(), Count(), {}, set(), "was not tested", pl.DataFrame())
    assert verdict_sentence(found, OUTCOME) == "**First is higher**: this *was not tested*."


def test_which_measure_is_best_is_counted() -> None:
    rows = [
        ("a", "c", "effective_rank", "q", -0.30, -0.5, -0.1, 0.01), ("a", "c", "nuclear_norm", "o", 0.2, 0, 0.3, 0.01),
        ("b", "c", "effective_rank", "mean", 0.1, 0, 0.2, 0.2), ("b", "c", "stable_rank", "k", None, None, None, None),
        ("a", "d", "nuclear_norm", "o", -0.25, -0.4, -0.1, 0.04), ("a", "d", "effective_rank", "o", 0.05, 0, 0.1, 0.9),
    ]  # fmt: skip
    columns = ["model", "contrast", "measure", "projection", "partial", "partial_low", "partial_high", "partial_q"]
    table = pl.DataFrame(rows, schema=columns, orient="row").with_columns(text=pl.lit("cut"))
    assert predictor_sentence(table, "cut") == (
        "In `cut`, what predicts a metric best given the lengths is effective rank in 2, nuclear norm in 1 of 3 "
        "contrasts and models, of some projection or of all together; in 2 with adjusted p (BH) below 0.05. The "
        "strongest is effective rank q_proj in c (a), ρ -0.300 [-0.500, -0.100]. The best of many measures is too "
        "large by chance."
    )
    assert predictor_sentence(table, "whole") == ""
