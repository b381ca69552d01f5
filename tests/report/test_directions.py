"""Directions of gradients and influence on targets as the page has them: places, pairs, extremes, absences."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.made_reports import FOUND_AGAIN, made_report, with_target

from gradprism.comparison.comparison import Comparison
from gradprism.core.progress import say_nothing
from gradprism.report import directions, write_report
from gradprism.report.directions import Directions, read_directions
from gradprism.report.influence import read_influences

N, DIMENSION = 12, 32


def sketches(seed: int, n: int = N) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(n, DIMENSION)) * np.geomspace(2, 0.2, DIMENSION)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def planted() -> dict[str, np.ndarray]:
    """Sketches in which row 3 of `low` is nearly row 5 of `high`, and row 7 of `high` points the other way."""
    high, low = sketches(1), sketches(2)
    low[3], high[7] = high[5] + 0.01 * sketches(3)[0], -high[5]
    return {"high": high, "low": low}


@pytest.fixture(scope="module")
def sketched(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return made_report(tmp_path_factory.mktemp("runs"), n=N, layers=2, sketches=planted())


def read(comparison: Comparison) -> Directions:
    found = read_directions(comparison, 0, say_nothing)
    assert found is not None
    return found


def units() -> np.ndarray:
    values = np.concatenate([*planted().values()]).astype(np.float16).astype(np.float64)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_places_are_those_of_the_svd_of_all_sketches(sketched: Comparison) -> None:
    found, centred = read(sketched), units() - units().mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    expected = left[:, :2] * values[:2]
    expected *= np.sign(expected[np.abs(expected).argmax(axis=0), [0, 1]])
    x, y = found.coordinates_of(sketched.examples)
    np.testing.assert_allclose(np.stack([x, y], axis=1), expected, atol=1e-3)
    np.testing.assert_allclose(found.about["shares"], (values**2 / (values**2).sum())[:2], rtol=1e-3)
    assert (found.about["n"], found.about["dimension"]) == (2 * N, DIMENSION)


def test_the_most_similar_pair_is_the_one_that_was_planted(sketched: Comparison) -> None:
    found = read(sketched)
    assert found.about["n_alike"] == 1
    assert len(found.pairs) == 5  # the best few
    first, second, cosine = found.pairs[0]
    assert {(first.group, first.row), (second.group, second.row)} == {("high", 5), ("low", 3)}
    assert cosine == pytest.approx(units()[5] @ units()[N + 3], abs=1e-3)


def test_a_row_in_two_groups_is_no_pair_with_itself(sketched: Comparison) -> None:
    high, low = sketched.groups
    both = replace(sketched, groups=(high, replace(low, run=high.run)), examples=twice(sketched.examples))
    found = read(both)
    assert (found.about["n"], found.about["n_rows"]) == (2 * N, N)
    assert found.pairs[0][2] < 0.9
    x, _ = found.coordinates_of(both.examples)
    assert x[:N] == x[N:]


def twice(examples: pl.DataFrame) -> pl.DataFrame:
    own = examples.filter(group="high")
    return pl.concat([own, own.with_columns(pl.lit("low").alias("group"))])


def test_axes_and_pairs_of_very_many_rows_are_of_a_sample(
    sketched: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directions, "MOST_ROWS", 10)
    found = read(sketched)
    assert (found.about["n_used"], found.about["n_rows"]) == (10, 2 * N)
    assert None not in found.coordinates_of(sketched.examples)[0]
    assert read(sketched).pairs == found.pairs


@pytest.mark.parametrize("which", ["other dimension", "no sketch", "no direction", "run gone"])
def test_rows_without_a_comparable_sketch_have_no_place(tmp_path: Path, which: str) -> None:
    made = planted()
    low = {"other dimension": {"low": made["low"][:, :8]}, "no direction": {"low": 0 * made["low"]}}.get(which, {})
    comparison = made_report(tmp_path, n=N, layers=2, sketches={"high": made["high"], **low})
    if which == "run gone":
        comparison = replace(
            comparison, groups=(comparison.groups[0], replace(comparison.groups[1], run=str(tmp_path / "gone")))
        )
    found = read(comparison)
    x, _ = found.coordinates_of(comparison.examples)
    assert None not in x[:N]
    assert x[N:] == [None] * N


def test_a_run_without_sketches_has_no_directions(tmp_path: Path) -> None:
    assert read_directions(made_report(tmp_path, n=2, layers=2), 0, say_nothing) is None


VALUES = [round(0.9 - 0.07 * place, 2) for place in range(2 * N)]


def test_influence_has_verdicts_and_the_rows_at_both_ends(sketched: Comparison) -> None:
    values = dict(FOUND_AGAIN, regression_scale="linear", raw_effect=0.1, raw_effect_low=0.02, raw_effect_high=0.18)
    [found] = read_influences(with_target(sketched, "mine", VALUES, **values))
    assert (found.metric, found.about) == ("influence:mine", "")
    assert [each.kind for each in found.findings] == ["survives"]
    assert "influence on mine 0.100 higher raw, 0.0900 length-controlled" in found.findings[0].sentence
    assert [row.value for row in found.highest] == VALUES[:10]
    assert [row.value for row in found.lowest] == VALUES[:-11:-1]


def test_few_rows_are_at_one_end_alone(sketched: Comparison) -> None:
    few = [*VALUES[:3], *[None] * (2 * N - 3)]
    [found] = read_influences(with_target(sketched, "mine", few))
    assert [len(found.highest), len(found.lowest)] == [2, 1]


def model_of(page: Path) -> dict[str, Any]:
    found = re.search(r'id="data">(.*?)</script>', page.read_text("utf-8"))
    assert found is not None
    [model] = json.loads(found[1])["models"]
    return model


def test_listed_rows_have_their_texts_where_the_page_leaves_the_examples_out(
    sketched: Comparison, tmp_path: Path
) -> None:
    comparison = with_target(sketched, "mine", VALUES)
    page = write_report(comparison, out=tmp_path / "report.html", max_mb=4.8).path
    model = model_of(page)
    assert len(model["examples"]["row"]) < 2 * N
    assert len(model["examples"]["map"][0]) == len(model["examples"]["row"])
    [target] = model["targets"]
    listed = [*target["highest"], *target["lowest"], *(pair["first"] for pair in model["directions"]["pairs"])]
    assert all(len(row["texts"]) == 2 and 0 < len(row["texts"][1]) <= 160 for row in listed)
    without = write_report(comparison, out=tmp_path / "bare.html", texts=False).path
    assert model_of(without)["targets"][0]["highest"][0]["texts"] == []
