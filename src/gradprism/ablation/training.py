"""Train a model on the steps of one arm by transformers' Trainer, with the loss mask of the encoded rows."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature
from tempfile import TemporaryDirectory
from typing import Any

import torch
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from gradprism.ablation.arms import Steps, TrainRow
from gradprism.ablation.settings import TrainSettings
from gradprism.core.errors import GradPrismError
from gradprism.models.batches import Batches
from gradprism.models.likelihood import Batch
from gradprism.models.loading import silent_libraries

OnStep = Callable[[int, int], None]  # rows and tokens of the step
Evaluate = Callable[[int], None]  # after so many steps


class DivergedError(GradPrismError):
    """A training whose loss is not finite any more."""


@dataclass
class StepLog:
    """The log of a training, by step: `step`, `loss` (nats a response token), `grad_norm`, `learning_rate`."""

    rows: list[dict[str, float]] = field(default_factory=list)


def train(
    model: Any,
    steps: Steps,
    settings: TrainSettings,
    batch_tokens: int | None,
    seed: int,
    device: str,
    evaluate: Evaluate,
    on_step: OnStep,
) -> StepLog:
    """Train a model in place on the given steps, and return the log.

    Every step is one of the optimiser: the mean loss over the step's response tokens, its rows in batches of at most
    `batch_tokens` tokens. `evaluate` is called after the steps that the settings name. Raises `DivergedError`.
    """
    log = StepLog()
    with TemporaryDirectory() as folder, silent_libraries(), _accelerate_as_found():
        trainer = _StepTrainer(
            model=model,
            args=_arguments(settings, seed, device, folder),
            train_dataset=_StepSet(steps),
            data_collator=_only,
            callbacks=[_Watch(settings.eval_steps, evaluate, log)],
        )
        trainer.rows_in_batches = Batches[TrainRow](
            lambda each: each.encoded.n_tokens, batch_tokens, torch.device(device)
        )
        trainer.on_rows = on_step
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return log


@contextmanager
def _accelerate_as_found() -> Iterator[None]:
    """Forget what a trainer tells accelerate for the whole process, where nobody had told it anything before."""
    was_set = bool(AcceleratorState._shared_state)
    try:
        yield
    finally:
        if not was_set:
            AcceleratorState._reset_state(reset_partial_state=True)


def with_lora(model: Any, settings: TrainSettings, seed: int) -> Any:
    """Return the model with fresh LoRA adapters on all its linear maps but the output layer."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    rank = settings.lora_rank
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, config)


def _arguments(settings: TrainSettings, seed: int, device: str, folder: str) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=settings.steps,
        per_device_train_batch_size=1,  # one step of ours
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        learning_rate=settings.rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=round(settings.warmup * settings.steps),
        weight_decay=settings.weight_decay,
        bf16=settings.amp == "bf16",
        fp16=settings.amp == "fp16",
        gradient_checkpointing=settings.gradient_checkpointing,
        use_cpu=device == "cpu",
        seed=seed,
        data_seed=seed,
        save_strategy="no",
        report_to=[],
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    if arguments.n_gpu > 1:  # each training has one
        arguments._n_gpu = 1
    return arguments


class _StepSet(Dataset[tuple[TrainRow, ...]]):
    """The steps of a training, in their order."""

    def __init__(self, steps: Steps):
        self._steps = steps

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, index: int) -> tuple[TrainRow, ...]:
        return self._steps[index]


def _only(items: Sequence[tuple[TrainRow, ...]]) -> dict[str, Any]:
    (step,) = items
    return {"step": list(step)}


class _StepTrainer(Trainer):  # type: ignore[misc]
    """A trainer whose items are whole steps, of as many rows as it takes."""

    rows_in_batches: Batches[TrainRow]
    on_rows: OnStep

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Send back the gradient of the mean loss over the step's response tokens; return that loss."""
        model.train()
        rows: list[TrainRow] = inputs["step"]
        total, tokens = 0.0, sum(each.encoded.n_response_tokens for each in rows)
        for batch in self.rows_in_batches.cut(rows):
            with self.compute_loss_context_manager():
                nll = response_nll(model, Batch.of([each.encoded for each in batch], self.args.device))
            self.accelerator.backward(nll / tokens)
            total += nll.item()
        if not math.isfinite(total):
            raise DivergedError(f"the loss is {total} at step {self.state.global_step + 1}")
        self.on_rows(len(rows), sum(each.encoded.n_tokens for each in rows))
        return torch.tensor(total / tokens, device=self.args.device)


def response_nll(model: Any, batch: Batch) -> Tensor:
    """Sum the negative log-likelihoods of a batch's response tokens, nats; autograd follows."""
    scored = batch.response_mask[:, 1:]
    options: dict[str, Any] = {"use_cache": False}
    places = scored.any(0).nonzero().squeeze(1)
    if "logits_to_keep" in signature(_base(model).forward).parameters:
        options["logits_to_keep"] = places
    logits = model(input_ids=batch.ids, **options).logits
    if logits.shape[1] != len(places):
        logits = logits[:, places]
    chosen = scored[:, places]
    return cross_entropy(logits[chosen].float(), batch.ids[:, 1:][scored], reduction="sum")


def _base(model: Any) -> Any:
    """Return the model inside an adapter's wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


class _Watch(TrainerCallback):  # type: ignore[misc]
    """Evaluates after some steps, and keeps what the trainer logs."""

    def __init__(self, eval_steps: Sequence[int], evaluate: Evaluate, log: StepLog):
        self._eval_steps, self._evaluate, self._log = eval_steps, evaluate, log

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step in self._eval_steps:
            self._evaluate(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            told = {name: float(logs[name]) for name in ("loss", "grad_norm", "learning_rate") if name in logs}
            self._log.rows.append({"step": state.global_step, **told})
