"""Which rows are selected, against sorts, sets and exhaustive searches written here anew."""

import json
import math
from collections import Counter
from collections.abc import Iterable
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from tests.made_selections import Values, candidates, places, selected

from gradprism import GradPrismError
from gradprism.selection.cuts import apportion
from gradprism.selection.exclusions import Candidates

quick = settings(max_examples=25, deadline=None)


def ticket(place: int, seed: int) -> int:
    text = f"ties\0{seed}\0{place + 10}\0id {place + 10}"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


def best_first(values: Values, seed: int = 0) -> list[int]:
    """The rule for equal values, in other words than the code's."""
    ranked = [i for i, value in enumerate(values) if value is not None and math.isfinite(value)]
    return sorted(ranked, key=lambda i: (-values[i], ticket(i, seed)))  # type: ignore[operator]


numbers = st.one_of(st.none(), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1.0, 2.0]), st.floats(-5, 5))
some_values = st.lists(numbers, min_size=1, max_size=30)


# One metric


@quick
@given(some_values, st.integers(1, 40), st.integers(0, 3))
def test_top_and_bottom_are_the_ends_of_the_ranking(values: Values, n: int, seed: int) -> None:
    ranked, given_ = best_first(values, seed), candidates(m=values)
    assert places(selected(given_, top=n, seed=seed)) == set(ranked[:n])
    assert places(selected(given_, bottom=n, seed=seed)) == set(ranked[::-1][:n])
    assert places(selected(given_, by="-m", bottom=n, seed=seed)) == set(
        best_first([None if v is None else -v for v in values], seed)[::-1][:n]
    )
    if 2 * min(n, len(ranked)) <= len(ranked):
        both = selected(given_, top=n, bottom=n, seed=seed)
        assert (places(both, "high"), places(both, "low")) == (set(ranked[:n]), set(ranked[::-1][:n]))


@quick
@given(some_values, st.integers(0, 3), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter_and_the_seed_decides(values: Values, seed: int, random: Any) -> None:
    given_ = candidates(m=values)
    shuffled = [*range(len(values))]
    random.shuffle(shuffled)
    again = Candidates(
        given_.rows[shuffled],
        given_.values[shuffled],
        given_.reasons[shuffled],
        given_.columns,
        given_.length[shuffled],
    )
    first, second = (selected(each, top=3, random=True, seed=seed) for each in (given_, again))
    assert places(first) == places(second)
    assert set(first.baseline["row"]) == set(second.baseline["row"])


def test_another_seed_draws_other_rows_of_equal_value() -> None:
    drawn = {frozenset(places(selected(candidates(m=[1.0] * 50), top=10, seed=seed))) for seed in range(8)}
    assert len(drawn) == 8


@quick
@given(some_values, st.integers(1, 20))
def test_ties_are_counted_at_the_cut(values: Values, n: int) -> None:
    made, ranked = selected(candidates(m=values), top=n), best_first(values)
    if n >= len(ranked):  # nothing is cut off
        assert made.cuts.height == 0
        return
    last = values[ranked[n - 1]]
    sharing = [i for i in ranked if values[i] == last]
    taken = [i for i in sharing if i in ranked[:n]]
    assert made.cuts.rows() == [("selected", None, "m", last, len(sharing), len(taken))]
    assert made.ties.height == (len(sharing) > 1)
    tied = made.left_out.filter(pl.col("reason").str.starts_with("same value as the cut"))
    assert tied.height == len(sharing) - len(taken)


def test_most_of_the_best_share_one_score() -> None:
    """As in the published sets, where 190 of the 200 most difficult rows have one score."""
    made = selected(candidates(m=[9.0] * 10 + [8.0] * 700 + [1.0] * 90), top=200, bottom=50)
    assert made.ties.rows() == [("high", None, "m", 8.0, 700, 190), ("low", None, "m", 1.0, 90, 50)]


@pytest.mark.slow  # many cases
@quick
@given(some_values, st.lists(st.integers(1, 99), min_size=1, max_size=4, unique=True))
def test_neighbouring_quantiles_part_the_rows_between_them(values: Values, percents: list[int]) -> None:
    ends = ["0", *(str(p / 100) for p in sorted(percents)), "1"]
    parts = [places(selected(candidates(m=values), quantile=f"{a}:{b}")) for a, b in pairwise(ends)]
    ranked = best_first(values)[::-1]
    assert Counter(i for part in parts for i in part) == Counter(ranked)
    assert parts[0] == set(ranked[: math.floor(min(percents) * len(ranked) / 100)])


@quick
@given(st.lists(st.tuples(numbers, st.integers(0, 30)), min_size=1, max_size=25), st.integers(1, 200))
def test_a_budget_is_filled_in_order_until_the_next_row_does_not_fit(rows: Any, budget: int) -> None:
    values, lengths = zip(*rows, strict=True)
    made = selected(candidates(m=values, length=[float(n) for n in lengths]), tokens=budget)
    ranked = [i for i in best_first(values) if lengths[i]]
    expected, used = set(), 0
    for i in ranked:
        if used + lengths[i] > budget:
            break
        used += lengths[i]
        expected.add(i)
    assert places(made) == expected
    assert sum(made.selected["response_length"]) == used <= budget


def test_a_budget_from_either_end_and_with_a_limit() -> None:
    given_ = candidates(m=[1.0, 2, 3, 4, 5], length=[10.0] * 5)
    assert places(selected(given_, tokens=25, bottom="100%")) == {0, 1}
    assert places(selected(given_, tokens=45, top=3)) == {2, 3, 4}
    both = selected(given_, tokens=30, top="100%", bottom="100%")
    assert (places(both, "high"), places(both, "low")) == ({3, 4}, {0, 1})
    assert both.reasons == {"in both groups": 1}


@pytest.mark.parametrize(("share", "rows"), [("10%", 2), ("1%", 1), ("33.4%", 8), ("100%", 25), ("29%", 7), ("28%", 7)])
def test_shares_round_down_but_never_to_none(share: str, rows: int) -> None:
    assert len(places(selected(candidates(m=[float(i) for i in range(25)]), top=share))) == rows


def test_more_rows_than_there_are() -> None:
    made = selected(candidates(m=[1.0, None, 3.0]), top=5)
    assert places(made) == {0, 2}
    assert made.notes == ("5 rows were asked for; 2 can be ranked",)
    with pytest.raises(GradPrismError, match="overlap: 2 \\+ 1 rows of only 2"):
        selected(candidates(m=[1.0, None, 3.0]), top=5, bottom=1)


def test_nothing_to_rank() -> None:
    for values in ([None, math.nan], []):
        made = selected(candidates(m=values), top=5, bottom=1, random=True)
        assert made.selected.height == made.baseline.height == 0
        assert made.left_out["reason"].to_list() == ["m: made up"] * len(values)
        assert made.lengths["rows"].to_list() == [0, 0, 0, len(values), len(values)]


# Several metrics

two_metrics = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=20)


@pytest.mark.slow  # many cases
@quick
@given(two_metrics, st.integers(1, 10), st.sampled_from(["top", "bottom"]))
def test_and_or_are_sets(rows: Any, n: int, end: str) -> None:
    a, b = ([float(row[i]) for row in rows] for i in (0, 1))
    given_ = candidates(a=a, b=b)
    alone = [places(selected(given_, by=name, **{end: n})) for name in ("a", "b")]
    assert places(selected(given_, by=("a", "b"), combine="and", **{end: n})) == alone[0] & alone[1]
    assert places(selected(given_, by=("a", "b"), combine="or", **{end: n})) == alone[0] | alone[1]


@quick
@given(two_metrics, st.integers(1, 10))
def test_rank_combination_is_the_mean_of_the_ranks_each_in_its_direction(rows: Any, n: int) -> None:
    a, b = ([float(row[i]) for row in rows] for i in (0, 1))

    def rank(values: list[float], value: float) -> float:
        below, equal = sum(v < value for v in values), values.count(value)
        return below + (equal - 1) / 2

    expected = [(rank(a, x) + len(b) - 1 - rank(b, y)) / 2 for x, y in zip(a, b, strict=True)]
    made = selected(candidates(a=a, b=b), by=("a", "-b"), top=n)
    assert made.table["mean rank"].to_list() == pytest.approx([e / (len(a) - 1) for e in expected])
    assert places(made) == set(best_first(made.table["mean rank"].to_list())[:n])


def test_a_row_best_by_one_and_worst_by_the_other_is_in_neither_group() -> None:
    made = selected(candidates(a=[1.0, 2, 3, 4], b=[4.0, 3, 2, 0]), by=("a", "b"), combine="or", top=1, bottom=1)
    assert places(made, "high") == places(made, "low") == set()
    assert made.reasons == {"between the two groups": 2, "in both groups": 2}


# Strata


@quick
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=30), st.integers(1, 30), st.booleans())
def test_strata_give_the_best_of_each(kinds: list[str], n: int, equal: bool) -> None:
    values = [float((7 * i) % 31) for i in range(len(kinds))]
    given_ = candidates(m=values, columns={"kind": kinds})
    made = selected(given_, top=n, stratify="kind", stratify_equal=equal)
    names = sorted(set(kinds))
    shares = apportion(n, [kinds.count(name) for name in names], equal)
    for name, share in zip(names, shares, strict=True):
        own = [i for i in best_first(values) if kinds[i] == name]
        assert places(made) & set(own) == set(own[:share])


def test_two_groups_and_strata_never_meet() -> None:
    given_ = candidates(m=[1.0, 2.0, 3.0], columns={"kind": ["a", "b", None]})
    made = selected(given_, top=1, bottom=2, stratify="kind")
    assert len(places(made, "high")) == 1
    assert len(places(made, "low")) == 2
    assert made.table["stratum"].to_list() == ["a", "b", "(none)"]


def test_too_many_strata() -> None:
    given_ = candidates(m=[float(i) for i in range(300)], columns={"kind": [str(i) for i in range(300)]})
    with pytest.raises(GradPrismError, match="300 different values; expected at most 256"):
        selected(given_, top=10, stratify="kind")


# Equal lengths


def test_matched_groups_have_medians_within_5_percent() -> None:
    random = np.random.default_rng(0)
    length = np.exp(random.normal(5, 1, 2000)).round() + 1
    quality = np.log(length) + random.normal(0, 1, 2000)  # long answers score high
    given_ = candidates(m=quality.tolist(), length=length.tolist())
    raw = selected(given_, top=400, bottom=400)
    made = selected(given_, top=400, bottom=400, match_length=True)
    before, after = (
        [float(each.rows_of(name)["response_length"].median()) for name in ("high", "low")]  # type: ignore[arg-type]
        for each in (raw, made)
    )
    assert before[0] > 2 * before[1]
    assert max(after) <= 1.05 * min(after)
    assert places(made, "high") < places(raw, "high")
    assert len(places(made, "high")) == len(places(made, "low")) > 50
    assert f"{len(places(made, 'high'))} rows in each group remain of 400 in high and 400 in low" in made.notes[0]
    assert made.baseline.height == 0


def test_rows_without_a_length_are_never_matched() -> None:
    made = selected(candidates(m=[1.0, 2, 3, 4], length=[None, 5.0, 5.0, 0.0]), top=1, bottom=1, match_length=True)
    assert (places(made, "high"), places(made, "low")) == ({2}, {1})
    assert made.reasons == {"no response tokens": 2}


# Baseline


@quick
@given(some_values, st.integers(1, 10), st.integers(0, 3))
def test_the_baseline_is_as_large_and_drawn_from_what_could_be_taken(values: Values, n: int, seed: int) -> None:
    made = selected(candidates(m=values), top=n, random=True, seed=seed)
    assert made.baseline.height == made.selected.height
    assert {row - 10 for row in made.baseline["row"]} <= set(best_first(values))


def test_the_baseline_of_a_budget_and_of_strata() -> None:
    given_ = candidates(m=[float(i) for i in range(60)], length=[5.0] * 60, columns={"kind": ["a"] * 40 + ["b"] * 20})
    assert selected(given_, tokens=52, random=True).baseline.height == 10
    made = selected(given_, top=30, stratify="kind", random=True)
    assert made.baseline["stratum"].value_counts().sort("stratum").rows() == [("a", 20), ("b", 10)]


def test_the_baseline_of_an_expression_is_of_all_rows() -> None:
    given_ = candidates(m=[1.0] * 40, columns={"kind": ["a"] * 20 + ["b"] * 20})
    made = selected(given_, by=(), where="kind = 'a'", random=True)
    assert made.baseline.height == 20
    assert made.baseline["group"].null_count() > 0


# Near-duplicates

words = st.lists(st.sampled_from("abcdef"), max_size=14).map(" ".join)


def test_the_better_row_is_kept_at_either_end() -> None:
    texts = ["one two three four five six", "one two three four five six!", "something else that is said here"]

    def of(rows: frozenset[int]) -> Iterable[tuple[int, str]]:
        return ((row, texts[row - 10]) for row in rows)

    given_ = candidates(m=[1.0, 2.0, 3.0])
    made = selected(given_, top=3, dedup=0.9, texts=of)
    assert places(made) == {1, 2}
    assert made.left_out["reason"].to_list() == ["near-duplicate (of row 11, which ranks better; similarity 1.00)"]
    assert made.reasons == {"near-duplicate": 1}
    assert places(selected(given_, bottom=3, dedup=0.9, texts=of)) == {0, 2}
    with pytest.raises(GradPrismError, match="--dedup compares texts"):
        selected(given_, top=1, dedup=0.9)


def test_characters_are_not_tokens() -> None:
    with pytest.raises(GradPrismError, match="--metric length"):
        selected(candidates(m=[1.0], unit="characters"), tokens=10)


def test_a_metric_may_not_hide_a_column_of_the_selection() -> None:
    with pytest.raises(GradPrismError, match="named 'group'"):
        selected(candidates(group=[1.0]), by="group", top=1)


# All together

rows_of_all = st.lists(
    st.tuples(numbers, numbers, st.one_of(st.none(), st.integers(0, 50).map(float)), st.sampled_from("xyz"), words),
    min_size=0,
    max_size=25,
)
some_cuts = st.sampled_from(
    [
        {"top": 3},
        {"bottom": "20%"},
        {"top": "20%", "bottom": 3},
        {"top": "40%", "bottom": "40%", "match_length": True},
        {"quantile": "0.25:0.75"},
        {"tokens": 100},
        {"tokens": 60, "top": "100%", "bottom": "100%", "match_length": True},
        {"top": 3, "where": "kind = 'x'"},
        {"where": "ifd < 0.5 OR a > 0"},
    ]
)
some_options = st.fixed_dictionaries(
    {"by": st.sampled_from([("a",), ("-ifd",), ("a", "-ifd"), ("ifd", "a")])},
    optional={
        "combine": st.sampled_from(["and", "or"]),
        "stratify": st.just("kind"),
        "stratify_equal": st.just(True),
        "random": st.just(True),
        "dedup": st.sampled_from([0.5, 0.9]),
        "keep_ifd_above_1": st.just(True),
    },
)


@given(rows_of_all, some_cuts, some_options, st.integers(0, 2))
@settings(max_examples=80, deadline=None)
@pytest.mark.slow  # hundreds of selections
def test_every_row_is_in_exactly_one_place_whatever_is_asked(
    rows: Any, cut: dict[str, Any], options: dict[str, Any], seed: int
) -> None:
    a, ifd, length, kind, texts = zip(*rows, strict=True) if rows else ((),) * 5
    given_ = candidates(a=a, ifd=ifd, length=length, columns={"kind": pl.Series(kind, dtype=pl.String)})

    def of(wanted: frozenset[int]) -> Iterable[tuple[int, str]]:
        return ((row, texts[row - 10]) for row in wanted)

    try:
        made = selected(given_, seed=seed, texts=of, **cut, **options)
    except GradPrismError:  # what contradicts itself is tested above
        event("refused")
        return
    assert repr(made)
    assert "<table>" in made._repr_html_()
    assert sum(made.reasons.values()) == made.left_out.height
    assert selected(given_, seed=seed, texts=of, **cut, **options).table.equals(made.table)
    named = [name.lstrip("-") for name in options["by"]]
    assert not any(made.selected[name].null_count() for name in named)
    if "ifd" in named and "keep_ifd_above_1" not in options:
        assert not (made.selected["ifd"] > 1).any()


def test_it_shows_itself() -> None:
    made = selected(candidates(m=[1.0, 2, 3, None], length=[4.0, 5, 6, 7]), top=1, bottom=1, random=True)
    assert repr(made).splitlines() == [
        "input      4 rows",
        "high       1 rows",
        "low        1 rows",
        "random     1 rows",
        "left out   2 rows: 1 between the two groups; 1 m: made up",
    ]
    summary = json.loads(json.dumps(made.summary()))
    assert summary["groups"] == {"high": 1, "low": 1, "random": 1}
    assert (summary["rows"], summary["left_out"], sum(summary["reasons"].values())) == (4, 2, 2)
    assert made.thresholds.rows() == [("high", "m", 3.0, 3.0, 3.0, 1), ("low", "m", 1.0, 1.0, 1.0, 1)]
    assert made.lengths.filter(pl.col("group") == "all rows").rows() == [("all rows", 4, 5.5, 5.5, 4.0, 7.0, 22.0)]
