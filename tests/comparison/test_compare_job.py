"""`gradprism compare` and `gradprism.compare` on runs as a user has them: how groups are made, and what is refused."""

import io
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from tests.command import run as gradprism_command
from tests.made_groups import given_run

import gradprism
from gradprism import GradPrismError
from gradprism.comparison.comparison import Comparison
from gradprism.comparison.render import render_comparison
from gradprism.prism.measures import MEASURES
from gradprism.runs.run import open_run
from gradprism.runs.values import metric_values

pytestmark = pytest.mark.slow  # a comparison for each

RANDOM = np.random.default_rng(11)


def values(n: int, layers: int = 2) -> np.ndarray:
    return RANDOM.lognormal(1, 0.3, (n, 2, layers))


def groups(compared: Comparison) -> dict[str, int]:
    return {group.name: group.n for group in compared.groups}


def quick(*runs: object, **options: object) -> Comparison:
    return gradprism.compare(*runs, **{"resamples": 199, **options})


@pytest.fixture
def one(tmp_path: Path) -> Path:
    kinds = ["maths"] * 8 + ["poem"] * 7 + ["rare"]
    quality = [float(i // 2) for i in range(16)]
    given_run(tmp_path / "one", values(16), range(30, 46), kind=kinds, quality=quality, flag=[i % 2 for i in range(16)])
    return tmp_path / "one"


def test_split_by_a_column_and_a_value_of_one_row_is_left_out_with_a_note(one: Path) -> None:
    compared = quick(one, by="column:kind")
    assert groups(compared) == {"maths": 8, "poem": 7}
    assert any("kind = rare is left out: one row" in note for note in compared.notes)
    assert compared.contrasts == (("maths", "poem"),)
    assert groups(quick(one, by="kind")) == {"maths": 8, "poem": 7}
    assert quick(one, by="column:kind", groups=("poem", "maths")).contrasts == (("poem", "maths"),)


def test_split_by_quantiles_of_a_metric_takes_both_ends(one: Path) -> None:
    compared = quick(one, by="column:quality", quantile=0.25)
    rows = {name: sorted(part["row"].to_list()) for (name,), part in compared.examples.group_by("group")}
    assert rows == {"high": [12, 13, 14, 15], "low": [0, 1, 2, 3]}
    assert groups(quick(one, by="length")) == {"high": 4, "low": 4}  # a quarter where nothing is said
    assert groups(quick(one, by="effective_rank:q", quantile=0.5)) == {"high": 8, "low": 8}
    assert "at least 6: the highest 0.25 of rows" in compared.groups[0].rule


def test_equal_values_at_the_cut_are_drawn_by_seed_alone(one: Path) -> None:
    def rows(seed: int) -> list[int]:
        compared = quick(one, by="column:flag", quantile=0.25, seed=seed)
        return compared.examples.filter(group="high")["row"].to_list()

    assert rows(1) == rows(1) != rows(2)


def test_more_than_four_groups_are_compared_with_one(tmp_path: Path) -> None:
    kinds = [name for name in "abcde" for _ in range(3)]
    given_run(tmp_path / "run", values(15), range(30, 45), kind=kinds)
    compared = quick(tmp_path / "run", by="column:kind")
    assert compared.contrasts == (("a", "b"), ("a", "c"), ("a", "d"), ("a", "e"))
    assert any("--against NAME" in note for note in compared.notes)
    compared = quick(tmp_path / "run", by="column:kind", against="c")
    assert compared.contrasts == (("a", "c"), ("b", "c"), ("d", "c"), ("e", "c"))


def refused(*runs: object, **options: object) -> str:
    with pytest.raises(GradPrismError) as problem:
        quick(*runs, **options)
    return str(problem.value)


def test_a_group_of_one_row_is_refused(tmp_path: Path) -> None:
    a, b = given_run(tmp_path / "a", values(5), range(5, 10)), given_run(tmp_path / "b", values(1), [9])
    assert "group b" in refused(a=a, b=b)
    assert "Expected at least 2" in refused(a=a, b=b)


def test_groups_of_different_models_are_refused_by_name(tmp_path: Path) -> None:
    a = given_run(tmp_path / "a", values(5), range(5, 10), model="one-1b")
    b = given_run(tmp_path / "b", values(5), range(5, 10), model="other-7b")
    text = refused(a=a, b=b)
    assert "one-1b" in text
    assert "other-7b" in text
    assert "different models" in text


def test_an_incomplete_run_is_refused_unless_asked_for_and_then_marked(tmp_path: Path) -> None:
    a = given_run(tmp_path / "a", values(5), range(5, 10))
    b = given_run(tmp_path / "b", values(5), range(5, 10), rows=9)
    assert "incomplete: 5 of 9 rows" in refused(a=a, b=b)
    compared = quick(a=a, b=b, incomplete=True)
    assert any(note.startswith("INCOMPLETE") for note in compared.notes)
    assert compared.group("b").pending == 4


def test_where_no_rows_match_in_length_the_figures_are_missing_and_it_is_said(tmp_path: Path) -> None:
    a = given_run(tmp_path / "a", values(6), range(10, 16))
    b = given_run(tmp_path / "b", values(6), range(1000, 1006))
    compared = quick(a=a, b=b)
    means = compared.effects.filter(pl.col("layer").is_null() & pl.col("projection").is_not_null())
    assert means["matched_pairs"].to_list() == [0] * means.height
    assert means["matched_difference"].null_count() == means["matched_q"].null_count() == means.height
    assert any("0 pairs" in note for note in compared.notes)
    assert all("no rows could be matched" in finding.details for finding in compared.findings)


def test_missing_measures_are_gaps_and_never_zeros(tmp_path: Path) -> None:
    holes = values(6, 3)
    holes[0, 0, 1] = np.nan
    nothing = np.full((6, 2, 3), np.nan)
    from gradprism.prism.measures import MEASURES

    given = dict.fromkeys(MEASURES, values(6, 3)) | {"effective_rank": holes, "stable_rank": nothing}
    a = given_run(tmp_path / "a", given, range(10, 16))
    b = given_run(tmp_path / "b", values(6, 3), range(10, 16))
    compared = quick(a=a, b=b)
    cell = {"measure": "effective_rank", "projection": "q", "layer": 1}
    level = compared.levels.filter(group="a", **cell).row(0, named=True)
    assert level["n"] == 5
    assert level["mean"] == pytest.approx(holes[1:, 0, 1].mean())
    missing = compared.effects.filter(measure="stable_rank")
    numbers = missing.select("mean_first", "difference", "difference_low", "auc", "p", "q", "regression_effect")
    assert numbers.null_count().row(0) == (missing.height,) * 7
    assert {each.measure: each.kind for each in compared.findings}["stable_rank"] == "missing"
    assert any("1 of 6 rows have no effective rank in some layer" in note for note in compared.notes)


def test_rows_in_both_groups_and_other_settings_are_noted(tmp_path: Path) -> None:
    a = given_run(tmp_path / "x" / "same", values(6), range(10, 16))
    b = given_run(tmp_path / "y" / "same", values(6), range(10, 16), identity={"text.max_length": 512})
    notes = " ".join(quick(a=a, b=b).notes)
    assert "6 different examples stand in both a and b" in notes
    assert "differ in text.max_length: 2048 and 512" in notes


def test_what_is_wrong_with_the_words_is_said(one: Path, tmp_path: Path) -> None:
    assert "Expected two or more" in refused(one)
    assert "No run given" in refused()
    assert "is not a run" in refused(a=tmp_path / "nowhere", b=one)
    assert "Did you mean" in refused(one, by="column:kinds")
    assert "has no value 'verse'" in refused(one, by="column:kind", groups="verse,maths")
    assert "splits one run" in refused(a=one, b=one, by="column:kind")
    assert "neither an option nor a run" in refused(one, quantiles=0.3)
    assert "--by" in refused(one, quantile=0.3)
    assert "--against x" in refused(one, by="column:kind", against="x")
    assert "same value" in refused(given_run(tmp_path / "c", values(9), [5] * 9), by="length")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.docx").write_text("mine")
    assert "Choose another --out" in refused(one, by="column:kind", out=tmp_path / "taken")


def test_the_command_prints_writes_and_replays(one: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = gradprism_command("compare", one, "--by", "column:kind", "--resamples", "199", "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("maths against poem\n  gradients ")
    assert "Ratios to poem, raw and length-controlled" in done.stdout
    first = (out / "effects.parquet").read_bytes()
    again = gradprism_command("run", out / "recipe.yaml", "--out", tmp_path / "again", "--quiet")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "again" / "effects.parquet").read_bytes() == first
    told = gradprism_command("compare", f"a={one}", f"b={one}", "--resamples", "199", "--json")
    assert {group["name"] for group in json.loads(told.stdout)["groups"]} == {"a", "b"}
    refused = gradprism_command("compare", one, "--quantile", "0.7")
    assert refused.returncode == 2 or refused.returncode == 1
    assert "quantile" in refused.stderr


def test_a_comparison_shows_itself(one: Path) -> None:
    compared = quick(one, by="column:kind")
    assert "8 rows of one (kind = maths)" in repr(compared)
    assert "<table>" in compared._repr_html_()
    assert "maths" in compared._repr_html_()


def test_rows_that_could_not_be_measured_are_counted_with_their_reasons(tmp_path: Path) -> None:
    from tests.made_runs import measured_run

    identity = {"text.template": "paper", "text.max_length": 64, "prism.precision": "exact"}
    run = measured_run(
        tmp_path / "run", 9, 2, lambda measure, row, layer, name: 1.0 + row + layer, kind=list("aabbaabba")
    )
    run.record["identity"].update(identity | {"checkpoint.from_scratch": False})
    run.record["model"] = {"name": "m", "class": "M", "dtype": "float32", "revision": "1"}
    (run.path / "run.json").write_text(json.dumps(run.record))
    compared = quick(run.path, by="column:kind")
    assert groups(compared) == {"a": 4, "b": 4}
    assert "In no group, as they could not be measured: 1 x nothing to score." in compared.notes
    assert compared.about["data"][0]["skipped"] == 1
    whole = quick(one=run.path, two=run.path)
    assert whole.groups[0].reasons == {"nothing to score": 1}


def test_runs_that_measured_other_projections_are_compared_on_those_they_share(tmp_path: Path) -> None:
    wide, narrow = RANDOM.lognormal(1, 0.3, (9, 4, 3)), RANDOM.lognormal(1, 0.3, (9, 2, 3))
    wide[:, 2:] *= 50  # v and o, which the other run does not have
    compared = quick(a=given_run(tmp_path / "a", wide, range(9, 18)), b=given_run(tmp_path / "b", narrow, range(9, 18)))
    assert compared.projections == ("q", "k")
    mean = compared.effects.filter((pl.col("projection") == "mean") & pl.col("layer").is_null())
    assert mean["mean_first"][0] == pytest.approx(wide[:, :2].mean())
    assert "Not compared, since only some of the runs have them: projections o, v." in compared.notes


def test_a_folder_of_ones_own_files_is_left_alone_and_a_save_that_was_cut_off_is_not(one: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "examples.csv").write_text("mine")
    assert "Choose another --out" in refused(one, by="column:kind", out=mine)
    assert (mine / "examples.csv").read_text() == "mine"
    out = tmp_path / "out"
    quick(one, by="column:kind", out=out)
    (out / "comparison.json").unlink()  # as a kill would leave it, in the middle of a second save
    (out / ".comparison.unfinished").touch()
    (out / "figures").mkdir()
    assert groups(quick(one, by="column:kind", out=out)) == {"maths": 8, "poem": 7}
    with pytest.raises(GradPrismError, match="is a run or a comparison"):
        gradprism.correlate(one, out=out)


def test_a_path_may_hold_an_equals_sign(tmp_path: Path) -> None:
    run = given_run(tmp_path / "lr=0.1", values(8), range(10, 18))
    assert groups(quick(run.path, by="length", quantile=0.5)) == {"high": 4, "low": 4}
    assert groups(quick(run.path.parent / "lr=0.1", by="length", quantile=0.5, out=tmp_path / "out"))
    done = gradprism_command("compare", f"a={run.path}", run.path, "--resamples", "199", "--json")
    assert [group["name"] for group in json.loads(done.stdout)["groups"]] == ["a", "lr=0.1"]
    assert "no name of a group" in refused(**{" ": run, "b": run})
    assert "no name of a group" in refused(**{"a\nb": run, "b": run})


def test_values_keep_their_order_and_rows_in_no_group_are_counted(tmp_path: Path) -> None:
    levels = [10, 2, 1, None] * 4
    texts = ["a, b", "c", "d\ne", "c"] * 4
    run = given_run(tmp_path / "run", values(16), range(10, 26), level=levels, text=texts)
    compared = quick(run, by="column:level")
    assert list(groups(compared)) == ["1", "2", "10"]
    assert "4 rows with no or another value of column:level measured and in no group." in compared.notes
    assert groups(quick(run, by="column:text", groups=["a, b", "d e"])) == {"a, b": 4, "d e": 4}
    assert "named twice" in refused(run, by="column:text", groups=["c", "c"])
    many = given_run(tmp_path / "many", values(30), range(10, 40), text=[f"t{i // 2}" for i in range(30)])
    assert groups(quick(many, by="column:text", groups="t3,t4")) == {"t3": 2, "t4": 2}


def test_groups_chosen_by_a_measure_are_not_tested_for_it(one: Path) -> None:
    compared = quick(one, by="effective_rank:mean", quantile=0.5)
    chosen = compared.effects.filter(measure="effective_rank", projection="mean")
    assert chosen["q"].null_count() == chosen["matched_q"].null_count() == chosen.height
    assert {finding.kind for finding in compared.findings} == {"chosen"}
    assert any(
        "The groups are the extremes of effective_rank:mean: it is not tested" in note for note in compared.notes
    )
    assert {finding.kind for finding in quick(one, by="effective_rank:mean").findings} == {"chosen"}  # a quarter unsaid
    bare = quick(one, by="quality", quantile=0.5)  # the column by its bare name
    assert bare.effects.filter(measure="column:quality")["p"].to_list() == [None]
    by_column = quick(one, by="column:quality", quantile=0.5)
    assert by_column.effects.filter(measure="column:quality")["p"].to_list() == [None]
    assert "chosen" not in {finding.kind for finding in by_column.findings}


def test_rows_whose_gradient_is_zero_are_noted_and_leave_no_verdict(tmp_path: Path) -> None:
    zeros = values(20)
    zeros[:8] = 0.0
    a, b = given_run(tmp_path / "a", zeros, range(20, 40)), given_run(tmp_path / "b", values(20), range(20, 40))
    compared = quick(a=a, b=b)
    assert any(note.startswith("a: 8 of 20 rows have 0 as their nuclear norm") for note in compared.notes)
    assert {each.kind for each in compared.findings} == {"missing"}


def test_prompts_that_never_have_the_same_length_leave_no_common_support(tmp_path: Path) -> None:
    tokens = range(20, 40)
    a = given_run(tmp_path / "a", values(20), tokens, prompt_tokens=[100] * 20)
    b = given_run(tmp_path / "b", values(20), tokens, prompt_tokens=[50] * 20)
    assert any(note.startswith("a and b hardly overlap in length: 20 pairs") for note in quick(a=a, b=b).notes)


def test_tables_and_summary_hold_the_controlled_figures_too(one: Path, tmp_path: Path) -> None:
    compared = quick(one, by="column:kind", out=tmp_path / "out")
    table = pl.read_csv(tmp_path / "out" / "paper_table.csv")
    row = compared.effects.filter(measure="nuclear_norm", projection="q").filter(pl.col("layer").is_null())
    saved = table.filter((pl.col("measure") == "nuclear_norm") & (pl.col("projection") == "q"))
    assert saved["regression_effect"][0] == pytest.approx(row["regression_effect"][0])
    assert saved["matched_pairs"][0] == row["matched_pairs"][0]
    assert "Length-controlled: " in (tmp_path / "out" / "summary.md").read_text()


@pytest.mark.parametrize("wrong", [{"a": "b"}, ["a", "b"], 5])
def test_what_is_no_run_is_refused_by_name(wrong: object) -> None:
    assert "neither an option nor a run" in refused(wrong)


def test_measures_are_compared_by_name(tmp_path: Path) -> None:
    kinds = ["maths"] * 8 + ["poem"] * 8
    given_run(tmp_path / "run", values(16), range(30, 46), kind=kinds)
    run = open_run(tmp_path / "run")
    found = quick(run, by="kind", measures="gradient_l2,leading_share")
    assert found.about["measures"] == ["leading_share", "gradient_l2"]
    means = found.levels.filter(pl.col("layer").is_null(), projection="mean")
    for measure, spec in (("leading_share", "leading_share:mean"), ("gradient_l2", "gradient_l2:all")):
        of_rows = metric_values(run, spec)["value"].to_list()
        for kind, rows in (("maths", of_rows[:8]), ("poem", of_rows[8:])):
            mean = means.filter(measure=measure, group=kind)["mean"].item()
            assert mean == pytest.approx(sum(rows) / 8)
    assert {each.measure for each in found.findings} == {"leading_share", "gradient_l2"}
    shown = Console(width=80, file=io.StringIO(), record=True)
    shown.print(render_comparison(found))
    text = shown.export_text()
    assert "leading share" in text
    assert "gradient L2 norm" in text
    assert "effective rank" not in text
    everything = quick(run, by="kind", measures="all")
    assert {*MEASURES, "nuclear_norm_over_loss", "gradient_l2"} <= {*everything.effects["measure"]}
    with pytest.raises(GradPrismError, match=r"--measures rank: the run .* has nuclear_norm"):
        quick(run, by="kind", measures="rank")
