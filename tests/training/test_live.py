"""The gradients that a batch's own backward gives are those of a pass of their own over the same rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from polars.testing import assert_frame_equal

import gradprism
from gradprism import GradPrismError, SpectraCallback
from gradprism.training.batch_rows import rows_of_batch
from tests.training.tiny_training import trainer_of, with_lora

pytestmark = pytest.mark.slow  # trainers, each with a model of its own

Rows = Sequence[dict[str, str]]
TRAININGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "mlp": {"projections": "q,k,v,o,gate,up,down"},
    "left": {"side": "left"},
    "accumulated": {"gradient_accumulation_steps": 2},
    "checkpointed": {"gradient_checkpointing": True},
    "reentrant": {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}},
    "lora": {"adapter": None},
    "lora above": {"adapter": [2, 3]},
    "lora checkpointed": {"adapter": None, "gradient_checkpointing": True},
    "qwen": {"family": "qwen3"},
    "bf16": {"bf16": True},
}


QUICK = ("left", "accumulated", "lora checkpointed", "bf16")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.exhaustive) for name in TRAININGS]
)
def test_live_agrees_with_a_pass_of_its_own(
    name: str, make_model: Any, tokenizer: Any, sample_rows: Rows, tmp_path: Path
) -> None:
    options = dict(TRAININGS[name])
    family, projections = options.pop("family", "llama"), options.pop("projections", "q,k,v,o")
    adapter = options.pop("adapter", False)
    key = ["row", "layer", "other_layer", "kind", "pair"]

    def steps(live: bool) -> gradprism.Steps:
        torch.manual_seed(3)
        model = make_model(family)
        model = model if adapter is False else with_lora(model, layers_to_transform=adapter)
        callback = SpectraCallback(every=2, live=live, projections=projections, limit=2, all_layers=True, null_draws=1)
        out = tmp_path / str(live)
        trainer = trainer_of(model, tokenizer, sample_rows, out, [callback], steps=3, **options)
        trainer.train()
        return gradprism.open_steps(out / "spectra")

    own, live = steps(False), steps(True)
    assert list(own.runs) == list(live.runs) == [0, 2]
    tolerance = 0.1 if name == "bf16" else 2e-4
    for step, run in own.runs.items():
        found = live.runs[step]
        assert run.counts.ok == 2
        assert gradprism.check(found.path).is_whole
        assert_frame_equal(found.examples, run.examples, check_exact=False, rel_tol=tolerance)
        measures = [column for column in run.spectra.columns if column != "grad_mean"]  # near zero
        assert_frame_equal(
            found.spectra.select(measures), run.spectra.select(measures), check_exact=False, rel_tol=tolerance,
        )  # fmt: skip
        cosines = (each.similarity.sort(key) for each in (found, run))
        assert_frame_equal(*cosines, check_exact=False, rel_tol=0, abs_tol=tolerance)


def test_some_layers_alone(make_model: Any, tokenizer: Any, sample_rows: Rows, tmp_path: Path) -> None:
    callback = SpectraCallback(every=1, live=True, projections="k,v", layers=[1, 3], limit=1)
    trainer_of(make_model("llama"), tokenizer, sample_rows, tmp_path, [callback], steps=2).train()
    steps = gradprism.open_steps(tmp_path / "spectra")
    assert steps.layer_means.select("step", "projection", "layer").rows() == [
        (step, name, layer) for step in (0, 1) for name in "kv" for layer in (1, 3)
    ]
    assert steps.runs[1].record["model"]["measured_layers"] == [1, 3]
    assert steps.runs[1].examples["example_id"].to_list() == ["step-000001-row-0"]


def test_what_is_no_mean_of_token_losses_is_refused(
    make_model: Any, tokenizer: Any, sample_rows: Rows, tmp_path: Path
) -> None:
    def train(model: Any, layers: Sequence[int] | None = None, **options: Any) -> None:
        callback = SpectraCallback(live=True, projections="q", layers=layers)
        trainer_of(model, tokenizer, sample_rows, tmp_path, [callback], **options).train()

    with pytest.raises(GradPrismError, match="label smoothing keeps the labels from the model"):
        train(make_model("llama"), label_smoothing_factor=0.2)
    capped = make_model("gemma3")
    capped.config.final_logit_softcapping = 2.0
    with pytest.raises(GradPrismError, match="or the model caps or scales its logits"):
        train(capped)
    with pytest.raises(GradPrismError, match="the model has no projections in layer 9"):
        train(make_model("llama"), [9])
    with pytest.raises(GradPrismError, match="live=True with torch_compile=True"):
        train(make_model("llama"), torch_compile=True)


@pytest.mark.parametrize("more", [
    {"position_ids": torch.tensor([[0, 1, 2, 0, 1]])},
    {"cu_seq_lens_q": torch.tensor([0, 3, 5])},
    {"attention_mask": torch.ones(1, 1, 5, 5)},
])  # fmt: skip
def test_packed_rows_are_refused(more: dict[str, Any]) -> None:
    ids = torch.arange(5)[None]
    with pytest.raises(GradPrismError, match="several examples each"):
        rows_of_batch({"input_ids": ids, "labels": ids, **more}, 4)


def test_rows_of_a_batch_are_without_padding_and_without_rows_that_have_no_loss() -> None:
    ids = torch.tensor([[0, 0, 5, 6, 7], [1, 2, 3, 4, 0], [1, 2, 3, 4, 5]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    labels = torch.tensor([[-100, -100, 5, 6, 7], [-100, -100, 3, 4, -100], [1, -100, -100, -100, -100]])
    found = rows_of_batch({"input_ids": ids, "labels": labels, "attention_mask": mask}, 3)
    assert [(row.index, row.encoded.ids, row.encoded.response_mask) for row in found] == [
        (0, (5, 6, 7), (False, True, True)),
        (1, (1, 2, 3, 4), (False, False, True, True)),
    ]
    assert len(rows_of_batch({"input_ids": ids, "labels": labels}, 1)[0].encoded.ids) == 5
    with pytest.raises(GradPrismError, match=r"given input_ids\. Expected a batch with input_ids and labels"):
        rows_of_batch({"input_ids": ids}, 1)


def test_tokens_that_are_weighed_are_refused(
    make_model: Any, tokenizer: Any, sample_rows: Rows, tmp_path: Path
) -> None:
    """As TRL's dft does: the loss of a token times its own probability."""

    def weighed(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        nll = torch.nn.functional.cross_entropy(outputs.logits[:, :-1].transpose(1, 2), labels[:, 1:], reduction="none")
        return (nll * torch.linspace(0.5, 1.5, nll.shape[1])).sum() / num_items_in_batch

    from transformers import Trainer

    class Weighing(Trainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None):
            return weighed(model(**inputs), inputs["labels"], num_items_in_batch)

    callback = SpectraCallback(live=True, projections="q")
    trainer = trainer_of(make_model("llama"), tokenizer, sample_rows, tmp_path, [callback], kind=Weighing)
    with pytest.raises(GradPrismError, match="is not that of the tokens' mean loss: the trainer smooths labels"):
        trainer.train()
