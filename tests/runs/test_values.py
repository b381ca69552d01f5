"""Every name for a number of a row, against values worked out by hand or by loops."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tests.made_runs import measured_run, score_table, scored_run

from gradprism import GradPrismError, Run
from gradprism.prism.measures import MEASURES
from gradprism.runs.scores import ScoreWriter, locked_run
from gradprism.runs.values import is_ifd, metric_names, metric_table, metric_values, score_behind

N, LAYERS, PROJECTIONS = 9, 5, ("q", "v")
OWN = {"kind": [*"abcabcabc"], "note": [1, 2, 3, 4, None, 6, 7, 8, 9], "mixed": [1, "2.5", "x", True, *[None] * 5]}


def made_up(measure: str, row: int, layer: int, projection: str) -> float | None:
    """A number that says where it stands; the gradient of layer 3 in row 2 is zero."""
    if (row, layer) == (2, 3) and measure == "effective_rank":
        return None
    return MEASURES.index(measure) * 1000 + row * 100 + layer * 10 + PROJECTIONS.index(projection)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return measured_run(tmp_path_factory.mktemp("measured") / "run", N, LAYERS, made_up, **OWN)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    rows = [{"prompt": f"p{i}", "completion": "c" * i, "stars": i * 2, "row": 50 + i, "name": "x"} for i in range(4)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Run:
    ifd = [
        {"value": 0.5, "ppl": 3.0, "n_tokens": 7, "truncated": True, "raw": "text"},
        {"value": 1.5, "ppl": math.inf, "n_tokens": 8, "truncated": False, "raw": "text"},
        {"value": None, "ppl": None, "n_tokens": None, "truncated": None, "raw": None, "reason": "empty response"},
    ]
    return scored_run(tmp_path_factory.mktemp("scored") / "run", data, ifd=ifd, reward=[3.0, math.nan, None, -1.0])


def values(run: Run, spec: str) -> dict[int, float | None]:
    return dict(metric_values(run, spec).iter_rows())


def reasons(run: Run, spec: str) -> dict[int, str | None]:
    return dict(metric_table(run, spec).select("row", "reason").iter_rows())


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("projection", [*PROJECTIONS, "mean"])
@pytest.mark.parametrize(("layers", "picked"), [("", range(5)), ("@1-3", range(1, 4)), ("@4", [4]), ("@0-4", range(5))])
def test_a_spectral_measure_is_its_mean_over_layers(
    measured: Run, measure: str, projection: str, layers: str, picked: Any
) -> None:
    names = PROJECTIONS if projection == "mean" else (projection,)
    found = values(measured, f"{measure}:{projection}{layers}")
    for row in range(N):
        cells = [made_up(measure, row, layer, name) for layer in picked for name in names]
        known = [cell for cell in cells if cell is not None]
        expected = None if row == 1 or not known else pytest.approx(sum(known) / len(known))
        assert found[row] == expected


@pytest.mark.parametrize("measure", ["leading_share", "nuclear_norm_over_loss"])
@pytest.mark.parametrize(("layers", "picked"), [("", range(5)), ("@1-3", range(1, 4))])
def test_a_quotient_is_that_of_each_gradient(measured: Run, measure: str, layers: str, picked: Any) -> None:
    found = values(measured, f"{measure}:v{layers}")
    losses = dict(measured.examples.select("row", "loss").iter_rows())
    for row in range(N):
        above = "spectral_norm" if measure == "leading_share" else "nuclear_norm"
        cells = []
        for layer in picked:
            size = made_up("nuclear_norm", row, layer, "v") if measure == "leading_share" else losses[row]
            value = made_up(above, row, layer, "v")
            if size and value is not None:
                cells.append(value / size)
        assert found[row] == (None if row == 1 or not cells else pytest.approx(sum(cells) / len(cells)))


def test_the_gradient_of_a_layer_is_that_of_all_its_projections_together(measured: Run) -> None:
    found = values(measured, "gradient_l2:all")
    for row in range(N):
        norms = [math.hypot(*(made_up("frobenius_norm", row, layer, name) or 0.0 for name in PROJECTIONS))
                 for layer in range(LAYERS)]  # fmt: skip
        assert found[row] == (None if row == 1 else pytest.approx(sum(norms) / LAYERS))
    with pytest.raises(GradPrismError, match=r"Unknown metric 'gradient_l2:q'.*gradient_l2:all"):
        metric_values(measured, "gradient_l2:q")


def test_a_skipped_row_has_no_value_and_the_reason(measured: Run) -> None:
    assert values(measured, "effective_rank:q")[1] is None
    assert reasons(measured, "effective_rank:q") == {row: "nothing to score" if row == 1 else None for row in range(N)}
    assert reasons(measured, "effective_rank:q@3")[2] == "no value"


def test_lengths_and_losses_come_from_the_examples(measured: Run) -> None:
    assert values(measured, "length") == {row: row + 10 for row in range(N)}
    assert values(measured, "prompt_length") == {row: row for row in range(N)}
    assert values(measured, "loss") == {row: None if row == 1 else row / 10 for row in range(N)}
    expected = {row: None if row == 1 else pytest.approx(math.exp(row / 10)) for row in range(N)}
    assert values(measured, "perplexity") == expected


def test_columns_of_the_data(measured: Run) -> None:
    assert values(measured, "column:note") == dict(enumerate(OWN["note"]))
    assert [*values(measured, "column:mixed").values()][:4] == [1.0, 2.5, None, None]
    said = reasons(measured, "column:mixed")
    assert (said[1], said[2], said[4]) == (None, "not a number", "the row has no such value")
    with pytest.raises(GradPrismError, match="column:kind holds no numbers; the first value is 'a'"):
        metric_values(measured, "column:kind")


def test_scores_and_their_own_columns(scored: Run) -> None:
    assert values(scored, "ifd") == {0: 0.5, 1: 1.5, 2: None}  # row 3 has not been scored
    assert reasons(scored, "ifd") == {0: None, 1: None, 2: "empty response"}
    assert values(scored, "ifd.n_tokens") == {0: 7, 1: 8, 2: None}
    assert values(scored, "ifd.truncated") == {0: 1, 1: 0, 2: None}


def test_what_is_not_finite_is_no_value(scored: Run) -> None:
    assert values(scored, "reward") == {0: 3.0, 1: None, 2: None, 3: -1.0}
    assert reasons(scored, "reward") == {0: None, 1: "not a finite number", 2: "made up", 3: None}
    assert reasons(scored, "ifd.ppl")[1] == "not a finite number"


def test_a_run_of_scores_alone_finds_columns_in_the_data_and_lengths_in_the_scores(scored: Run) -> None:
    assert values(scored, "column:stars") == {0: 0, 1: 2, 2: 4, 3: 6}
    assert values(scored, "column:row") == {0: 50, 1: 51, 2: 52, 3: 53}
    assert values(scored, "length") == {0: 7, 1: 8, 2: None}


def test_a_metric_that_was_scored_comes_before_the_examples(tmp_path: Path) -> None:
    run = measured_run(tmp_path / "run", 3, 1, made_up)
    with locked_run(run.path, {"data": run.record["data"]}) as held:
        table = score_table([(row, str(row)) for row in range(3)], [7.0, 7.0, 7.0])
        ScoreWriter(held, "loss", {"identity": {}}, "").publish(0, table)
    assert values(run, "loss") == {0: 7, 1: 7, 2: 7}
    assert values(run, "perplexity")[0] == pytest.approx(math.exp(7))


def test_known_metrics_are_those_that_can_be_had(measured: Run, scored: Run) -> None:
    for run in (measured, scored):
        assert all(metric_values(run, spec).height for spec in metric_names(run))
    assert metric_names(scored) == [
        "ifd", "reward", "ifd.ppl", "ifd.n_tokens", "ifd.truncated", "length", "column:stars", "column:row",
    ]  # fmt: skip
    assert {"nuclear_norm:mean", "effective_rank:v", "loss", "column:note"} <= {*metric_names(measured)}
    assert "column:kind" not in metric_names(measured)


@pytest.mark.parametrize(
    ("spec", "near"),
    [
        ("effectve_rank:q", "effective_rank:q"),
        ("effective_rank:k", "effective_rank:v"),
        ("stars", "column:stars"),
        ("rewards", "reward"),
        ("ifd.pl", "ifd.ppl"),
        ("ifd.raw", "ifd"),
        ("column:star", "column:stars"),
    ],
)
def test_an_unknown_name_gets_the_nearest_and_what_there_is(measured: Run, scored: Run, spec: str, near: str) -> None:
    run = measured if "rank" in spec else scored
    with pytest.raises(GradPrismError, match=f"Unknown metric '{spec}'. Did you mean '{near}") as raised:
        metric_values(run, spec)
    assert "length" in str(raised.value)
    assert "{q,v,mean}" in str(raised.value) or run is scored


@pytest.mark.parametrize("layers", ["@5", "@3-1", "@0-5", "@99-100"])
def test_layers_that_were_not_measured(measured: Run, layers: str) -> None:
    with pytest.raises(GradPrismError, match="within 0-4"):
        metric_values(measured, f"nuclear_norm:q{layers}")


def test_a_name_nothing_is_like(scored: Run) -> None:
    with pytest.raises(GradPrismError, match=r"Unknown metric 'zzzz'.\nThere are ifd, reward"):
        metric_values(scored, "zzzz")


def test_data_that_changed_is_refused(tmp_path: Path, data: Path) -> None:
    copy = tmp_path / "copy.jsonl"
    copy.write_text(data.read_text())
    run = scored_run(tmp_path / "run", copy, reward=[1.0, 2.0, 3.0, 4.0])
    copy.write_text(data.read_text().replace("p1", "another"))
    with pytest.raises(GradPrismError, match="has changed since"):
        metric_values(run, "column:stars")
    assert metric_names(run) == ["reward"]
    copy.unlink()
    with pytest.raises(GradPrismError, match="No such file"):
        metric_values(run, "column:stars")


@pytest.mark.parametrize("name", ["ifd", "ifd_qwen", "ifd.ifd_loss", "column:ifd_gpt2", "IFD"])
def test_what_is_an_ifd(name: str) -> None:
    assert is_ifd(name)


@pytest.mark.parametrize("name", ["ifd.ppl", "reward", "column:ppl", "effective_rank:q@1-2", "iffy", "mifd"])
def test_what_is_none(name: str) -> None:
    assert not is_ifd(name)


@pytest.mark.parametrize(
    ("spec", "scores"),
    [
        ("ifd", "ifd"), ("ifd.ppl", "ifd"), ("length", "ifd"), ("prompt_length", None), ("loss", None),
        ("column:stars", None), ("effective_rank:q", None), ("no such", None),
    ],
)  # fmt: skip
def test_the_scores_behind_a_metric_of_scores_alone(scored: Run, spec: str, scores: str | None) -> None:
    assert score_behind(scored, spec) == scores


def test_the_scores_behind_a_metric_beside_spectra(tmp_path: Path) -> None:
    made = measured_run(tmp_path / "run", N, LAYERS, made_up)
    assert score_behind(made, "length") is None  # of the spectra's own examples
    with locked_run(tmp_path / "run", {"data": made.record["data"]}) as run:
        ScoreWriter(run, "loss", {"identity": {}}, "").publish(0, score_table([(0, "id 0")], [1.0]))
    assert [score_behind(made, name) for name in ("loss", "perplexity")] == ["loss", "loss"]
