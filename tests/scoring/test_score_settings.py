"""Model and text of scores: those of the spectra in the run, unless others are named, and then under a name."""

import json
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tests.command import run as command

import gradprism
from gradprism import Run
from gradprism.core.errors import GradPrismError
from gradprism.data import encode as encode_text
from gradprism.data.encode import make_encoder
from gradprism.data.settings import TextSettings
from gradprism.scoring import api as score_job

pytestmark = pytest.mark.slow  # a run and scores for each

OF_SPECTRA = {"template": "chat", "max_length": 200, "turns": "last", "system": "Be brief.", "end_of_turn": False}
DATED = "{{ strftime_now('%d %b %Y') }}\n"


@pytest.fixture
def data(sample_rows: list[dict[str, str]], tmp_path: Path) -> str:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in sample_rows[:4]))
    return str(path)


@pytest.fixture
def run(data: str, tiny_checkpoint: Path, tmp_path: Path) -> Run:
    """Spectra of settings that are not the defaults."""
    return gradprism.spectra(data, str(tiny_checkpoint), out=tmp_path / "run", dtype="bfloat16", **OF_SPECTRA)


@pytest.fixture
def other(make_model: Callable[..., Any], tokenizer: Any, tmp_path: Path) -> str:
    """Another model."""
    make_model("llama", seed=1).save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    return str(tmp_path / "other")


@pytest.fixture
def dated(tiny_checkpoint: Path, tokenizer: Any, tmp_path: Path) -> str:
    """A model whose chat template prints the date."""
    folder = tmp_path / "dated"
    shutil.copytree(tiny_checkpoint, folder)
    (folder / "chat_template.jinja").write_text(DATED + tokenizer.chat_template)
    return str(folder)


def on(day: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be another day."""

    class Day(date):
        @classmethod
        def today(cls) -> date:
            return date.fromisoformat(day)

    monkeypatch.setattr(encode_text, "date", Day)
    monkeypatch.setattr(score_job, "date", Day)


def test_scores_take_model_and_text_of_the_spectra(run: Run, data: str, tiny_checkpoint: Path, tmp_path: Path) -> None:
    scored = gradprism.score(metric="ifd,length", out=run.path)
    told = {"model": str(tiny_checkpoint), "dtype": "bfloat16", **OF_SPECTRA}
    alone = gradprism.score(data, "ifd,length", out=tmp_path / "alone", **told)
    made = run.record["identity"]
    for name in ("ifd", "length"):
        identity = scored.score_record(name)["identity"]
        shared = {key for key in made if key.startswith(("text.", "checkpoint.", "model f", "method"))}
        assert {key: identity[key] for key in shared} == {key: made[key] for key in shared}
        assert identity == alone.score_record(name)["identity"]
        assert scored.scores(name)["value"].to_list() == pytest.approx(alone.scores(name)["value"].to_list(), rel=1e-6)
    assert scored.scores("length")["value"].to_list() == run.examples["n_response_tokens"].to_list()


def test_the_command_takes_them_too(run: Run, tmp_path: Path) -> None:
    """Options that were not given are not the defaults in its eyes."""
    done = command("score", "--metric", "length", "--out", run.path)
    assert done.returncode == 0, done.stderr
    lengths = gradprism.open_run(run.path).scores("length")["value"]
    assert lengths.to_list() == run.examples["n_response_tokens"].to_list()
    refused = command("score", "--metric", "loss", "--out", run.path, "--max-length", 64)
    assert refused.returncode == 2
    assert "--max-length 200 (now 64)" in refused.stderr
    assert refused.stderr.count("(now ") == 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": "other"}, ["--model", "--model", "--dtype"]),
        ({"max_length": 150}, ["--max-length"]),
        ({"template": "paper"}, ["--template"]),
        ({"turns": "all", "system": "Be long."}, ["--turns", "--system"]),
    ],
)
def test_other_settings_need_a_name(run: Run, other: str, change: dict[str, Any], named: list[str]) -> None:
    options = {name: other if value == "other" else value for name, value in change.items()}
    with pytest.raises(GradPrismError) as refused:
        gradprism.score(metric="loss", out=run.path, **options)
    message = str(refused.value)
    assert sorted(line.strip().removeprefix("no ").split()[0] for line in message.splitlines()[1:-1]) == sorted(named)
    assert "--name loss_other" in message
    assert not (run.path / "scores" / "loss").exists()
    with pytest.raises(GradPrismError, match="made with other settings"):
        gradprism.score(metric="loss", out=run.path, name="loss", **options)
    scored = gradprism.score(metric="loss", out=run.path, name="loss_other", **options)
    assert scored.scores("loss_other").filter(status="ok").height > 0


def test_imported_spectra_give_their_model_and_text(tiny_checkpoint: Path, tmp_path: Path, data: str) -> None:
    own = gradprism.spectra(data, str(tiny_checkpoint), out=tmp_path / "own", max_length=100)
    gradprism.export_paper(own, tmp_path / "paper.jsonl")
    options = {"model": str(tiny_checkpoint), "max_length": 100}
    imported = gradprism.import_paper(tmp_path / "paper.jsonl", out=tmp_path / "imported", **options)
    scored = gradprism.score(metric="length", out=imported.path)
    assert scored.scores("length")["value"].to_list() == own.examples["n_response_tokens"].to_list()
    with pytest.raises(GradPrismError, match=r"--max-length 100 \(now 64\)"):
        gradprism.score(metric="length", out=imported.path, max_length=64)


def test_a_run_of_a_loaded_model_asks_for_it(
    make_model: Callable[..., Any], tokenizer: Any, data: str, tmp_path: Path
) -> None:
    model = make_model("llama")
    gradprism.spectra(data, model, tokenizer=tokenizer, out=tmp_path / "run", max_length=100)
    with pytest.raises(GradPrismError, match="LlamaForCausalLM"):
        gradprism.score(metric="loss", out=tmp_path / "run")
    scored = gradprism.score(metric="loss", model=model, tokenizer=tokenizer, out=tmp_path / "run")
    assert scored.score_record("loss")["identity"]["text.max_length"] == 100


def test_the_template_that_fits_the_data_is_on_record_with_its_reason(
    tiny_checkpoint: Path, data: str, tmp_path: Path
) -> None:
    pairs = gradprism.spectra(data, str(tiny_checkpoint), out=tmp_path / "pairs")
    assert pairs.record["template"] == {"name": "paper", "why": "every row is a prompt and a response"}
    said = [("user", "One?"), ("assistant", "One."), ("user", "Two?"), ("assistant", "Two.")]
    rows = [{"messages": [{"role": role, "content": content} for role, content in said]}] * 2
    chats = gradprism.spectra(rows, str(tiny_checkpoint), out=tmp_path / "chats")
    assert chats.record["template"]["name"] == chats.record["identity"]["text.template"] == "chat"
    assert chats.record["template"]["why"].startswith("conversations in 2 rows")
    shown = {name: " ".join(command("show", tmp_path / name).stdout.split()) for name in ("pairs", "chats")}
    assert "chat (conversations in 2 rows" in shown["chats"]
    assert "paper (every row is a prompt and a response)" in shown["pairs"]
    asked = gradprism.spectra(rows, str(tiny_checkpoint), out=tmp_path / "asked", template="paper")
    assert asked.record["template"] == {"name": "paper", "why": "as asked for"}


def test_conversations_without_a_template_of_the_tokenizer_are_read_as_paper(tokenizer: Any) -> None:
    from copy import deepcopy

    from gradprism.data.encode import choose_template

    bare = deepcopy(tokenizer)
    bare.chat_template = None
    settings, why = choose_template(TextSettings(), bare, 3)
    assert settings.template == "paper"
    assert why == "conversations in 3 rows, but the tokenizer has no chat template"


def test_a_run_goes_on_with_the_day_on_which_it_began(
    dated: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"out": tmp_path / "run", "template": "chat", "part_rows": 2}
    on("2025-01-02", monkeypatch)
    first = gradprism.spectra(data, dated, **options)
    assert first.record["identity"]["text.date"] == "2025-01-02"
    for part in (tmp_path / "run").glob("*/part-00001.parquet"):
        part.unlink()
    on("2025-03-04", monkeypatch)
    again = gradprism.spectra(data, dated, **options)
    assert again.record["identity"]["text.date"] == "2025-01-02"
    assert again.examples["loss"].to_list() == pytest.approx(first.examples["loss"].to_list(), rel=1e-6)
    with pytest.raises(GradPrismError, match=r"--date 2025-01-02 \(now 2025-03-04\)"):
        gradprism.spectra(data, dated, date="2025-03-04", **options)
    assert "dated 2025-01-02" in command("show", tmp_path / "run").stdout
    new = gradprism.spectra(data, dated, **options | {"out": tmp_path / "new"})
    assert new.record["identity"]["text.date"] == "2025-03-04"


def test_the_day_is_in_the_tokens_and_no_setting_of_other_templates(dated: str, data: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    from gradprism.data.example_set import open_examples
    from gradprism.data.settings import ReadSettings

    tokenizer = AutoTokenizer.from_pretrained(dated)
    (example, *_) = open_examples(data, ReadSettings())
    ids = make_encoder(tokenizer, TextSettings(template="chat", date="2025-01-02")).encode(example).ids
    assert tokenizer.decode(ids).startswith("02 Jan 2025")
    run = gradprism.spectra(data, dated, out=tmp_path / "run", template="paper", date="2025-01-02")
    assert run.record["identity"]["text.date"] is None


def test_scores_have_the_day_of_the_spectra(
    dated: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on("2025-01-02", monkeypatch)
    run = gradprism.spectra(data, dated, out=tmp_path / "run", template="chat")
    on("2025-03-04", monkeypatch)
    scored = gradprism.score(metric="loss", out=tmp_path / "run")
    assert scored.score_record("loss")["identity"]["text.date"] == "2025-01-02"
    assert scored.scores("loss")["value"].to_list() == pytest.approx(run.examples["loss"].to_list(), rel=1e-12)
    with pytest.raises(GradPrismError, match=r"--date 2025-01-02 \(now 2025-03-04\)"):
        gradprism.score(metric="ifd", out=tmp_path / "run", date="2025-03-04")


@pytest.mark.parametrize("spectra", [True, False])
def test_scores_go_on_with_the_day_on_which_they_began(
    spectra: bool, dated: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also beside spectra whose template prints none, and where another metric is named before them."""
    on("2025-01-02", monkeypatch)
    if spectra:
        gradprism.spectra(data, dated, out=tmp_path / "run", template="paper")
    options = {"model": dated, "template": "chat", "out": tmp_path / "run", "name": "mine"}
    gradprism.score(data, "loss", **options)
    on("2025-03-04", monkeypatch)
    scored = gradprism.score(data, "loss", **options)
    assert scored.score_record("mine")["identity"]["text.date"] == "2025-01-02"
    with pytest.raises(GradPrismError, match=r"--date 2025-01-02 \(now 2025-03-04\)"):
        gradprism.score(data, "loss", date="2025-03-04", **options)


def test_metrics_of_one_run_share_its_day(
    dated: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"model": dated, "template": "chat", "out": tmp_path / "run"}
    on("2025-01-02", monkeypatch)
    gradprism.score(data, "loss", **options)
    on("2025-03-04", monkeypatch)
    scored = gradprism.score(data, "length,loss,ifd", **options)
    days = {name: scored.score_record(name)["identity"]["text.date"] for name in scored.metrics}
    assert days == dict.fromkeys(("ifd", "length", "loss"), "2025-01-02")
