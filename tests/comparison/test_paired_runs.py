"""Comparison of the same rows through two models: pairs, effects with known truths, interactions, and bad input."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from scipy import stats
from tests.command import run
from tests.made_groups import given_run
from tests.made_pairs import checkpoint

import gradprism
from gradprism import GradPrismError
from gradprism.comparison.comparison import Comparison, Paired
from gradprism.comparison.comparison_files import open_comparison
from gradprism.comparison.render import render_comparison
from gradprism.prism.measures import MEAN
from gradprism.prism.tables import TOKENS

FEW = {"resamples": 499}


def both(
    tmp_path: Path, after: Mapping[str, Any], before: Mapping[str, Any] | None = None, **options: Any
) -> Comparison:
    runs = {"before": checkpoint(tmp_path / "before", **(before or {})),
            "after": checkpoint(tmp_path / "after", **{"seed": 8, **after})}  # fmt: skip
    return gradprism.compare(**runs, paired=True, **{**FEW, **options})


def paired(found: Comparison) -> Paired:
    assert found.paired is not None
    return found.paired


def layer_mean(found: Comparison, measure: str = "nuclear_norm", **where: Any) -> dict[str, Any]:
    wanted = {"first": "after", "second": "before", "projection": MEAN, **where}
    return found.effects.filter(pl.col("layer").is_null(), measure=measure, **wanted).row(0, named=True)


def test_the_ratio_is_the_geometric_mean_of_the_rows_ratios(tmp_path: Path) -> None:
    found = both(tmp_path, {"factor": 1.2})
    assert found.contrasts == (("after", "before"),)
    row = layer_mean(found)
    means = [run.table().sort("row")["nuclear_norm:mean"].to_numpy() for run in
             (gradprism.open_run(tmp_path / name) for name in ("after", "before"))]  # fmt: skip
    change = np.log(means[0]) - np.log(means[1])
    assert row["raw_effect"] == pytest.approx(change.mean())
    assert row["mean_first"] == pytest.approx(means[0].mean())
    assert (row["paired_rows"], row["paired_higher"]) == (24, int((change > 0).sum()))
    t = stats.ttest_1samp(change, 0.0).confidence_interval(0.95)
    assert [row["raw_effect_low"], row["raw_effect_high"]] == pytest.approx([t.low, t.high], abs=0.006)
    assert row["p"] == pytest.approx(1 / 500)
    assert found.findings[0].kind == "changed"
    assert found.findings[0].headline.startswith("gradients 1.2")
    assert "in the same 24 rows" in found.findings[0].headline


def test_every_layer_and_projection_is_paired(tmp_path: Path) -> None:
    factor = np.ones((2, 4))
    factor[1, 2] = 1.5
    found = both(tmp_path, {"factor": factor, "noise": 0.01})
    cells = found.effects.filter(pl.col("layer").is_not_null(), pl.col("projection") != MEAN, measure="nuclear_norm")
    changed = cells.filter(pl.col("q") < 0.05, pl.col("raw_effect_low") > 0.1).select("projection", "layer").rows()
    assert changed == [("k", 2)]
    assert cells.height == 8


def test_pairs_show_a_rise_far_below_the_spread_of_rows(tmp_path: Path) -> None:
    """Rows differ by factors of several, and each of them rises by 3%."""
    row = layer_mean(both(tmp_path, {"factor": 1.03, "noise": 0.01}, {"noise": 0.01}))
    assert row["q"] < 0.01
    assert row["raw_effect_low"] > 0


def test_no_change_is_equal_or_not_shown(tmp_path: Path) -> None:
    kinds = {each.kind for each in both(tmp_path, {}).findings}
    assert kinds <= {"equal", "none"}


def test_rows_are_matched_by_text_whatever_their_order_and_number(tmp_path: Path) -> None:
    kept = np.random.default_rng(1).permutation(24)[:18]
    found = both(tmp_path, {"kept": kept, "factor": 1.2, "noise": 0.0}, {"noise": 0.0})
    assert sorted(paired(found).pairs["example_id"]) == sorted(f"id {row}" for row in kept)
    assert layer_mean(found)["raw_effect"] == pytest.approx(np.log(1.2))
    np.testing.assert_allclose(paired(found).pairs["nuclear_norm:mean"], np.log(1.2))
    assert any("6 rows of before alone: left out." in note for note in found.notes)


def test_texts_are_paired_under_other_ids_and_never_others_under_the_same(tmp_path: Path) -> None:
    changed = {"content_hash": ["another text" if row == 5 else f"text {row}" for row in range(24)],
               "example_id": [f"id {row}" if row == 5 else f"new {row}" for row in range(24)]}  # fmt: skip
    found = both(tmp_path, {"examples": changed})
    assert paired(found).pairs.height == 23
    assert "1 row of the same id have another text in after than in before: left out." in found.notes


def test_a_text_that_stands_twice_is_paired_by_id_or_not_at_all(tmp_path: Path) -> None:
    twice = {"content_hash": [f"text {max(row, 1)}" for row in range(24)]}
    same = both(tmp_path / "1", {"examples": twice}, {"examples": twice})
    assert paired(same).pairs.height == 24
    other = {**twice, "example_id": [f"{'new' if row < 2 else 'id'} {row}" for row in range(24)]}
    without = both(tmp_path / "2", {"examples": other}, {"examples": twice})
    assert paired(without).pairs.height == 22
    assert any(note.startswith("2 rows of texts that a run has more than once") for note in without.notes)


def test_failed_rows_of_either_side_are_left_out_of_both(tmp_path: Path) -> None:
    status = [["failed" if row in lost else "ok" for row in range(24)] for lost in ((0, 1), (1, 2, 3))]
    found = both(tmp_path, {"examples": {"status": status[0]}}, {"examples": {"status": status[1]}})
    assert [group.n for group in found.groups] == [20, 20]
    assert "4 rows could not be measured in after or before: left out of both." in found.notes


def test_a_value_of_one_side_alone_is_in_no_mean(tmp_path: Path) -> None:
    run = checkpoint(tmp_path / "before", noise=0.0)
    values = np.log(
        run.spectra.pivot("layer", index=["row", "projection"], values="nuclear_norm").drop("row", "projection")
    )
    cube = np.exp(np.asarray(values)).reshape(24, 2, 4) * 1.2
    cube[3, 1, 0] = np.nan
    after = given_run(tmp_path / "after", cube, np.arange(24) % 13 + 20, prompt_tokens=np.arange(24) % 5 + 3,
                      examples={"content_hash": [f"text {row}" for row in range(24)]},
                      found={"tokenizer": "the same", "chat_template": "the same"})  # fmt: skip
    found = gradprism.compare(before=run, after=after, paired=True, **FEW)
    lost = {key: layer_mean(found, projection=key)["paired_rows"] for key in ("q", "k", MEAN)}
    assert lost == {"q": 24, "k": 23, MEAN: 23}
    assert layer_mean(found)["raw_effect"] == pytest.approx(np.log(1.2))
    assert any("1 of 24 rows have some value on one side alone" in note for note in found.notes)


def token_table(n: int, change: Mapping[int, int] | None = None, mask: int | None = None) -> pl.DataFrame:
    ids = [[(change or {}).get(row, 0), *range(1, 6)] for row in range(n)]
    loss = [[None, None, 1.0, 2.0, None if row == mask else 1.5, 1.0] for row in range(n)]
    rows = {"row": range(n), "example_id": [f"id {row}" for row in range(n)], "token_ids": ids, "loss": loss,
            "pieces": [[""] * 6] * n, "gradient_size": [[1.0] * 6] * n, "projections": [[]] * n}  # fmt: skip
    return pl.DataFrame(rows, schema=TOKENS, strict=False)


def test_stored_token_ids_decide_row_by_row(tmp_path: Path) -> None:
    tokens = {"prism.tokens": True}
    after = {"token_lists": token_table(24, {4: 9}, mask=6), "identity": tokens, "found": {"tokenizer": "another"}}
    found = both(tmp_path, after, {"token_lists": token_table(24), "identity": tokens})
    assert {*range(24)} - {*paired(found).pairs["row_second"]} == {4, 6}
    assert "2 rows have other token ids or another loss mask in after than in before: left out." in found.notes


@pytest.mark.parametrize(
    ("after", "why"),
    [
        ({"found": {"tokenizer": "another"}}, "tokenizers are different"),
        ({"identity": {"text.template": "chat"}}, "text.template: 'chat' and 'paper'"),
        ({"identity": {"text.turns": "last"}}, "text.turns"),
        ({"identity": {"method": 1}}, "method"),
        ({"found": {"tokenizer": None}, "tokens": np.arange(24) % 13 + 21}, "24 rows have other token counts"),
        ({"tokens": np.arange(24) % 13 + 21}, "0 rows in common"),
        ({"kept": np.array([3])}, "1 row in common"),
        ({"examples": {"content_hash": [f"other {row}" for row in range(24)]}}, "0 rows in common"),
        ({"examples": {"content_hash": [None] * 24}}, "does not know the texts"),
    ],
)
def test_rows_that_may_not_be_the_same_are_refused(tmp_path: Path, after: dict[str, Any], why: str) -> None:
    with pytest.raises(GradPrismError, match=why):
        both(tmp_path, after)


def test_chat_templates_are_compared_where_they_made_the_text(tmp_path: Path) -> None:
    other, chat = {"found": {"chat_template": "another"}}, {"identity": {"text.template": "chat"}}
    assert both(tmp_path / "paper", other).paired is not None
    with pytest.raises(GradPrismError, match="chat templates"):
        both(tmp_path / "chat", {**other, **chat}, chat)


def test_rows_of_other_lengths_are_left_out(tmp_path: Path) -> None:
    lengths = np.arange(24) % 13 + 20
    shorter = {"identity": {"text.max_length": 30}, "tokens": np.minimum(lengths, 28)}
    found = both(tmp_path, shorter)
    assert {*paired(found).pairs["row_second"]} == {*np.flatnonzero(lengths <= 28)}


def test_equal_counts_are_the_evidence_of_runs_without_a_tokenizers_digest(tmp_path: Path) -> None:
    found = both(tmp_path, {"found": {"tokenizer": None}})
    assert any("earlier version" in note for note in found.notes)


@pytest.mark.parametrize(
    ("options", "why"),
    [({"window": 8}, "--window"), ({"by": "column:nothing"}, "Unknown metric"), ({"against": "nobody"}, "--against")],
)
def test_options_that_do_not_fit_are_refused(tmp_path: Path, options: dict[str, Any], why: str) -> None:
    with pytest.raises(GradPrismError, match=why):
        both(tmp_path, {}, **options)


def test_one_run_three_runs_and_the_same_run_are_refused(tmp_path: Path) -> None:
    runs = [checkpoint(tmp_path / name) for name in "abc"]
    for given in ({"a": runs[0]}, dict(zip("abc", runs, strict=True))):
        with pytest.raises(GradPrismError, match="Expected before=RUN after=RUN"):
            gradprism.compare(**given, paired=True, **FEW)
    with pytest.raises(GradPrismError, match="are the same run"):
        gradprism.compare(a=runs[0], b=tmp_path / "a", paired=True, **FEW)


@pytest.mark.parametrize("n", [2, 4, 5])
def test_few_rows_give_estimates_and_no_verdict(tmp_path: Path, n: int) -> None:
    found = both(tmp_path, {"factor": 2.0, "n": n}, {"n": n})
    row = layer_mean(found)
    assert row["raw_effect"] == pytest.approx(np.log(2), abs=0.1)
    assert (row["raw_effect_low"] is None) == (n < 5)
    assert found.findings[0].kind == "none"
    assert "too few rows" in found.findings[0].headline


def test_one_layer_has_pairs_and_no_curves(tmp_path: Path) -> None:
    found = both(tmp_path, {"factor": 1.2, "layers": 1}, {"layers": 1})
    assert layer_mean(found)["q"] < 0.05
    assert found.mad.is_empty()
    assert paired(found).mad_changes.is_empty()


def test_projections_of_one_run_alone_are_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cube = rng.lognormal(size=(24, 3, 4))
    given = {"prompt_tokens": np.arange(24) % 5 + 3, "found": {"tokenizer": "the same"},
             "examples": {"content_hash": [f"text {row}" for row in range(24)]}}  # fmt: skip
    before = given_run(tmp_path / "before", cube, np.full(24, 30), **given)
    after = given_run(tmp_path / "after", cube[:, :2] * 1.2, np.full(24, 30), **given)
    found = gradprism.compare(before=before, after=after, paired=True, **FEW)
    assert found.projections == ("q", "k")
    assert layer_mean(found)["raw_effect"] == pytest.approx(np.log(1.2))
    assert any("projections v" in note for note in found.notes)


def test_models_of_other_depth_are_compared_at_the_same_depth(tmp_path: Path) -> None:
    """A size that is linear in depth is interpolated without error."""
    found = both(tmp_path, {"layers": 7, "noise": 0.0, "factor": 1.2, "model": "given-3b"}, {"layers": 4, "noise": 0.0})
    cells = found.effects.filter(pl.col("layer").is_not_null(), measure="nuclear_norm", projection="q").sort("layer")
    assert cells["layer"].to_list() == [0, 1, 2, 3] == [*found.layers]
    np.testing.assert_allclose(cells["raw_effect"], np.log(1.2))
    assert found.model == "given-1b → given-3b"
    assert any("7 and 4 layers" in note and "linear interpolation" in note for note in found.notes)
    assert layer_mean(found)["raw_effect"] == pytest.approx(np.log(1.2))  # the mean of a line is that of its middle


KINDS = ["plain"] * 12 + ["worked"] * 12


def test_groups_of_rows_and_their_interaction(tmp_path: Path) -> None:
    change = np.where(np.array(KINDS) == "worked", 1.5, 1.1)[:, None, None]
    found = both(tmp_path, {"factor": change, "kind": KINDS}, {"kind": KINDS}, by="column:kind")
    assert found.contrasts == (
        ("after", "before"),
        ("after: plain", "before: plain"),
        ("after: worked", "before: worked"),
    )
    each = {name: layer_mean(found, first=f"after: {name}", second=f"before: {name}") for name in ("plain", "worked")}
    assert [np.exp(row["raw_effect"]) for row in each.values()] == pytest.approx([1.1, 1.5], rel=0.03)
    rows = paired(found).interactions.filter(pl.col("layer").is_null(), measure="nuclear_norm", projection=MEAN)
    row = rows.row(0, named=True)
    assert (row["first"], row["second"]) == ("plain", "worked")
    assert row["raw_effect"] == pytest.approx(each["plain"]["raw_effect"] - each["worked"]["raw_effect"])
    assert row["gap_first"] - row["gap_second"] == pytest.approx(row["raw_effect"])
    assert row["weighted_effect"] == pytest.approx(np.log(1.1 / 1.5), abs=0.05)
    verdicts = {each.measure: each.kind for each in paired(found).findings}
    assert verdicts["nuclear_norm"] == "survives"
    assert paired(found).pairs["group"].to_list() == KINDS


def test_a_change_that_follows_length_is_no_interaction_once_length_is_controlled(tmp_path: Path) -> None:
    n = 240
    rng = np.random.default_rng(2)
    long = rng.random(n) < 0.5
    tokens = np.exp(rng.normal(np.where(long, 5.3, 4.9), 0.4)).astype(int)
    kinds = np.where(long, "long", "short").tolist()
    change = (tokens[:, None, None] / 100.0) ** 0.5
    made = {"n": n, "tokens": tokens, "kind": kinds}
    found = both(tmp_path, {**made, "factor": change}, made, by="column:kind")
    kind = {each.measure: each.kind for each in paired(found).findings}["nuclear_norm"]
    assert kind == "length"


def test_extremes_of_a_measure_of_one_side_are_not_judged(tmp_path: Path) -> None:
    found = both(tmp_path, {"factor": 1.2}, by="nuclear_norm", quantile=0.25)
    kinds = {(each.first, each.kind) for each in found.findings}
    assert ("after", "changed") in kinds
    assert ("after: high", "chosen") in kinds
    assert found.paired is not None
    assert {each.kind for each in paired(found).findings} == {"chosen"}


def test_against_names_the_run_to_compare_with(tmp_path: Path) -> None:
    found = both(tmp_path, {"factor": 1.2}, against="after")
    assert found.contrasts == (("before", "after"),)
    assert layer_mean(found, first="before", second="after")["raw_effect"] < 0


@pytest.mark.slow  # half a second or more
def test_a_saved_comparison_is_read_as_it_was(tmp_path: Path) -> None:
    made = both(tmp_path, {"factor": 1.2, "kind": KINDS}, {"kind": KINDS}, by="column:kind", out=tmp_path / "cmp")
    read = open_comparison(tmp_path / "cmp")
    for name in ("pairs", "interactions", "mad_changes"):
        assert getattr(paired(read), name).equals(getattr(paired(made), name))
    assert paired(read).findings == paired(made).findings
    assert read.effects.equals(made.effects)
    record = json.loads((tmp_path / "cmp" / "comparison.json").read_text(encoding="utf-8"))
    assert {*record["tables"]} >= {"pairs", "interactions", "mad_changes"}
    assert "in the same 24 rows" in (tmp_path / "cmp" / "summary.md").read_text(encoding="utf-8")


@pytest.mark.slow  # half a second or more
def test_the_same_seed_gives_the_same_tables(tmp_path: Path) -> None:
    one, other = (
        both(tmp_path / name, {"factor": 1.1, "kind": KINDS}, {"kind": KINDS}, by="column:kind") for name in "ab"
    )
    assert one.effects.equals(other.effects)
    assert paired(one).mad_changes.equals(paired(other).mad_changes)


def test_roughness_is_compared_in_pairs(tmp_path: Path) -> None:
    zigzag = np.where(np.arange(6) % 2, 1.3, 1.0)[None, None, :]
    found = both(tmp_path, {"layers": 6, "factor": zigzag}, {"layers": 6})
    row = paired(found).mad_changes.filter(measure="nuclear_norm", projection=MEAN).row(0, named=True)
    assert row["difference"] == pytest.approx(row["mad_first"] - row["mad_second"])
    assert row["q"] < 0.05
    assert row["difference_low"] > 0


def test_values_of_zero_have_no_ratio_and_no_warning(tmp_path: Path) -> None:
    factor = np.ones((24, 2, 4))
    factor[:3] = 0.0
    found = both(tmp_path, {"factor": factor})
    assert layer_mean(found)["paired_rows"] == 21
    assert any("have 0 as their nuclear norm" in note for note in found.notes)


@pytest.mark.parametrize("by", [None, "column:kind"])
def test_the_terminal_has_the_answer_and_what_it_is_of(tmp_path: Path, by: str | None) -> None:
    found = both(tmp_path, {"factor": 1.3, "kind": KINDS}, {"kind": KINDS}, by=by)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(render_comparison(found))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "after against before\n  gradients 1.3" in text
    assert "after over before, in the same rows" in text
    assert ("Did one group of rows change more than another?" in text) == (by is not None)
    assert "given-1b (LlamaForCausalLM, 4 layers, float32, revision 1)" in " ".join(text.split())
    assert "it needs sketches of both runs" in " ".join(text.split())


def test_the_command_prints_the_same_as_json(tmp_path: Path) -> None:
    for name, factor in (("before", 1.0), ("after", 1.3)):
        checkpoint(tmp_path / name, factor, seed=len(name), kind=KINDS)
    runs = f"before={tmp_path / 'before'}", f"after={tmp_path / 'after'}"
    done = run("compare", *runs, "--paired", "--by", "column:kind", "--resamples", "299", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["findings"][0]["kind"] == "changed"
    assert {(each["first"], each["second"]) for each in said["interactions"]} == {("plain", "worked")}
    assert "in_words" in said["cosine"]
    refused = run("compare", f"before={tmp_path / 'before'}", "--paired")
    assert refused.returncode == 2
    assert "Expected before=RUN after=RUN" in " ".join(refused.stderr.split())
