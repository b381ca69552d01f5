"""TRL's SFTTrainer: its losses and its own metrics are as without the callback."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from polars.testing import assert_frame_equal
from transformers import TrainerCallback

import gradprism
from gradprism import GradPrismError, SpectraCallback
from tests.training.tiny_training import arguments, curve, logged, same_weights, with_lora

pytestmark = pytest.mark.slow  # trainers of TRL

Rows = Sequence[dict[str, str]]


def sft(model: Any, tokenizer: Any, rows: Rows, out: Path, *callbacks: TrainerCallback, **more: Any) -> Any:
    from trl import SFTConfig, SFTTrainer

    tokenizer.pad_token = tokenizer.eos_token
    data = Dataset.from_list([{"prompt": row["instruction"], "completion": row["output"]} for row in rows])
    trainer = SFTTrainer(
        model,
        SFTConfig(**arguments(out, **{"max_length": 48, **more})),
        train_dataset=data,
        processing_class=tokenizer,
        callbacks=[*callbacks],
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("way", ["rows", "batch", "live"])
@pytest.mark.parametrize("training", ["plain", pytest.param("lora", marks=pytest.mark.exhaustive)])
def test_losses_and_metrics_are_those_without(
    way: str, training: str, make_model: Any, tokenizer: Any, sample_rows: Rows, tmp_path: Path
) -> None:
    import torch

    def trained(*callbacks: TrainerCallback) -> Any:
        torch.manual_seed(4)
        model = make_model("llama")
        if training == "plain":
            return sft(model, tokenizer, sample_rows, tmp_path, *callbacks)
        options = {"gradient_checkpointing": True, "gradient_accumulation_steps": 2, "bf16": True}
        return sft(with_lora(model), tokenizer, sample_rows, tmp_path, *callbacks, **options)

    rows = sample_rows[:2] if way == "rows" else None
    without = trained()
    watched = trained(SpectraCallback(rows, every=2, live=way == "live", projections="q,v"))
    assert curve(watched) == curve(without)
    assert "mean_token_accuracy" in curve(without)[0]
    assert same_weights(watched.model, without.model)
    assert all("mean_token_accuracy" not in entry for entry in logged(watched))
    assert list(gradprism.open_steps(tmp_path / "spectra").runs) == ([0, 2, 4] if way == "rows" else [0, 2])


def test_live_agrees_with_a_pass_of_its_own_on_the_loss_of_trl(
    make_model: Any, tokenizer: Any, sample_rows: Rows, tmp_path: Path
) -> None:
    for live in (False, True):
        callback = SpectraCallback(every=3, live=live, projections="q,v")
        sft(make_model("llama"), tokenizer, sample_rows, tmp_path / str(live), callback, bf16=False)
    own, live = (gradprism.open_steps(tmp_path / str(live) / "spectra") for live in (False, True))
    assert_frame_equal(live.layer_means, own.layer_means, check_exact=False, rel_tol=2e-4)


def test_packed_batches_are_refused_and_rows_are_not(
    make_model: Any, tokenizer: Any, sample_rows: Rows, tmp_path: Path
) -> None:
    with pytest.raises(GradPrismError, match="several examples each"):
        sft(
            make_model("llama"),
            tokenizer,
            sample_rows,
            tmp_path,
            SpectraCallback(live=True),
            padding_free=True,
            max_length=None,
        )
    callback = SpectraCallback(sample_rows[:2], projections="q")
    sft(
        make_model("llama"),
        tokenizer,
        sample_rows,
        tmp_path / "rows",
        callback,
        padding_free=True,
        max_length=None,
        steps=1,
    )
    assert list(gradprism.open_steps(tmp_path / "rows" / "spectra").runs) == [0, 1]
