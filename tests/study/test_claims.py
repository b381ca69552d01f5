"""Verdicts on claims: of groups with known truths, and case by case."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.made_groups import given_run

import gradprism
from gradprism.core.settings import checked
from gradprism.study.claims import Compared, Count, claim_table, count, pooled_ratio, verdict, with_cuts_decided
from gradprism.study.result import JudgedClaim
from gradprism.study.settings import StudyRecipe

HIGHER = {"says": "first is higher", "measure": "effective_rank", "expect": "higher"}
FLATTER = {"says": "first is flatter", "measure": "mad:effective_rank", "expect": "lower"}


def recipe_of(contrasts: int, **claims: object) -> StudyRecipe:
    values = {
        "title": "t", "out": "o", "models": {"m": {"model": "m"}},
        "texts": {"whole": {}, "cut": {"prompt_tokens": 8, "response_tokens": 8}},
        "sets": {"high": {"data": "a.json"}, "low": {"data": "b.json"}},
        "contrasts": {f"c{i}": {"first": "high", "second": "low"} for i in range(contrasts)}, "claims": claims,
    }  # fmt: skip
    return checked(StudyRecipe, values)


def compared(
    folder: Path, place: int, gain: float, by_length: bool, text: str = "whole", longer: float = 0.4
) -> Compared:
    """Measures follow length (or not), the first set longer, and `gain` of them goes beyond it."""
    random, runs = np.random.default_rng(place), {}
    for name, centre, factor in (("high", 4.6 + longer, gain), ("low", 4.6, 1.0)):
        tokens = np.exp(random.normal(centre, 0.4, 120)).astype(int) + 2
        along = tokens[:, None, None] ** 0.5 if by_length else 10.0
        noise = random.lognormal(0, 0.15, (120, 2, 3))
        lengths = tokens if text == "whole" else np.full(120, 8)
        runs[name] = given_run(folder / f"{place}-{text}-{name}", factor * along * noise, lengths)
    return Compared("m", text, f"c{place}", gradprism.compare(**runs, resamples=299))


def judged(recipe: StudyRecipe, all_compared: list[Compared]) -> JudgedClaim:
    from gradprism.study.result import judge

    ((name, claim),) = recipe.claims.items()
    return judge(name, claim, recipe, claim_table(claim, recipe, all_compared))


@pytest.mark.slow  # eight comparisons
@pytest.mark.parametrize(
    ("gain", "by_length", "expected"),
    [(1.3, False, "holds"), (1.0, True, "is explained by length"), (1.0, False, "is not shown"), (0.6, False, "fails")],
)
def test_the_verdict_on_a_known_truth(tmp_path: Path, gain: float, by_length: bool, expected: str) -> None:
    found = [compared(tmp_path, place, gain, by_length) for place in range(2)]
    found += [compared(tmp_path, place, gain, False, "cut") for place in range(2)]
    result = judged(recipe_of(2, claim=HIGHER), found)
    assert result.verdict == expected
    assert result.raw.all == 2
    assert {name: each.all for name, each in result.counts.items()} == {"raw": 2, "held": 2, "cut": 2}


@pytest.mark.slow
def test_what_turns_around_at_equal_length_is_said_so(tmp_path: Path) -> None:
    """Longer responses raise the measure, and at equal length the first set lies below the second."""
    found = [compared(tmp_path, place, 0.85, True, longer=0.7) for place in range(2)]
    found += [compared(tmp_path, place, 0.85, False, "cut") for place in range(2)]
    assert judged(recipe_of(2, claim=HIGHER), found[:2]).raw.shown == 2
    assert judged(recipe_of(2, claim=HIGHER), found).verdict == "turns around with length controlled"
    lower = HIGHER | {"expect": "lower"}
    assert judged(recipe_of(2, claim=lower), found).verdict == "turns around with length controlled"
    assert judged(recipe_of(2, claim=HIGHER), found[2:]).verdict == "was not tested"


def test_a_claim_that_length_speaks_against_fails_by_length(tmp_path: Path) -> None:
    found = [compared(tmp_path, place, 1.0, True) for place in range(2)]
    assert judged(recipe_of(2, claim=HIGHER | {"expect": "lower"}), found).verdict == "fails, by length"


@pytest.mark.slow
def test_what_could_not_be_compared_at_equal_length_does_not_decide(tmp_path: Path) -> None:
    """Of three comparisons that show the claim, one can be made in the window: it has no say for all."""
    found = [compared(tmp_path, place, 1.3, False) for place in range(3)]
    found.append(compared(tmp_path, 0, 0.7, False, "cut"))
    result = judged(recipe_of(3, claim=HIGHER), found)
    assert (result.cut["cut"].opposite, result.cut["cut"].undecided) == (1, 2)
    assert result.verdict == "holds"


@pytest.mark.slow
def test_a_window_of_too_few_tokens_decides_nothing(tmp_path: Path) -> None:
    found = [compared(tmp_path, place, 1.3, False) for place in range(2)]
    found += [compared(tmp_path, place, 0.7, False, "cut") for place in range(2)]
    recipe = recipe_of(2, claim=HIGHER)
    assert judged(recipe, found).verdict == "depends on the length control"
    for fewer in ({"response_tokens": 3}, {"prompt_tokens": None}):
        cut = recipe.texts["cut"].model_copy(update=fewer)
        short = recipe.model_copy(update={"texts": recipe.texts | {"cut": cut}})
        result = judged(short, found)
        assert (result.verdict, result.cut["cut"].opposite) == ("holds", 2)


def test_what_a_cut_text_does_not_show_is_length_only_if_little_can_be_left() -> None:
    table = pl.DataFrame(
        {"model": "m", "contrast": ["a", "b", "c", "d", "a", "b", "c", "d"], "text": ["whole"] * 4 + ["cut"] * 4,
         "raw": ["shown"] * 4 + ["not shown", "not shown", "shown", "not shown"],
         "raw_effect": [1.0, 1.0, 1.0, None, 0.1, 0.1, 0.6, 0.0], "raw_effect_low": [0.8] * 4 + [-0.3, -0.4, 0.2, -0.1],
         "raw_effect_high": [1.2] * 4 + [0.5, 0.6, 1.0, 0.1]}
    )  # fmt: skip
    found = with_cuts_decided(table, "whole", ["cut"])
    assert found["raw"].to_list() == ["shown"] * 4 + ["length", "undecided", "shown", "undecided"]
    bare = with_cuts_decided(table.drop("raw_effect"), "whole", ["cut"])
    assert bare["raw"].to_list() == ["shown"] * 4 + ["undecided", "undecided", "shown", "undecided"]


def test_a_claim_takes_the_contrasts_it_names(tmp_path: Path) -> None:
    found = [compared(tmp_path, place, 1.3, False) for place in range(2)]
    recipe = recipe_of(2, claim=HIGHER | {"contrasts": ["c1"]})
    table = claim_table(recipe.claims["claim"], recipe, found)
    assert {*table["contrast"]} == {"c1"}
    assert table["projection"].to_list() == ["q", "k", "mean"]
    assert {*table["raw"]} == {"shown"}


def test_support_is_that_of_the_overlap_weights(tmp_path: Path) -> None:
    for place, (longer, expected) in enumerate(((0.0, True), (5.0, False))):
        recipe, each = recipe_of(2, claim=HIGHER), compared(tmp_path, place, 1.3, False, longer=longer)
        table = claim_table(recipe.claims["claim"], recipe, [each])
        assert table["support"].to_list() == [expected] * 3
        assert {*table["held"]} == {"shown" if expected else "undecided"}


RAW = {"raw_effect": 0.2, "raw_effect_low": 0.1, "raw_effect_high": 0.3, "q": 0.001}
WIDE = {"weighted_effect": 0.05, "weighted_low": -0.1, "weighted_high": 0.15, "weighted_q": 0.5}
NO_SUPPORT = {"weighted_n_first": 2.0}
WINDOWS = {"window_tokens": 8, "window_n_first": 90, "window_n_second": 90, "window_effect": 0.2, "window_low": 0.1,
           "window_high": 0.3, "window_q": 0.001}  # fmt: skip


@pytest.mark.parametrize(
    ("effects", "margin", "held"),
    [
        (RAW | WIDE, 1.1, "undecided"),
        (RAW | WIDE, 1.2, "length"),  # exp(0.15) is 1.16
        (RAW | WIDE | NO_SUPPORT, 1.2, "undecided"),
        (RAW | WIDE | NO_SUPPORT | WINDOWS, 1.1, "shown"),
        (RAW | {"weighted_effect": -0.2, "weighted_low": -0.3, "weighted_high": -0.1, "weighted_q": 0.01}, 1.1,
         "opposite"),
    ],
)  # fmt: skip
def test_what_is_held_is_what_a_comparison_finds(
    tmp_path: Path, effects: dict[str, float], margin: float, held: str
) -> None:
    """By its own margin, and by its windows where the weights have no common support."""
    recipe, each = recipe_of(1, claim=HIGHER), compared(tmp_path, 0, 1.3, False)
    about = each.comparison.about | {"settings": each.comparison.about["settings"] | {"margin": margin}}
    no_pairs = {f"matched_{name}": None for name in ("effect", "low", "high", "q")}
    columns = [pl.lit(value).cast(pl.Float64).alias(name) for name, value in (effects | no_pairs).items()]
    changed = replace(each.comparison, about=about, effects=each.comparison.effects.with_columns(columns))
    table = claim_table(recipe.claims["claim"], recipe, [replace(each, comparison=changed)])
    assert {*table["raw"]} == {"shown"}
    assert {*table["held"]} == {held}


def test_flatness_is_shown_where_the_intervals_do_not_meet(tmp_path: Path) -> None:
    steps = np.array([1.0, 3.0, 1.0])
    noise = np.random.default_rng(0).lognormal(0, 0.05, (60, 2, 3))
    flat = given_run(tmp_path / "flat", 2.0 * noise, np.full(60, 20))
    rough = given_run(tmp_path / "rough", steps * noise, np.full(60, 20))
    recipe = recipe_of(1, claim=FLATTER)

    def raw(**runs: object) -> str:
        each = Compared("m", "whole", "c0", gradprism.compare(**runs, resamples=299))
        return str(claim_table(recipe.claims["claim"], recipe, [each])["raw"].item())

    assert raw(high=flat, low=rough) == "shown"
    assert raw(high=rough, low=flat) == "opposite"


@pytest.mark.parametrize(
    ("raw", "controls", "expected"),
    [
        (Count(), [], "was not tested"),
        (Count(opposite=2, shown=1), [Count(opposite=1)], "fails"),
        (Count(opposite=2, shown=1), [Count(undecided=1)], "is not decided with length controlled"),
        (Count(opposite=2, shown=1), [Count(shown=1)], "turns around with length controlled"),
        (Count(opposite=2, shown=1), [Count(length=1)], "fails, by length"),
        (Count(opposite=4), [Count(opposite=4), Count(length=4)], "depends on the length control"),
        (Count(opposite=4), [Count(opposite=2, shown=2)], "depends on the length control"),
        (Count(shown=1, not_shown=1), [Count(shown=1)], "is not shown"),
        (Count(not_shown=4), [], "is not shown"),
        (Count(shown=2), [], "is not decided with length controlled"),
        (Count(shown=2), [Count(undecided=2)], "is not decided with length controlled"),
        (Count(shown=4), [Count(shown=1, undecided=3)], "is not decided with length controlled"),
        (Count(shown=4), [Count(shown=2, undecided=2)], "is not decided with length controlled"),
        (
            Count(shown=20),
            [Count(undecided=20), Count(shown=6, length=5, undecided=9)],
            "is not decided with length controlled",
        ),
        (Count(shown=20), [Count(shown=6, length=10, undecided=4)], "is explained by length"),
        (Count(shown=20), [Count(shown=1, length=10, undecided=9)], "is explained by length"),
        (Count(shown=4), [Count(undecided=4), Count(shown=3, undecided=1)], "holds"),
        (Count(shown=4), [Count(shown=4), Count(length=1, undecided=3)], "holds"),
        (Count(shown=4), [Count(shown=1, length=3)], "is explained by length"),
        (Count(shown=4), [Count(shown=2, length=2)], "does not hold with length controlled"),
        (Count(shown=4), [Count(shown=1, opposite=1)], "does not hold with length controlled"),
        (Count(shown=4), [Count(shown=2, opposite=2)], "does not hold with length controlled"),
        (Count(shown=20), [Count(shown=3, opposite=9, length=8)], "does not hold with length controlled"),
        (Count(shown=4), [Count(opposite=3, length=1)], "turns around with length controlled"),
        (Count(shown=4), [Count(length=4), Count(opposite=3, shown=1)], "does not hold with length controlled"),
        (Count(shown=4), [Count(shown=4), Count(length=4)], "depends on the length control"),
        (Count(shown=4), [Count(shown=4), Count(opposite=4)], "depends on the length control"),
    ],
)
def test_the_verdict_case_by_case(raw: Count, controls: list[Count], expected: str) -> None:
    assert verdict(raw, controls) == expected


@given(st.lists(st.sampled_from(["shown", "opposite", "not shown", "length", "undecided"])))
def test_every_word_is_counted_once(words: list[str]) -> None:
    found = count(words)
    assert (found.all, found.undecided, found.shown) == (len(words), words.count("undecided"), words.count("shown"))
    assert found.decided + found.undecided == found.all


@given(st.lists(st.tuples(st.floats(-2, 2), st.floats(0.01, 1)), min_size=1, max_size=20))
def test_ratios_are_pooled_with_equal_weights(effects: list[tuple[float, float]]) -> None:
    table = pl.DataFrame(
        {"regression_scale": "log", "raw_effect": [e for e, _ in effects],
         "raw_effect_low": [e - 1.959963984540054 * s for e, s in effects],
         "raw_effect_high": [e + 1.959963984540054 * s for e, s in effects]}
    )  # fmt: skip
    found = pooled_ratio(table, "raw_effect", "raw_effect")
    assert found is not None
    mean = math.fsum(e for e, _ in effects) / len(effects)
    error = math.fsum(s for _, s in effects) / len(effects)  # as if all erred together
    assert found.n == len(effects)
    assert math.log(found.value) == pytest.approx(mean, abs=1e-9)
    assert math.log(found.high / found.low) == pytest.approx(2 * 1.959963984540054 * error)


def test_nothing_is_pooled_of_nothing() -> None:
    empty = pl.DataFrame(
        {"regression_scale": ["log"], "raw_effect": [None], "raw_effect_low": [None], "raw_effect_high": [None]}
    )
    assert pooled_ratio(empty, "raw_effect", "raw_effect") is None
