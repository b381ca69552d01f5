"""Correlations of a run's metrics against scipy on columns that are put together here."""

import io
import json
import re
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import false_discovery_control, rankdata, spearmanr
from tests.made_runs import measured_run, score_table, scored_run

from gradprism import GradPrismError, Run
from gradprism.core.console import HarmlessConsole
from gradprism.correlation.correlations import correlate, correlation_table, default_metrics
from gradprism.correlation.render import render_correlations
from gradprism.correlation.tables import CORRELATIONS
from gradprism.prism.measures import MEASURES
from gradprism.runs.scores import ScoreWriter, locked_run

N, LAYERS = 24, 3
NOISE = np.random.default_rng(0).random((N, LAYERS, 2, len(MEASURES)))
STARS = [float(value) if index % 7 else None for index, value in enumerate(np.random.default_rng(1).integers(0, 5, N))]
REWARD = np.random.default_rng(2).normal(size=N).tolist()


def made_up(measure: str, row: int, layer: int, projection: str) -> float:
    """Nuclear norms fall with the row (as lengths grow), all else is noise."""
    noise = NOISE[row, layer, "qv".index(projection), MEASURES.index(measure)]
    return float(100 - row + 9 * noise if measure == "nuclear_norm" else 1 + noise)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Row 1 is skipped; lengths grow with the row; one column is constant, one nearly empty, one a text."""
    made = measured_run(
        tmp_path_factory.mktemp("correlate") / "run", N, LAYERS, made_up,
        stars=STARS, same=[3] * N, rare=[1, 2, 3] + [None] * (N - 3), name=["x"] * N,
    )  # fmt: skip
    with locked_run(made.path, {"data": made.record["data"]}) as held:
        table = score_table([(row, str(row)) for row in range(N)], REWARD)
        ScoreWriter(held, "reward", {"identity": {}}, "").publish(0, table)
    return made


def columns() -> dict[str, np.ndarray]:
    """What the run holds of each row, put together from the numbers it was made of."""
    rows = np.arange(N, dtype=float)
    spectral = {
        (measure, name): np.array([np.mean([made_up(measure, row, layer, p) for layer in range(LAYERS) for p in name])
                                   for row in range(N)])
        for measure in MEASURES for name in ("q", "v", "qv")
    }  # fmt: skip
    measured = {f"{m}:{'mean' if p == 'qv' else p}": np.where(rows == 1, np.nan, v) for (m, p), v in spectral.items()}
    return {
        **measured,
        "length": rows + 10,
        "prompt_length": rows,
        "loss": np.where(rows == 1, np.nan, rows / 10),
        "column:stars": np.array(STARS, dtype=float),
        "reward": np.array(REWARD),
    }


def expected(names: tuple[str, ...]) -> pl.DataFrame:
    known, rows = columns(), []
    for x, y in combinations(names, 2):
        both = np.isfinite(known[x]) & np.isfinite(known[y])
        found = spearmanr(known[x][both], known[y][both])
        rows.append({"x": x, "y": y, "n": int(both.sum()), "spearman": found.statistic, "p": found.pvalue})
    table = pl.DataFrame(rows)
    return table.with_columns(q=false_discovery_control(table["p"].to_numpy()))


def test_every_pair_equals_scipy(run: Run) -> None:
    found = correlate(run)
    assert sorted(found.names) == sorted(
        ["reward", "length", "prompt_length", "loss", "column:stars", *(f"{measure}:mean" for measure in MEASURES),
         "nuclear_norm:q", "nuclear_norm:v", "effective_rank:q", "effective_rank:v"]
    )  # fmt: skip
    assert found.table.schema == CORRELATIONS
    wanted = expected(found.names)
    got = found.table.select(wanted.columns)
    assert got.select("x", "y", "n").equals(wanted.select("x", "y", "n"))
    np.testing.assert_allclose(got["spearman"], wanted["spearman"], rtol=1e-9)
    np.testing.assert_allclose(got.select("p", "q"), wanted.select("p", "q"), rtol=1e-6, atol=1e-12)


def test_given_the_lengths(run: Run) -> None:
    """Both lengths have the same ranks here, so one of them is all that is given, at the cost of two."""
    found = correlate(run).table.filter(
        pl.col("x").is_in(["reward", "nuclear_norm:q"]), pl.col("y").is_in(["reward", "nuclear_norm:q"])
    )
    rows = [row for row in range(N) if row != 1]
    ranks = rankdata([columns()["reward"][rows], columns()["nuclear_norm:q"][rows], rows], axis=1)
    precision = np.linalg.inv(np.corrcoef(ranks))
    value = -precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1])
    assert found["partial"].to_list() == [pytest.approx(value)]
    assert abs(value - found["spearman"][0]) > 0.01
    reach = 1.959963984540054 * np.sqrt((1 + value**2 / 2) / (23 - 2 - 3))
    assert found["partial_low"][0] == pytest.approx(np.tanh(np.arctanh(value) - reach))


def test_lengths_are_correlated_but_not_given_themselves(run: Run) -> None:
    table = correlate(run).table
    of_lengths = table.filter(pl.any_horizontal(pl.col("x", "y").is_in(["length", "prompt_length", "loss"])))
    assert of_lengths["spearman"].null_count() == 0
    assert of_lengths["partial"].null_count() == of_lengths["partial_q"].null_count() == of_lengths.height
    others = table.join(of_lengths, on=["x", "y"], how="anti")
    assert others["partial"].null_count() == 0
    np.testing.assert_allclose(others["partial_q"], false_discovery_control(others["partial_p"].to_numpy()))


@pytest.mark.slow
def test_what_says_nothing_is_left_out_and_named(run: Run) -> None:
    found = correlate(run)
    (note,) = found.notes
    assert note == "Left out: column:same is 3 throughout; column:rare has 3 values, fewer than 4."
    assert "column:same" in default_metrics(run)
    assert note in repr(found)
    assert "column:stars" in found._repr_html_()


def test_chosen_metrics(run: Run) -> None:
    found = correlate(run, ["reward", "effective_rank:q@0-1", "reward"])
    assert sorted(found.names) == ["effective_rank:q@0-1", "reward"]
    assert found.table.height == 1
    assert found.table["partial"].null_count() == 0  # lengths are given although they were not asked for


def test_matrices(run: Run) -> None:
    found = correlate(run)
    raw, partial = found.raw, found.partial
    assert raw.columns == partial.columns == ["metric", *found.names]
    assert tuple(raw["metric"]) == found.names
    numbers = raw.drop("metric").to_numpy()
    np.testing.assert_array_equal(numbers, numbers.T)
    assert (np.diag(numbers) == 1).all()
    for x, y, value in found.table.select("x", "y", "spearman").iter_rows():
        assert raw.filter(metric=x)[y].to_list() == [value]
    assert partial["length"].null_count() == len(found.names)
    assert partial.filter(metric="reward")["reward"].to_list() == [1.0]


def test_files(run: Run, tmp_path: Path) -> None:
    found = correlate(run)
    found.save(tmp_path / "out")
    assert pl.read_parquet(tmp_path / "out" / "correlations.parquet").equals(found.table)
    read = pl.read_csv(tmp_path / "out" / "correlations.csv", schema=CORRELATIONS)
    assert read.equals(found.table)
    assert pl.read_csv(tmp_path / "out" / "matrix_raw.csv").equals(found.raw)
    assert (tmp_path / "out" / "matrix_partial.csv").read_text().startswith("metric,")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(GradPrismError, match="file"):
        found.save(tmp_path / "file")


def data_file(path: Path, rows: int) -> Path:
    path.write_text("\n".join(json.dumps({"prompt": f"p{i}", "completion": "c", "stars": i % 4}) for i in range(rows)))
    return path


def test_a_run_of_scores_alone(tmp_path: Path) -> None:
    scores = np.random.default_rng(3).normal(size=8).tolist()
    run = scored_run(tmp_path / "run", data_file(tmp_path / "rows.jsonl", 8), reward=scores)
    found = correlate(run)
    assert sorted(found.names) == ["column:stars", "reward"]
    assert found.table["spearman"][0] == pytest.approx(spearmanr(scores, [i % 4 for i in range(8)]).statistic)
    assert found.table["partial"].null_count() == 1
    assert found.notes == ("No correlation is length-controlled: the run does not know prompt_length and length.",)


def test_scores_that_know_the_lengths(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    prompt, response, reward, ifd = (
        random.integers(1, 100, 30),
        random.integers(1, 100, 30),
        *random.normal(size=(2, 30)),
    )
    lengths = [{"value": float(r), "n_prompt_tokens": int(p)} for p, r in zip(prompt, response, strict=True)]
    data = data_file(tmp_path / "rows.jsonl", 30)
    run = scored_run(tmp_path / "run", data, reward=reward.tolist(), ifd=ifd.tolist(), length=lengths)
    found = correlate(run, ["reward", "ifd"])
    precision = np.linalg.inv(np.corrcoef(rankdata([reward, ifd, prompt, response], axis=1)))
    expected = -precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1])
    assert found.table["partial"].to_list() == [pytest.approx(expected)]


def test_rows_that_are_still_to_come(tmp_path: Path) -> None:
    data = data_file(tmp_path / "rows.jsonl", 8)
    run = scored_run(tmp_path / "run", data, reward=[0.3, 0.1, 0.4, 0.1, 0.5], ifd=[float(i) for i in range(8)])
    with pytest.raises(GradPrismError, match=r"is incomplete: reward has 5 of 8 rows. Finish it, or"):
        correlate(run, ["reward", "ifd"])
    found = correlate(run, ["reward", "ifd"], incomplete_ok=True)
    assert found.table["n"].to_list() == [5]
    assert "reward has 5 of 8 rows" in found.notes[0]
    assert correlate(run, ["ifd", "column:stars"]).table["n"].to_list() == [8]


def test_nothing_to_correlate(run: Run) -> None:
    with pytest.raises(GradPrismError, match=r"two metrics that vary. column:same is 3 throughout"):
        correlate(run, ["reward", "column:same"])
    with pytest.raises(GradPrismError, match="reward is the only one"):
        correlate(run, ["reward"])
    with pytest.raises(GradPrismError, match="Did you mean 'reward'"):
        correlate(run, ["rewards"])


def test_a_run_of_nothing(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text(json.dumps({"prompt": "p", "completion": "c"}))
    with pytest.raises(GradPrismError, match="holds nothing to correlate"):
        correlate(scored_run(tmp_path / "run", data))


def test_like_columns_stand_together() -> None:
    random = np.random.default_rng(5)
    causes = random.normal(size=(2, 200))
    values = pl.DataFrame(
        {f"{name}{i}": causes[i % 2] + random.normal(size=200) / 3 for i, name in enumerate("abcdef")}
    )
    table, order = correlation_table(values.with_columns(g=-pl.col("a0")), lengths_of(200))
    assert {"b1", "d3", "f5"} in ({*order[:3]}, {*order[-3:]})
    assert [(x, y) for x, y in table.select("x", "y").iter_rows()] == list(combinations(order, 2))
    assert abs(order.index("a0") - order.index("g")) == 1  # however they are signed


def lengths_of(n: int) -> pl.DataFrame:
    random = np.random.default_rng(6)
    return pl.DataFrame({name: random.integers(1, 99, n) for name in ("n_prompt_tokens", "n_response_tokens")})


def test_a_length_that_is_constant_is_no_control() -> None:
    random = np.random.default_rng(7)
    values = pl.DataFrame({"a": random.normal(size=20), "b": random.normal(size=20)})
    lengths = lengths_of(20).with_columns(n_prompt_tokens=pl.lit(1))
    table, _ = correlation_table(values, lengths)
    value, reach = table["partial"][0], 1.959963984540054 / np.sqrt(20 - 1 - 3)
    expected_high = np.tanh(np.arctanh(value) + reach * np.sqrt(1 + value**2 / 2))
    assert table["partial_high"][0] == pytest.approx(expected_high)


@pytest.mark.parametrize("n_columns", [0, 1])
def test_columns_too_few_for_a_pair(n_columns: int) -> None:
    values = pl.DataFrame({"a": [1.0, 2.0, 3.0, 5.0], "same": [1] * 4}).select(["a", "same"][1 - n_columns :][:1])
    table, order = correlation_table(values, lengths_of(4))
    assert table.schema == CORRELATIONS
    assert table.is_empty()
    assert len(order) == n_columns


@pytest.mark.slow  # half a second or more
def test_of_many_columns_the_first_are_taken_and_a_note_says_how_many_are_not(tmp_path: Path) -> None:
    values = np.random.default_rng(3).random((N, 300))
    wide = measured_run(tmp_path / "wide", N, LAYERS, made_up, **{f"c{i}": values[:, i].tolist() for i in range(300)})
    assert sum(name.startswith("column:c") for name in default_metrics(wide)) == 300
    assert len(default_metrics(wide)) == 312
    found = correlate(wide)
    assert len(found.names) == 200
    (note,) = found.notes
    assert note == (
        f"Left out: 112 of 300 columns of the data, column:{wide.columns.columns[190]} and those after it, since at "
        "most 200 metrics are correlated where none is named. Choose others with --metric NAME,NAME."
    )
    named = correlate(wide, ["column:c299", "column:c298", "length"])
    assert (sorted(named.names), named.notes) == (["column:c298", "column:c299", "length"], ())
    with pytest.raises(GradPrismError, match=r"1,001 metrics are named\. Expected at most 1,000: choose some of them"):
        correlate(wide, [f"column:c{i}" for i in range(1001)])


def test_the_terminal_lists_pairs_and_the_matrix_without_numbers(run: Run) -> None:
    found = correlate(run)
    for matrix in (False, True):
        console = HarmlessConsole(width=80, file=io.StringIO())
        console.print(render_correlations(found, 80, matrix=matrix))
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert max(map(len, text.splitlines())) <= 80
        assert ("Hundredths" in text) == matrix
        assert "…" not in text
        assert not re.search(r"^ *1 +2 +3", text, re.MULTILINE)
    strongest = found.table.filter(
        pl.col("partial").is_not_null(), ~(pl.col("x").str.contains(":") & pl.col("y").str.contains(":"))
    ).sort(pl.col("partial").abs(), descending=True)
    first = next(line for line in text.partition("strongest first")[2].splitlines() if strongest["x"][0] in line)
    assert strongest["y"][0].removesuffix(":mean") in first
