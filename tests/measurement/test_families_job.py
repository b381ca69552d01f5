"""Runs of models whose projections are not q, k, v, o in every layer: on record, in the summary, and downstream."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.conftest import SAMPLE
from tests.families import FAMILIES

import gradprism
from gradprism import GradPrismError
from gradprism.core.progress import NoProgress
from gradprism.runs.render import summary_of
from gradprism.runs.values import metric_names

ROWS = {"limit": 24, "max_length": 60, "turns": "last"}


class Listening(NoProgress):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def say(self, text: str) -> None:
        self.heard.append(text)


def model_of(name: str, tokenizer: Any) -> Any:
    family = next(each for each in FAMILIES if each.name == name)
    model = family.make()
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    return model


def shown(run: Any) -> str:
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(summary_of(run))
    return console.export_text()


@pytest.fixture(scope="module")
def latent(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("latent") / "run"
    return gradprism.spectra(SAMPLE, model_of("minicpm3", tokenizer), tokenizer=tokenizer, out=out, **ROWS)


def test_a_run_says_what_latent_attention_has_instead(latent: Any) -> None:
    record = json.loads((latent.path / "run.json").read_text(encoding="utf-8"))
    names = ["q_a", "q_b", "kv_a", "kv_b", "o"]
    assert record["identity"]["prism.projections"] == "q,k,v,o"  # asked for
    assert record["model"]["projections"] == [*latent.projections] == names
    assert record["model"]["measured_layers"] == [0, 1, 2]
    assert latent.spectra["projection"].unique(maintain_order=True).to_list() == names
    text = shown(latent)
    assert "q_a, q_b, kv_a, kv_b, o, as this model has them" in text
    assert text.index("q_a ") < text.index("kv_b ")


def test_latent_attention_downstream(latent: Any) -> None:
    assert "effective_rank:kv_b" in metric_names(latent)
    compared = gradprism.compare(latent, by="column:kind", resamples=199)
    assert [*compared.projections] == ["q_a", "q_b", "kv_a", "kv_b", "o"]
    chosen = gradprism.select(latent, by="effective_rank:kv_b", top=3)
    assert chosen.selected.height == 3


def test_a_hybrid_says_how_many_layers_it_skips(tokenizer: Any, tmp_path: Path) -> None:
    observer = Listening()
    made = gradprism.spectra(
        SAMPLE, model_of("lfm2", tokenizer), tokenizer=tokenizer, out=tmp_path / "run", observer=observer, **ROWS
    )
    words = "q, k, v, o in 1 of 3 layers; the other 2 have none of them"
    assert f"Measured: {words}" in observer.heard
    assert words in shown(made)
    assert made.record["model"]["skipped_layers"] == [0, 2]
    assert made.spectra["layer"].unique().to_list() == [1]


def test_a_run_made_before_this_was_on_record_reads_as_before(latent: Any, tmp_path: Path) -> None:
    record = json.loads((latent.path / "run.json").read_text(encoding="utf-8"))
    del record["model"]["projections"], record["sha256"]
    (tmp_path / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert gradprism.open_run(tmp_path).projections == ("q", "k", "v", "o")


def test_another_description_is_another_run(tiny_checkpoint: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "mine.yaml", tmp_path / "run"
    file.write_text("layers: model.layers.*\nq: self_attn.q_proj\n", encoding="utf-8")
    options = {"out": out, "architecture": file, "projections": "q", **ROWS}
    made = gradprism.spectra(SAMPLE, tiny_checkpoint, **options)
    assert made.projections == ("q",)
    assert made.record["identity"]["prism.architecture"] == str(file.resolve())
    file.write_text("# the same\nlayers: model.layers.*\nq: {module: self_attn.q_proj}\n", encoding="utf-8")
    assert len(gradprism.spectra(SAMPLE, tiny_checkpoint, **options).record["sessions"]) == 1
    file.write_text("layers: model.layers.*\nq: self_attn.k_proj\n", encoding="utf-8")
    with pytest.raises(GradPrismError, match="--architecture: its text is another"):
        gradprism.spectra(SAMPLE, tiny_checkpoint, **options)
