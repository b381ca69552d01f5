"""What can be done with an imported run that knows no token counts: everything but equal length, and a note says so."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.command import run
from tests.made_papers import paper_rows, summarised, written

import gradprism
from gradprism import Run, import_paper
from gradprism.stats.length_match import length_pairs

CONTROLS = ("matched_effect", "regression_effect", "partial_spearman")


def imported(folder: Path, name: str, n: int, seed: int, tokens: int, old: bool = False) -> Run:
    rows = paper_rows(n, seed=seed, tokens=[tokens + i % 5 for i in range(n)])
    path = written(folder / f"{name}.jsonl", [summarised(row) for row in rows] if old else rows)
    return import_paper(path, out=folder / name)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("imported")
    return {
        "long": imported(folder, "long", 16, 1, 10),
        "short": imported(folder, "short", 14, 2, 4),
        "old": imported(folder, "old", 12, 3, 6, old=True),
    }


@pytest.mark.slow
def test_a_comparison_says_nothing_at_equal_length(runs: dict[str, Run]) -> None:
    found = gradprism.compare(long=runs["long"], short=runs["short"], resamples=199)
    assert all(found.effects[name].null_count() == found.effects.height for name in CONTROLS)
    ranks = found.effects.filter(pl.col("layer").is_null(), measure="effective_rank", projection="mean")
    means = [runs[name].spectra["effective_rank"].mean() for name in ("long", "short")]
    assert ranks.select("mean_first", "mean_second").row(0) == pytest.approx(means)
    assert {each.kind for each in found.findings} <= {"unclear", "none"}
    assert not any("nor with length controlled" in each.sentence for each in found.findings)
    notes = [note for note in found.notes if "token counts" in note]
    assert [note.partition(":")[0] for note in notes] == ["long", "short"]
    assert not any("overlap in length" in note for note in found.notes)
    assert found.group("long").truncated is None
    assert "unnamed model" in repr(found)


@pytest.mark.slow
def test_groups_of_one_file_by_its_own_columns(runs: dict[str, Run], tmp_path: Path) -> None:
    for words in (("column:kind",), ("column:reward", "--quantile", 0.25), ("loss", "--quantile", 0.25)):
        done = run("compare", runs["long"].path, "--by", *words, "--resamples", 199, "--out", tmp_path / words[0][-4:])
        assert done.returncode == 0, done.stderr
    shown = run("show", runs["long"].path, "--by", "kind")
    assert shown.returncode == 0, shown.stderr
    assert "token counts are not known" in " ".join(shown.stdout.split())


@pytest.mark.exhaustive  # figures and a report of each, which other tests make of measured runs
@pytest.mark.parametrize("name", ["long", "old"])
def test_the_other_verbs(runs: dict[str, Run], name: str, tmp_path: Path) -> None:
    path, compared = runs[name].path, tmp_path / "compared"
    for words in (
        ("show", path),
        ("correlate", path),
        ("compare", path, "--by", "column:kind", "--resamples", 199, "--out", compared),
        ("figures", compared, "--formats", "svg"),
        ("report", compared, "--out", tmp_path / "report.html"),
        ("select", path, "--by", "nuclear_norm:mean", "--top", 3, "--out", tmp_path / "top.jsonl"),
    ):
        done = run(*words)
        assert done.returncode == 0, (words, done.stderr)
    assert "token counts are not known" in run("figures", compared, "--formats", "svg").stdout
    assert "does not know" in run("correlate", path).stdout
    assert import_paper(tmp_path / "top.jsonl", out=tmp_path / "subset").counts.ok == 3


def test_the_texts_are_found_again(runs: dict[str, Run], tmp_path: Path) -> None:
    facts = gradprism.write_report(runs["long"], out=tmp_path / "report.html")
    assert facts.n_shown == 16
    assert "Answer 3" in gradprism.open_run(runs["long"].path).path.with_name("long.jsonl").read_text()
    assert not any("not in this report" in note for note in facts.notes)


def test_models_are_told_apart_by_the_name_given(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", paper_rows(4))
    for name in ("one", "other"):
        import_paper(path, out=tmp_path / name, made_by=name)
    done = run("compare", f"one={tmp_path / 'one'}", f"other={tmp_path / 'other'}", "--resamples", 199)
    assert done.returncode == 2
    assert "different models" in done.stderr


def test_rows_of_unknown_length_have_no_pair() -> None:
    one, other = length_pairs(np.array([np.nan, 10.0, 20.0]), np.array([20.0, np.nan, np.nan, 10.0]))
    assert one.tolist() == [1, 2]
    assert other.tolist() == [3, 0]
    assert length_pairs(np.full(3, np.nan), np.full(2, np.nan))[0].tolist() == []
