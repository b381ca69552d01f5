"""The verb `diversity` on runs whose sketches are made up, so that what it has to find is known."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.command import SETTINGS
from tests.command import run as command
from tests.made_groups import given_run
from tests.made_sketches import sketched_run

import gradprism
from gradprism import GradPrismError
from gradprism.set_diversity.diversity import Diversity
from gradprism.set_diversity.render import render_diversity
from gradprism.set_diversity.tables import PAIRS, ROWS, SOURCES, UNIONS

DIM = 256


def directions(rng: np.random.Generator, centres: int, n: int, noise: float = 0.3) -> np.ndarray:
    """n rows around so many directions that share little, each as often."""
    return rng.standard_normal((centres, DIM))[np.arange(n) % centres] + noise * rng.standard_normal((n, DIM))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 rows of 5 directions, `few`, and 60 of 30, `many`; row 50 copies row 3, row 7 has no gradient."""
    rng = np.random.default_rng(0)
    values = np.concatenate([directions(rng, 5, 40), directions(rng, 30, 60)])
    values[50], values[7] = values[3], np.nan
    kinds = ["few"] * 40 + ["many"] * 60
    lengths = np.array([100] * 40 + [20] * 60) + np.arange(100) % 7
    path = tmp_path_factory.mktemp("diversity") / "run"
    sketched_run(path, values, lengths, kind=kinds)
    return path


@pytest.fixture(scope="module")
def found(made: Path) -> Diversity:
    return gradprism.diversity(made, by="column:kind")


def test_scores_are_those_of_the_directions(made: Path) -> None:
    rng = np.random.default_rng(1)
    sketched_run(made.parent / "exact", np.repeat(np.eye(8, DIM), 10, axis=0), kind=["a"] * 40 + ["b"] * 40)
    exact = gradprism.diversity(made.parent / "exact", by="kind", seed=int(rng.integers(9)))
    by_source = dict(exact.sources.select("source", "vendi").iter_rows())
    # sketches of 8 directions that happen to be orthogonal to the last digit are no sample of any: 3% for the noise
    assert by_source == pytest.approx({"all rows": 8, "a": 4, "b": 4}, rel=0.03)
    assert exact.pairs.height


def test_tables_hold_the_sources_and_every_row_once(found: Diversity) -> None:
    assert found.sources.schema == SOURCES
    assert found.unions.schema == UNIONS
    assert found.pairs.schema == PAIRS
    assert found.rows.schema == ROWS
    assert found.sources["source"].to_list() == ["all rows", "many", "few"]
    assert found.sources["rows"].to_list() == [99, 60, 39]
    assert sorted(found.rows["row"].to_list()) == [row for row in range(100) if row != 7]
    assert "Left out: 1 row without a gradient of finite size above 0." in found.notes
    low, high = found.interval
    assert low < found.vendi < high


def test_sources_are_compared_at_equal_rows_and_equal_tokens(found: Diversity) -> None:
    few, many = (found.sources.row(by_predicate=pl.col("source") == name, named=True) for name in ("few", "many"))
    assert found.about["subset_rows"] == 39
    assert few["equal_rows"] < 0.6 * many["equal_rows"]
    assert many["equal_rows_low"] < many["equal_rows"] < many["equal_rows_high"]
    assert few["equal_rows_low"] is None  # all of its rows
    assert few["rows_of_equal_tokens"] < 10 < 30 < many["rows_of_equal_tokens"]
    assert any("median response 23 tokens in many, 103 in few" in note for note in found.notes)


def test_sources_of_too_few_tokens_are_not_compared_at_equal_tokens(tmp_path: Path) -> None:
    values = directions(np.random.default_rng(0), 12, 60)
    sketched_run(tmp_path / "run", values, np.repeat([3, 300, 400], 20), kind=["bare"] * 20 + ["a"] * 20 + ["b"] * 20)
    found = gradprism.diversity(tmp_path / "run", by="kind")
    at_tokens = dict(found.sources.select("source", "equal_tokens").iter_rows())
    assert at_tokens["bare"] is None
    assert at_tokens["a"] > at_tokens["b"] > 1
    assert "Not compared at equal tokens, since of fewer than 6,000 in all: bare." in found.notes


def test_a_union_with_what_is_new_is_more_diverse_and_with_the_same_is_not(found: Diversity) -> None:
    ratios = dict(found.unions.select("first", "ratio").iter_rows())
    assert ratios["few"] > 1.5
    assert ratios["few"] > ratios["many"]


def test_copies_are_found_and_rows_that_share_nothing_add_most(found: Diversity) -> None:
    closest = found.pairs.row(0, named=True)
    assert (closest["row"], closest["other_row"], closest["source"], closest["other_source"]) == (3, 50, "few", "many")
    assert closest["cosine"] == pytest.approx(1, abs=1e-3)
    assert found.rows["adds"].is_sorted(descending=True)
    assert set(found.rows.head(20)["source"]) == {"many"}


def test_the_same_run_and_seed_give_the_same_tables(made: Path, found: Diversity) -> None:
    again = gradprism.diversity(made, by="column:kind")
    assert again.sources.equals(found.sources)
    assert again.rows.equals(found.rows)


def test_files_are_written_and_replayed(made: Path) -> None:
    out = made.parent / "out"
    gradprism.diversity(made, by="column:kind", out=out)
    names = {f"{name}.{kind}" for name in ("sources", "unions", "pairs", "rows") for kind in ("parquet", "csv")}
    assert {file.name for file in out.iterdir() if not file.name.startswith(".")} == names | {
        "diversity.json", "recipe.yaml",
    }  # fmt: skip
    assert json.loads((out / "diversity.json").read_text())["about"]["dim"] == DIM
    before = (out / "sources.parquet").read_bytes()
    assert not command("run", out / "recipe.yaml").returncode
    assert (out / "sources.parquet").read_bytes() == before


def test_the_terminal_answers_first_and_fits_80_columns(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETTINGS, "COLUMNS", "80")
    shown = command("diversity", made, "--by", "column:kind").stdout
    assert shown.startswith("Vendi score ")
    assert "many" in shown
    assert "less diverse" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert json.loads(command("diversity", made, "--json").stdout)["sources"][0]["rows"] == 99


def test_two_runs_are_two_sources(made: Path) -> None:
    rng = np.random.default_rng(2)
    for name in ("one", "two"):
        sketched_run(made.parent / name, directions(rng, 10, 30))
    both = gradprism.diversity(made.parent / "one", f"other={made.parent / 'two'}")
    assert both.sources["source"].to_list() == ["all rows", "one", "other"]
    assert set(both.rows["run"]) == {"one", "other"}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"identity": {"prism.sketch_seed": 7}}, "prism.sketch_seed: 0 and 7"),
        ({"identity": {"text.template": "chat"}}, "text.template: paper and chat"),
        ({"identity": {"prism.projections": "q,k"}}, "prism.projections: q and q,k"),
        ({"model": "other-1b"}, "are of different models"),
    ],
)
def test_runs_without_a_common_space_are_refused_by_name(made: Path, tmp_path: Path, changed: dict, said: str) -> None:
    sketched_run(tmp_path / "other", directions(np.random.default_rng(0), 5, 30), **changed)
    with pytest.raises(GradPrismError, match=said):
        gradprism.diversity(made, tmp_path / "other")


def test_runs_of_other_dimensions_without_sketches_or_unfinished_are_refused(made: Path, tmp_path: Path) -> None:
    sketched_run(tmp_path / "short", directions(np.random.default_rng(0), 5, 30)[:, :128])
    with pytest.raises(GradPrismError, match=r"prism\.sketch: 256 and 128"):
        gradprism.diversity(made, tmp_path / "short")
    sketched_run(tmp_path / "part", directions(np.random.default_rng(0), 5, 30), rows=40)
    with pytest.raises(GradPrismError, match="30 of 40 rows"):
        gradprism.diversity(tmp_path / "part")
    assert gradprism.diversity(tmp_path / "part", incomplete=True).vendi > 3
    given_run(tmp_path / "without", np.ones((30, 1, 1)), [9] * 30)
    with pytest.raises(GradPrismError, match="--sketch 4096"):
        gradprism.diversity(tmp_path / "without")


def test_a_set_of_a_few_rows_is_measured(tmp_path: Path) -> None:
    sketched_run(tmp_path / "run", np.eye(2, DIM))
    few = gradprism.diversity(tmp_path / "run")
    assert few.vendi == pytest.approx(2, abs=0.05)
    assert few.sources["low"][0] is None
    render_diversity(few)
    sketched_run(tmp_path / "one", np.eye(1, DIM))
    with pytest.raises(GradPrismError, match="Expected at least 2"):
        gradprism.diversity(tmp_path / "one")


def test_an_unknown_column_is_named(made: Path) -> None:
    with pytest.raises(GradPrismError, match="no such column; it has kind"):
        gradprism.diversity(made, by="column:source")


def test_sketches_that_are_not_finite_are_left_out_and_counted(tmp_path: Path) -> None:
    values = directions(np.random.default_rng(0), 5, 30)
    values[3, 5], values[4] = np.inf, 0
    sketched_run(tmp_path / "run", values)
    found = gradprism.diversity(tmp_path / "run")
    assert found.sources["rows"][0] == 28
    assert "Left out: 2 rows without a gradient of finite size above 0." in found.notes
