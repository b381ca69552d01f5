"""Scores of another model or text than the spectra beside them, named wherever they are used."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from tests.made_groups import given_run
from tests.made_runs import score_table

from gradprism import Run, compare, correlate, open_run, select
from gradprism.core.settings import recipe_text
from gradprism.runs.own_settings import own_settings
from gradprism.runs.render import summary_of
from gradprism.runs.scores import ScoreWriter, locked_run
from gradprism.scoring.settings import ScoreRecipe

OF_SPECTRA = {
    "checkpoint.model": "smollm2-135m", "checkpoint.dtype": "float32", "checkpoint.adapter": None,
    "model fingerprint": "aaaa", "text.template": "chat", "text.max_length": 2048, "text.turns": "all",
    "text.system": None, "method": 2,
}  # fmt: skip
GPT2 = {"checkpoint.model": "gpt2", "model fingerprint": "bbbb", "text.template": "paper", "text.max_length": 1024}
WORDS = "of gpt2, template paper, at most 1,024 tokens"
N = 12


def with_scores(run: Run, **scores: Mapping[str, Any]) -> Run:
    """Put scores of the given identities into a run."""
    with locked_run(run.path, {"data": run.record["data"]}) as path:
        for number, (name, identity) in enumerate(scores.items()):
            writer = ScoreWriter(path, name, {"identity": identity, "about": "made", "sessions": []}, "")
            values = np.random.default_rng(number).normal(size=N).tolist()
            writer.publish(0, score_table([(row, str(row)) for row in range(N)], values))
    return open_run(run.path)


def spectra(path: Path, seed: int = 0, **identity: Any) -> Run:
    rng = np.random.default_rng(seed)
    return given_run(path, rng.lognormal(size=(N, 4, 3)), rng.integers(20, 60, N), identity={**OF_SPECTRA, **identity})


@pytest.fixture
def run(tmp_path: Path) -> Run:
    judged = {"judge.model": "a judge", "model fingerprint": "cccc"}
    return with_scores(spectra(tmp_path / "run"), ifd=OF_SPECTRA, ifd_gpt2={**OF_SPECTRA, **GPT2}, difficulty=judged)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"checkpoint.model": "/elsewhere/smollm2-135m"}, ""),  # the same weights
        ({"likelihood.style": "superfiltering", "part_rows": 8}, ""),
        ({"model fingerprint": "bbbb"}, "weights bbbb"),
        ({"checkpoint.model": "/b/smollm2-135m", "model fingerprint": "bbbb"}, "of smollm2-135m, weights bbbb"),
        ({"checkpoint.dtype": "bfloat16", "text.turns": "last"}, "in bfloat16, turns=last"),
        ({"checkpoint.adapter": "/adapters/mine"}, "with the adapter mine"),
        ({"text.template": "/t/mine.jinja", "template digest": "cafe"}, "template mine.jinja"),
        ({"text.system": "Be brief."}, "system prompt 'Be brief.'"),
        ({"text.date": "2025-01-02"}, "dated 2025-01-02"),
        ({"text.response_tokens": 16}, "exactly the first 16 response tokens"),
        ({"method": None}, "by the method of an earlier gradprism"),
        ({"text.unheard_of": 3}, "text.unheard_of 3"),
    ],
)
def test_what_differs_from_the_spectra_in_words(tmp_path: Path, change: Mapping[str, Any], words: str) -> None:
    made = with_scores(spectra(tmp_path / "run"), ifd={**OF_SPECTRA, **change})
    assert own_settings(made, "ifd") == words


def test_no_value_where_the_spectra_have_one(tmp_path: Path) -> None:
    made = spectra(tmp_path / "run", **{"text.response_tokens": 16, "checkpoint.adapter": "mine", "text.system": "S"})
    words = "without an adapter, no system prompt added, all response tokens"
    assert own_settings(with_scores(made, ifd=OF_SPECTRA), "ifd") == words


def test_two_template_files_of_one_text_are_one_template(tmp_path: Path) -> None:
    mine = {"text.template": "/a/mine.jinja", "template digest": "cafe"}
    made = with_scores(
        spectra(tmp_path / "run", **mine),
        ifd={**OF_SPECTRA, **mine, "text.template": "/b/copy.jinja"},
        ifd_new={**OF_SPECTRA, **mine, "template digest": "beef"},
    )
    assert own_settings(made, "ifd") == ""
    assert own_settings(made, "ifd_new") == "its text beef"


def test_imported_spectra_are_of_weights_or_of_nothing_known(tmp_path: Path) -> None:
    """Their file says neither in which type nor how the model was loaded."""
    known = given_run(tmp_path / "known", np.ones((N, 4, 3)), [9] * N, identity=_imported(OF_SPECTRA))
    scores = {"ifd": OF_SPECTRA, "ifd_gpt2": {**OF_SPECTRA, "checkpoint.model": "gpt2", "model fingerprint": "bbbb"}}
    known = with_scores(known, **scores)
    assert (own_settings(known, "ifd"), own_settings(known, "ifd_gpt2")) == ("", "of gpt2")
    unknown = given_run(tmp_path / "unknown", np.ones((N, 4, 3)), [9] * N)
    assert own_settings(with_scores(unknown, ifd=OF_SPECTRA), "ifd") == "of smollm2-135m"


def _imported(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in identity.items() if not key.startswith("checkpoint.")}


def test_scores_alone_name_what_they_do_not_all_have(tmp_path: Path) -> None:
    data = {"rows": N, "fingerprint": "made", "sources": ["made"], "schema": "made"}
    with locked_run(tmp_path / "run", {"data": data}):
        pass
    made = with_scores(open_run(tmp_path / "run"), ifd=OF_SPECTRA, loss=OF_SPECTRA, ifd_gpt2={**OF_SPECTRA, **GPT2})
    assert own_settings(made, "ifd_gpt2") == WORDS
    assert own_settings(made, "loss") == "of smollm2-135m, template chat, at most 2,048 tokens"


def test_show_names_them_beside_the_scores(run: Run) -> None:
    text = _shown(summary_of(run))
    assert f"settings of its own: {WORDS}" in text
    assert text.count("settings of its own") == 1


def _shown(renderable: Any) -> str:
    console = Console(width=160)
    with console.capture() as shown:
        console.print(renderable)
    return shown.get()


def test_correlations_name_them(run: Run) -> None:
    note = f"ifd_gpt2 has other settings than the spectra: {WORDS}."
    assert note in correlate(run).notes
    assert correlate(run, ["ifd", "effective_rank:mean", "difficulty"]).notes == ()


def test_lengths_that_are_only_controlled_for_are_named_too(tmp_path: Path) -> None:
    made = with_scores(spectra(tmp_path / "run"), ifd=OF_SPECTRA, length={**OF_SPECTRA, "text.max_length": 16})
    (note,) = correlate(made, ["ifd", "effective_rank:mean"]).notes
    assert note == "length has other settings than the spectra: at most 16 tokens."


@pytest.mark.slow  # half a second or more
def test_comparisons_name_them(run: Run, tmp_path: Path) -> None:
    split = compare(run, by="effective_rank:mean", quantile=0.4, resamples=199)
    assert f"ifd_gpt2 has other settings than the spectra: {WORDS}." in split.notes
    own = {"ifd": OF_SPECTRA, "ifd_gpt2": {**OF_SPECTRA, **GPT2}}
    other = with_scores(spectra(tmp_path / "other", 1), **own, difficulty={"judge.model": "another"})
    both = compare(a=run, b=other, resamples=199)
    assert [note for note in both.notes if "ifd_gpt2" in note] == [
        f"{name}: ifd_gpt2 has other settings than the spectra: {WORDS}." for name in ("run", "other")
    ]
    (judged,) = [note for note in both.notes if "difficulty" in note]
    assert judged.startswith("The scores difficulty of the runs run and other differ in judge.model, model fingerprint")


def test_the_groups_of_a_metric_of_scores_name_its_settings(run: Run) -> None:
    split = compare(run, by="ifd_gpt2", quantile=0.4, resamples=199)
    assert any(note.startswith("ifd_gpt2 has other settings") for note in split.notes)


def test_runs_read_in_different_ways_are_named(tmp_path: Path) -> None:
    old = given_run(tmp_path / "old", np.ones((N, 4, 3)), range(9, 9 + N), identity=_without_method())
    both = compare(old=old, new=spectra(tmp_path / "new"), resamples=199)
    (note,) = [note for note in both.notes if "method" in note]
    assert "The runs old and new differ in how rows are read and their loss is taken" in note
    assert "None and 2" in note


def _without_method() -> dict[str, Any]:
    return {key: value for key, value in OF_SPECTRA.items() if key != "method"}


def selectable(path: Path, names: Sequence[str]) -> Run:
    """A run whose recipe names data that are there."""
    data = path.parent / "rows.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"p{i}", "completion": "c" * (i + 1)}) + "\n" for i in range(N)))
    from gradprism.data.example_set import open_examples
    from gradprism.data.settings import ReadSettings
    from gradprism.runs.record import data_record

    recipe = ScoreRecipe(data=(str(data),), metric="ifd", out=str(path))
    with locked_run(path, {"data": data_record(open_examples(str(data), ReadSettings()))}) as folder:
        for name in names:
            identity = {**OF_SPECTRA, **(GPT2 if name == "ifd_gpt2" else {})}
            writer = ScoreWriter(folder, name, {"identity": identity, "about": "", "sessions": []}, recipe_text(recipe))
            table = score_table([(row, str(row)) for row in range(N)], [row / N for row in range(N)])
            writer.publish(0, table.with_columns(n_tokens=pl.lit(4, pl.Int32)))
    return open_run(path)


def test_a_selection_and_its_card_name_them(tmp_path: Path) -> None:
    made = selectable(tmp_path / "run", ["ifd", "ifd_gpt2"])
    note = f"ifd_gpt2 has other settings than the other scores: {WORDS}."
    found = select(made, "ifd_gpt2", top=3, out=tmp_path / "best.jsonl")
    assert note in found.notes
    assert f"- {note}" in (tmp_path / "best.card.md").read_text()
    assert note in select(made, "ifd", top=3, where="ifd_gpt2 < 0.5").notes
    alone = selectable(tmp_path / "alone", ["ifd"])
    assert select(alone, "ifd", top=3).notes == ()
