"""Selections given length and matched in length: what ranks, what is refused, and what the card says."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from tests.made_runs import scored_run
from tests.made_selections import candidates, places, selected

from gradprism import GradPrismError
from gradprism.cli import main
from gradprism.core.settings import checked
from gradprism.selection.api import run_recipe, select
from gradprism.selection.exclusions import Candidates
from gradprism.selection.settings import SelectRecipe
from gradprism.stats.given_length import place_given_length

GIVEN = "m given length"


def long_is_good(n: int = 90, seed: int = 0) -> tuple[Candidates, np.ndarray, np.ndarray]:
    """Rows whose metric follows their length; their values and lengths."""
    random = np.random.default_rng(seed)
    tokens = np.exp(random.normal([5, 3], [1, 0.5], (n, 2))).round() + 1
    values = tokens[:, 0] ** 0.7 * np.exp(random.normal(0, 0.3, n))
    made = candidates(
        m=values.tolist(),
        length=tokens[:, 0].tolist(),
        prompt_length=tokens[:, 1].tolist(),
        columns={"kind": ["ab"[i % 2] for i in range(n)]},
    )
    return made, values, tokens


def first(places_: np.ndarray, n: int) -> set[int]:
    return set(np.argsort(-places_)[:n].tolist())


# What is left given length


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"top": 9}, lambda left: {"selected": first(left, 9)}),
        ({"top": "10%", "bottom": 9}, lambda left: {"high": first(left, 9), "low": first(-left, 9)}),
        ({"quantile": "0.5:1"}, lambda left: {"selected": first(left, 45)}),
        ({"by": "-m", "top": 9}, lambda left: {"selected": first(-left, 9)}),
    ],
)
def test_rows_are_taken_by_what_is_left_given_length(options: dict[str, Any], expected: Any) -> None:
    made, values, tokens = long_is_good()
    left = place_given_length(values, tokens)
    found = selected(made, given="length", **options)
    assert {name: places(found, name) for name in found.groups} == expected(left)
    assert found.table[GIVEN].to_numpy() == pytest.approx(left)
    assert found.metrics == ("m", GIVEN)
    assert set(found.cuts["metric"]) == {GIVEN}
    note = "m given length: the residual of its log on a cubic in log response and log prompt tokens"
    assert note in found.notes[0]
    assert "Over 90 rows" in found.notes[0]


def test_budgets_strata_and_several_metrics_given_length() -> None:
    made, values, tokens = long_is_good()
    left = place_given_length(values, tokens)
    budget = selected(made, given="length", tokens=2000)
    best_first = np.argsort(-left)
    fits = best_first[np.cumsum(tokens[best_first, 0]) <= 2000]
    assert places(budget) == set(fits.tolist())
    strata = selected(made, given="length", top=10, stratify="kind")
    even = set(np.argsort(-np.where(np.arange(90) % 2, -1, left))[:5].tolist())
    assert places(strata) & {*range(0, 90, 2)} == even
    two = candidates(m=values.tolist(), n=(-values).tolist(), length=tokens[:, 0].tolist(), prompt_length=[3.0] * 90)
    both = selected(two, by=("m", "-n"), given="length", top=4)
    assert {GIVEN, "n given length", "mean rank"} <= {*both.table.columns}
    assert "n given length: the residual of its rank" in both.notes[1]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 999), st.floats(0.01, 100))
def test_neither_the_order_of_rows_nor_the_unit_of_the_metric_changes_the_choice(seed: int, factor: float) -> None:
    made, values, tokens = long_is_good(60, seed)
    shuffled = np.random.default_rng(seed).permutation(60)
    again = Candidates(
        made.rows[shuffled],
        pl.DataFrame({"m": factor * values[shuffled]}),
        made.reasons[shuffled],
        made.columns[shuffled],
        made.length[shuffled],
        prompt_length=pl.Series(tokens[shuffled, 1]),
    )
    chosen = [selected(each, given="length", top=7, bottom=7) for each in (made, again)]
    assert places(chosen[0], "high") == places(chosen[1], "high")
    assert places(chosen[0], "low") == places(chosen[1], "low")


def test_rows_without_a_value_or_a_length_are_left_out_with_the_reason() -> None:
    n = 20
    given_ = candidates(
        m=[None, *(i + math.sin(i) for i in range(1, n))],
        length=[3.0, None, *(float(i * i) for i in range(2, n))],
        prompt_length=[3.0, 3.0, math.nan, *(float(i % 5) for i in range(3, n))],
    )
    made = selected(given_, given="length", top=n)
    assert made.left_out["reason"].to_list() == [
        "m: made up",
        "the tokens of the response are not known, which --given length needs",
        "the tokens of the prompt are not known, which --given length needs",
    ]
    assert made.table[GIVEN].null_count() == 3
    assert "on the log response" in made.notes[0]  # too few rows for a cubic


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1.0, 2.0, None], "--given length: 2 rows can be ranked and have their lengths; expected 10 or more"),
        ([float(i) for i in range(1, 31)], "the lengths explain m entirely, and nothing is left to rank by"),
    ],
)
def test_what_given_length_refuses(values: list[float | None], said: str) -> None:
    lengths = [float(i + 1) for i in range(len(values))]
    with pytest.raises(GradPrismError, match=said):
        selected(candidates(m=values, length=lengths, prompt_length=[2.0] * len(values)), given="length", top=1)


# How the choice goes with length


def test_spearman_with_length_is_that_of_scipy() -> None:
    made, values, tokens = long_is_good()
    found = selected(made, top=9, where="m > 1", given="length")
    kept = values > 1
    left = place_given_length(values[kept], tokens[kept])
    expected = [
        (name, *(spearmanr(column, tokens[kept, end])[0] for end in (0, 1)), kept.sum())
        for name, column in (("m", values[kept]), (GIVEN, left))
    ]
    for row, wanted in zip(found.length_correlations.rows(), expected, strict=True):
        assert row[0] == wanted[0]
        assert row[1:] == pytest.approx(wanted[1:])
    assert abs(found.length_correlations["response"][1]) < 0.05 < 0.5 < found.length_correlations["response"][0]
    assert json.loads(json.dumps(found.summary()))["length_correlations"][0]["rows"] == kept.sum()


def test_lengths_that_are_not_known_or_do_not_vary_have_no_correlation() -> None:
    made = selected(candidates(m=[1.0, 2.0, 3.0], length=[5.0] * 3), top=1)
    assert made.length_correlations.rows() == [("m", None, None, 3)]
    assert made.median_lengths == "median response, in tokens: 5.00 in selected, 5.00 in all rows"


# Pairs of like length


def paired(high: list[float], low: list[float], caliper: float) -> int:
    """Most pairs within a caliper, by trying each partner of each row."""
    if not high:
        return 0
    rest = paired(high[1:], low, caliper)
    return max(
        rest,
        *(
            1 + paired(high[1:], low[:i] + low[i + 1 :], caliper)
            for i, other in enumerate(low)
            if max(high[0], other) <= (1 + caliper + 1e-9) * min(high[0], other)
        ),
        0,
    )


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=5, max_size=5), st.lists(st.integers(1, 40), min_size=5, max_size=5))
def test_a_match_that_leaves_nothing_names_the_caliper_that_keeps_rows(high: list[int], low: list[int]) -> None:
    lengths = [float(n) for n in [*high, *low]]
    given_ = candidates(m=[2.0] * 5 + [1.0] * 5, length=lengths)

    def pairs(hundredths: int) -> int:
        return paired(lengths[:5], lengths[5:], hundredths / 100)

    if pairs(5):
        made = selected(given_, top=5, bottom=5, match_length=True)
        assert made.rows_of("high").height == made.rows_of("low").height == pairs(5)
        return
    wanted = next((c for least in (2, 1) if pairs(100) >= least for c in range(5, 101) if pairs(c) >= least), None)
    with pytest.raises(GradPrismError, match="--match-length leaves no row: no length in high is within 5%") as caught:
        selected(given_, top=5, bottom=5, match_length=True)
    if wanted is None:
        assert "No caliper up to 1 keeps a row" in str(caught.value)
        return
    said = f"--caliper {wanted / 100:g} keeps {pairs(wanted)} row"
    assert said in str(caught.value)
    made = selected(given_, top=5, bottom=5, match_length=True, caliper=wanted / 100)
    assert made.rows_of("low").height == pairs(wanted)


def test_few_pairs_are_noted_with_the_caliper_that_keeps_more() -> None:
    given_ = candidates(m=[2.0] * 8 + [1.0] * 8, length=[*[10.0 * 1.3**i for i in range(8)], 10.0, *[1e5] * 7])
    made = selected(given_, top=8, bottom=8, match_length=True)
    assert made.rows_of("high").height == 1
    assert made.notes[1].startswith("fewer than a quarter of the smaller group has a row of like length; --caliper")


def test_groups_without_rows_cannot_be_matched() -> None:
    with pytest.raises(GradPrismError, match="0 rows in high and 0 in low are left to pair"):
        selected(candidates(m=[None, None]), top=1, bottom=1, match_length=True)


# From files


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        {"id": f"r{i}", "prompt": "why " * (i % 7 + 1), "completion": "word " * (i * i + 1),
         "reward": math.sin(i) + i / 5}
        for i in range(30)
    ]  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_data_alone_are_ranked_given_their_characters_and_a_recipe_repeats_it(data: Path, tmp_path: Path) -> None:
    made = select(data, "column:reward", top=5, given="length", out=tmp_path / "pick.jsonl")
    rows = [json.loads(line) for line in data.read_text("utf-8").splitlines()]
    lengths = [[len(row["completion"]), len(row["prompt"])] for row in rows]
    left = place_given_length(np.array([row["reward"] for row in rows]), np.array(lengths, dtype=float))
    assert set(made.selected["row"]) == first(left, 5)
    chosen = [json.loads(line) for line in made.files[0].read_text("utf-8").splitlines()]
    assert all("gradprism.column:reward given length" in row for row in chosen)
    card = (tmp_path / "pick.card.md").read_text("utf-8")
    assert "--given length" in card
    assert "## Choice and length" in card
    assert f"| column:reward | {made.length_correlations['response'][0]:.6g} |" in card
    assert "median response, in characters:" in card
    before = {path: path.read_bytes() for path in made.files}
    recipe = checked(SelectRecipe, yaml.safe_load(card.split("```yaml\n")[1].split("```")[0]))
    assert {path: path.read_bytes() for path in run_recipe(recipe).files} == before


def test_a_run_that_counted_no_prompts_says_how_to(data: Path, tmp_path: Path) -> None:
    run = scored_run(tmp_path / "run", data, ifd=[{"value": 0.5, "n_tokens": i + 1} for i in range(30)])
    with pytest.raises(GradPrismError, match="--metric length --model MODEL --out RUN"):
        select(run, "ifd", top=3, given="length")
    assert select(run, "ifd", top=3).length_correlations["prompt"].to_list() == [None]


def test_the_command_ends_with_an_error_where_no_row_is_left(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pick.jsonl"
    options = ["--by", "column:reward", "--top", "3", "--bottom", "3", "--match-length", "--out", str(out)]
    with pytest.raises(SystemExit) as ended:
        main(["select", str(data), *options])
    assert ended.value.code == 2
    assert "--match-length leaves no row" in capsys.readouterr().err
    assert not list(tmp_path.glob("pick*"))
