"""Trainings of a few steps on a tiny model: with or without a callback, they are the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments

STEPS = 4


def encoded(tokenizer: Any, rows: Sequence[dict[str, str]]) -> Dataset:
    def encode(row: dict[str, str]) -> dict[str, list[int]]:
        prompt = tokenizer(row["instruction"] + "\n")["input_ids"][:20]
        answer = tokenizer(row["output"])["input_ids"][: 10 + len(row["output"]) % 20]
        ids = prompt + answer
        return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": [-100] * len(prompt) + answer}

    return Dataset.from_list([encode(row) for row in rows])


def arguments(out: Path, steps: int = STEPS, **more: Any) -> dict[str, Any]:
    return {
        "output_dir": str(out), "max_steps": steps, "per_device_train_batch_size": 3, "logging_steps": 1,
        "report_to": [], "disable_tqdm": True, "learning_rate": 1e-3, "seed": 1, "use_cpu": True,
        "save_strategy": "no", "dataloader_pin_memory": False, **more,
    }  # fmt: skip


def trainer_of(
    model: Any, tokenizer: Any, rows: Sequence[dict[str, str]], out: Path, callbacks: Sequence[TrainerCallback],
    side: str = "right", kind: type[Trainer] = Trainer, **more: Any,
) -> Trainer:  # fmt: skip
    tokenizer.pad_token, tokenizer.padding_side = tokenizer.eos_token, side
    return kind(
        model,
        TrainingArguments(**arguments(out, **more)),
        train_dataset=encoded(tokenizer, rows),
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        processing_class=tokenizer,
        callbacks=[*callbacks],
    )


def curve(trainer: Any) -> list[dict[str, Any]]:
    """What the trainer logs by itself, without times."""
    own = [entry for entry in trainer.state.log_history if not any(name.startswith("spectra/") for name in entry)]
    return [{name: value for name, value in entry.items() if "train_" not in name} for entry in own]


def logged(trainer: Any) -> list[dict[str, Any]]:
    return [entry for entry in trainer.state.log_history if "spectra/loss" in entry]


def weights(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def with_lora(model: Any, **more: Any) -> Any:
    import peft

    made = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], **more))
    for name, parameter in made.named_parameters():  # B begins at zero, where the adapter does nothing
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return made
