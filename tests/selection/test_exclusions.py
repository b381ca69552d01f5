"""Which rows cannot be selected, and what is said of them; expressions and those that are none."""

import math

import polars as pl
import pytest
from tests.made_selections import candidates, places, selected

from gradprism import GradPrismError
from gradprism.selection.exclusions import Candidates


def test_an_ifd_above_1_is_left_out_unless_asked_for() -> None:
    given_ = candidates(ifd=[0.5, 1.0, 1.0001, math.nan])
    made = selected(given_, by="ifd", top=4)
    assert places(made) == {0, 1}
    assert made.reasons == {"ifd is above 1": 1, "ifd: made up": 1}
    assert places(selected(given_, by="ifd", top=4, keep_ifd_above_1=True)) == {0, 1, 2}
    assert places(selected(given_, by=(), where="ifd > 0.9")) == {1}


def test_a_perplexity_above_the_greatest_is_left_out_where_asked_for() -> None:
    given_ = candidates(m=[1.0, 2.0, 3.0, 4.0, 5.0], perplexity=[2.0, 50.0, 50.1, None, math.inf])
    assert places(selected(given_, top=5)) == {0, 1, 2, 3, 4}
    made = selected(given_, top=5, max_perplexity=50)
    assert places(made) == {0, 1}
    assert made.reasons == {"perplexity: made up": 2, "perplexity is above 50": 1}
    assert made.left_out["reason"].to_list()[0] == "perplexity is above 50"
    assert places(selected(given_, by=(), where="m > 1", max_perplexity=2.5)) == set()
    both = candidates(ifd=[1.5, 0.5], perplexity=[60.0, 60.0])
    assert selected(both, by="ifd", top=2, max_perplexity=50).reasons == {
        "ifd is above 1": 1,
        "perplexity is above 50": 1,
    }


def test_rows_without_a_value_in_any_metric_are_left_out() -> None:
    made = selected(candidates(a=[1.0, None, 3.0], b=[1.0, 2.0, math.inf]), by=("a", "b"), top=3)
    assert places(made) == {0}
    assert made.left_out["reason"].to_list() == ["a: made up", "b: made up"]


def test_unreadable_rows_say_why() -> None:
    given_ = candidates(m=[1.0, 2.0])
    rows = given_.rows.with_columns(problem=pl.Series(["line 3 is not valid JSON", None]))
    made = selected(Candidates(rows, given_.values, given_.reasons, given_.columns, given_.length), top=2)
    assert made.left_out["reason"].to_list() == ["line 3 is not valid JSON"]


# Expressions

KINDS = {"kind": ["x", "y", None, "x"], "effective_rank:q (data)": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("kind = 'x'", {0, 3}),
        ("kind <> 'x'", {1}),
        ("kind IS NULL", {2}),
        ('"effective_rank:q" >= 2 AND reward < 5', {1}),
        ('"effective_rank:q" >= 2 OR reward > 5', {0, 1, 3}),
        ("reward BETWEEN 1 AND 6 AND NOT kind = 'y'", {0}),
        ("kind IN ('y', 'z')", {1}),
        ("kind LIKE 'x%'", {0, 3}),
        ("reward > (-1)", {0, 1}),
        ("ABS(reward) > 1 AND kind = 'x'", {0}),
    ],
)
def test_expressions(where: str, expected: set[int]) -> None:
    given_ = candidates(**{"effective_rank:q": [1.0, 2, math.nan, 4]}, reward=[6.0, 2, None, math.inf], columns=KINDS)
    made = selected(given_, by=(), where=where)
    assert places(made) == expected
    assert set(made.reasons) <= {"--where does not hold", "--where cannot be told: a value is missing"}


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("effective_rank:q > 2", "double quotes"),
        ("kind >", "not an SQL expression"),
        ("kind = 'x'; DROP TABLE runs", "not an SQL expression"),
        ("select 1", "not an SQL expression"),
        ("nonsense(kind)", "not an SQL expression"),
        ("kind > 3", "cannot be evaluated"),
        ("kind", "expected true or false"),
        ("1 < 2", "names no metric and no column"),
        ("absent = 1", "cannot be evaluated"),
        ("kind.part > 3", "cannot be evaluated"),
        ("", "Nothing says what to take"),
    ],
)
def test_bad_expressions(where: str, said: str) -> None:
    with pytest.raises(GradPrismError, match=said):
        selected(candidates(m=[1.0, 2, 3, 4], columns=KINDS), by=(), where=where)


def test_shares_count_among_the_rows_for_which_the_expression_holds() -> None:
    given_ = candidates(m=[1.0, 2, 3, 4], columns={"kind": ["x", "x", "y", "y"]})
    assert places(selected(given_, top="50%", where="kind = 'x'")) == {1}
