"""Windows of equally many tokens: which are proposed, and what they decide, on a real tiny model."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.made_groups import given_run

import gradprism
from gradprism.comparison.group_matrix import read_groups
from gradprism.comparison.grouping import whole_runs
from gradprism.comparison.windows import Window, window_of


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> dict[str, gradprism.Run]:
    """Two groups whose responses hardly overlap: 4 to 9 tokens, and 40 to 80."""
    folder, random = tmp_path_factory.mktemp("apart"), np.random.default_rng(0)
    values = random.lognormal(1.0, 0.2, (20, 4, 5))
    return {
        "short": given_run(folder / "short", 2 * values, np.resize([4, 5, 6, 7, 8, 9], 20)),
        "long": given_run(folder / "long", values, random.integers(40, 80, 20)),
    }


def test_half_of_every_group_remain_in_the_window_that_is_proposed(apart: dict[str, gradprism.Run]) -> None:
    groups, _ = read_groups(whole_runs(apart), [])
    window = window_of(groups)
    assert window is not None
    assert window.response_tokens == 6
    tokens = [group.examples["n_response_tokens"].to_numpy() for group in groups]
    assert all((each >= 6).mean() >= 0.5 for each in tokens)
    assert not all((each >= 7).mean() >= 0.5 for each in tokens)
    assert window_of(groups, 1000) is None
    assert [window.rows_left(group) <= 20 for group in groups] == [True, True]


def test_an_unclear_finding_names_the_window_and_the_rows_that_remain(apart: dict[str, gradprism.Run]) -> None:
    found = {each.measure: each for each in gradprism.compare(**apart, resamples=199).findings}
    assert found["nuclear_norm"].kind == "unclear"
    advice = found["nuclear_norm"].advice
    assert advice.startswith("compare --window 6 could decide")
    assert "of 20 short rows" in advice
    assert "--response-tokens 6" in advice


def test_a_run_that_cannot_be_measured_again_is_noted(apart: dict[str, gradprism.Run]) -> None:
    compared = gradprism.compare(**apart, resamples=199, window=6)
    (note,) = [note for note in compared.notes if note.startswith("No windows could be measured. The run ")]
    assert "--response-tokens 6 --out " in note
    assert compared.effects["window_effect"].null_count() == compared.effects.height
    none = gradprism.compare(**apart, resamples=199, window=500)
    assert any("no row has 500 response tokens" in note for note in none.notes)


@pytest.mark.slow  # measures a run twice
def test_windows_are_measured_and_decide_where_lengths_do_not_overlap(tiny_checkpoint: Path, tmp_path: Path) -> None:
    random, words = (
        np.random.default_rng(1),
        ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "one", "more", "dog"],
    )
    rows = [
        {"instruction": " ".join(random.choice(words, 12)), "output": " ".join(random.choice(words, n)), "kind": kind}
        for kind, n in [("short", 8)] * 8 + [("long", 90)] * 8
    ]
    data = tmp_path / "data.json"
    data.write_text(json.dumps(rows))
    run = gradprism.spectra(str(data), str(tiny_checkpoint), out=tmp_path / "run")
    compared = gradprism.compare(run, by="column:kind", window=6, resamples=199)
    windows = [path for path in tmp_path.iterdir() if "-window-" in path.name]
    assert len(windows) == 1
    made = gradprism.open_run(windows[0])
    tokens = made.scan("examples").filter(pl.col("status") == "ok").collect()
    assert set(tokens["n_response_tokens"]) == {6}
    assert tokens["n_prompt_tokens"].n_unique() == 1
    means = compared.effects.filter(pl.col("layer").is_null(), measure="nuclear_norm", projection="mean")
    row = means.row(0, named=True)
    values = made.scan("spectra").group_by("row").agg(pl.col("nuclear_norm").mean()).sort("row").collect()
    logs = np.log(values["nuclear_norm"].to_numpy())
    first = values["row"].to_numpy() < 8 if row["first"] == "short" else values["row"].to_numpy() >= 8
    assert row["window_effect"] == pytest.approx(logs[first].mean() - logs[~first].mean())
    assert min(row["window_n_first"], row["window_n_second"]) >= 7  # the shortest prompts are left out
    assert "in the first 6 tokens" in compared.findings[0].headline
    assert compared.findings[0].advice == ""
    data.write_text(json.dumps([*rows[1:], rows[0]]))
    (note,) = [
        each for each in gradprism.compare(run, by="column:kind", window=7, resamples=199).notes if "--out" in each
    ]
    assert "have changed since it was measured" in note
    assert len([path for path in tmp_path.iterdir() if "-window-" in path.name]) == 1  # nothing was measured
    assert str(Window(3, 6)) == "the first 6 response tokens after the last 3 of the prompt"
