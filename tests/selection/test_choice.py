"""Rows that differ, clusters in turn and metrics in turn, on made-up gradients whose structure is known."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.command import run as command
from tests.made_selections import candidates, places, selected
from tests.made_sketches import sketched_run

import gradprism
from gradprism import GradPrismError
from gradprism.core.settings import recipe_text
from gradprism.data.example_set import open_examples
from gradprism.data.settings import ReadSettings
from gradprism.measurement.settings import SpectraRecipe

COPIES = np.repeat(np.eye(5, 64), 4, axis=0)  # rows 0-3 are one gradient, 4-7 the next, ...
RISING = [float(i) for i in range(20)]


def test_of_copies_one_of_each_is_taken_first_and_the_best_of_each_where_by_ranks() -> None:
    given = candidates(m=RISING, sketches=COPIES)
    assert {place // 4 for place in places(selected(given, (), diverse=True, top=5))} == {0, 1, 2, 3, 4}
    assert places(selected(given, "m", diverse=True, top=5)) == {3, 7, 11, 15, 19}
    assert places(selected(given, "-m", diverse=True, top=5)) == {0, 4, 8, 12, 16}


def test_quality_trades_differences_for_rank() -> None:
    given = candidates(m=RISING, sketches=COPIES)
    weighed = [places(selected(given, "m", diverse=True, top=5, quality=weight)) for weight in (1, 10, 1e9)]
    assert weighed[:2] == [{3, 7, 11, 15, 19}] * 2
    assert weighed[2] == {14, 15, 17, 18, 19}  # copies of the best, before new ones of a low rank


def test_filters_and_budgets_count_first() -> None:
    given = candidates(m=RISING, length=[10.0] * 20, columns={"kind": ["a", "b"] * 10}, sketches=COPIES)
    made = selected(given, "m", diverse=True, where="kind = 'a'", tokens=35)
    assert places(made) == {18, 14, 10}
    assert made.reasons == {"--where does not hold": 10, "adds less than the rows taken": 7}
    both = selected(given, "m", diverse=True, top=4, stratify="kind")
    assert len(places(both)) == 4
    assert {place % 2 for place in places(both)} == {0, 1}


def test_length_is_taken_out_of_what_ranks() -> None:
    rng = np.random.default_rng(0)
    length = rng.integers(10, 500, 60).astype(float)
    given = candidates(m=(length + rng.normal(0, 5, 60)).tolist(), length=length.tolist(),
                       prompt_length=[9.0] * 60, sketches=rng.standard_normal((60, 64)))  # fmt: skip
    raw, controlled = (selected(given, "m", diverse=True, top=15, quality=1e4, given=how) for how in (None, "length"))
    chosen = [
        made.length_correlations.filter(pl.col("metric") == "chosen")["response"][0] for made in (raw, controlled)
    ]
    assert chosen[0] > 0.6 > 0.3 > abs(chosen[1])


def test_rows_without_a_gradient_are_left_out_with_the_reason() -> None:
    sketches = COPIES.copy()
    sketches[19] = np.nan
    made = selected(candidates(m=RISING, sketches=sketches), "m", diverse=True, top=5)
    assert places(made) == {3, 7, 11, 15, 18}
    assert made.reasons["no sketch of its gradient"] == 1


def test_the_chosen_rows_are_more_diverse_than_random_ones() -> None:
    rng = np.random.default_rng(0)
    common = rng.standard_normal((5, 128))[rng.integers(0, 5, 150)] + 0.3 * rng.standard_normal((150, 128))
    sketches = np.concatenate([common, rng.standard_normal((20, 128))])
    made = selected(candidates(m=[1.0] * 170, sketches=sketches), "m", diverse=True, top=25)
    (row,) = made.diversity.iter_rows(named=True)
    assert row["rows"] == 25
    assert row["vendi"] > 1.5 * row["random_high"] > 1.5 * row["random"]


def test_the_best_of_each_cluster_come_in_turn() -> None:
    rng = np.random.default_rng(0)
    sketches = COPIES + 0.01 * rng.standard_normal(COPIES.shape)
    given = candidates(m=RISING, sketches=sketches)
    best = {3, 7, 11, 15, 19}
    assert places(selected(given, "m", per_cluster=1, clusters=5)) == best
    assert places(selected(given, "m", per_cluster=2, clusters=5)) == best | {place - 1 for place in best}
    assert places(selected(given, "m", per_cluster=2, clusters=5, top=7)) == best | {18, 14}
    assert places(selected(given, "m", per_cluster=1, top=5)) == best  # as many clusters as that needs
    assert places(selected(given, "-m", per_cluster=1, clusters=5)) == {0, 4, 8, 12, 16}
    few = selected(given, "m", per_cluster=1, clusters=5, top=9)
    assert "at most 1 of each: 5 rows of 9 asked for" in few.notes[0]


def test_metrics_take_turns_and_no_row_is_taken_twice() -> None:
    a, b = [9.0, 8, 7, 6, 0, 0, 0, 1], [0.0, 9, 0, 0, 8, 7, 6, 5]
    given = candidates(a=a, b=b)
    assert places(selected(given, ("a", "b"), round_robin=True, top=2)) == {0, 1}
    assert places(selected(given, ("a", "b"), round_robin=True, top=4)) == {0, 1, 2, 4}
    assert places(selected(given, ("a", "b"), round_robin=True, top=8)) == set(range(8))
    made = selected(given, ("a", "b"), round_robin=True, top=4)
    assert "mean rank" not in made.table.columns
    assert made.length_correlations["metric"].to_list() == ["a", "b", "chosen"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"diverse": True, "per_cluster": 2, "top": 3}, "are different ways to choose"),
        ({"diverse": True, "bottom": 3}, "goes with none of --bottom"),
        ({"diverse": True, "where": "m > 1"}, "expected --top N or --tokens"),
        ({"round_robin": True, "top": 3}, "expected two --by METRIC or more"),
        ({"quality": 3, "top": 3}, "expected --diverse and --by"),
        ({"clusters": 3, "top": 3}, "are those of --per-cluster"),
        ({"diverse": True, "top": 3, "combine": "or"}, "expected --combine rank"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict, said: str) -> None:
    with pytest.raises(GradPrismError, match=said):
        selected(candidates(m=RISING, sketches=COPIES), "m", **options)


def record_of(run: Path) -> dict:
    """The record of a run without its checksum, to be changed."""
    record = json.loads((run / "run.json").read_text())
    record.pop("sha256", None)
    return record


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A run of 20 rows with sketches whose data are in a file."""
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps({"instruction": f"q {i}", "output": f"a {i}", "kind": "ab"[i % 2]}) + "\n"
                            for i in range(20)))  # fmt: skip
    run = sketched_run(tmp_path / "run", COPIES, np.arange(20) + 5).path
    record = record_of(run)
    record["data"]["fingerprint"] = open_examples(str(data), ReadSettings()).fingerprint
    (run / "run.json").write_text(json.dumps(record))
    (run / "recipe.yaml").write_text(recipe_text(SpectraRecipe.from_options((str(data),), str(run), model="given")))
    return run


def test_a_run_with_sketches_gives_a_card_with_its_diversity(made: Path, tmp_path: Path) -> None:
    chosen = gradprism.select(made, "length", diverse=True, top=5, out=tmp_path / "chosen.jsonl")
    assert chosen.rows_of("selected")["row"].to_list() == [3, 7, 11, 15, 19]
    card = (tmp_path / "chosen.card.md").read_text()
    assert "## Diversity" in card
    assert "diag(q) K diag(q)" in card
    assert "--diverse" in card
    shown = command("select", made, "--by", "length", "--diverse", "--top", 5)
    assert "Vendi score" in shown.stdout, shown.stderr


def test_without_sketches_the_command_that_makes_them_is_named(made: Path) -> None:
    data = made.parent / "rows.jsonl"
    with pytest.raises(GradPrismError, match="--sketch 4096"):
        gradprism.select(data, "length", diverse=True, top=5)
    record = record_of(made)
    del record["identity"]["prism.sketch"]
    (made / "run.json").write_text(json.dumps(record))
    with pytest.raises(GradPrismError, match="--sketch 4096"):
        gradprism.select(made, "length", per_cluster=2)
