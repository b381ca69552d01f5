"""The trainer around a callback: which one it is, what of its wrapping is refused, and how to log through it."""

import sys
from collections.abc import Mapping
from typing import Any

from torch import nn
from transformers import Trainer, TrainerControl

from gradprism.core.errors import GradPrismError
from gradprism.models.full_precision import model_itself


def calling_trainer() -> Any:
    """Return the trainer that is calling this callback: events name model and state, and never the trainer itself.

    Raises `GradPrismError` where none is.
    """
    frame = sys._getframe()
    while (caller := frame.f_back) is not None:
        if isinstance(trainer := caller.f_locals.get("self"), Trainer):
            return trainer
        frame = caller
    raise GradPrismError(
        "SpectraCallback was called outside of a trainer. Expected it among the callbacks of one: "
        "Trainer(..., callbacks=[SpectraCallback(rows)]), or SFTTrainer of TRL."
    )


def whole_model(trainer: Any) -> nn.Module:
    """Return the trainer's model without what wraps it. Raises `GradPrismError` where its weights are in pieces."""
    for wrapper, is_on in (
        ("FSDP", getattr(trainer, "is_fsdp_enabled", False)),
        ("DeepSpeed ZeRO-3", _is_zero3(trainer)),
        ("Tensor parallelism", _has_sharded_weights(trainer.model)),
    ):
        if is_on:
            raise GradPrismError(
                f"SpectraCallback: {wrapper} leaves each process with a piece of every weight, and a gradient is "
                "measured on whole ones. Expected one process, DDP, or ZeRO up to stage 2; or measure the checkpoints: "
                "gradprism spectra ROWS --model CHECKPOINT."
            )
    model: nn.Module = model_itself(trainer.model)
    return model


def _is_zero3(trainer: Any) -> bool:
    plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    return plugin is not None and plugin.zero_stage == 3


def _has_sharded_weights(model: nn.Module) -> bool:
    return any(hasattr(weight, "full_tensor") for weight in model.parameters())


def log_through(trainer: Any, control: TrainerControl, values: Mapping[str, float]) -> None:
    """Log values at the present step, to all that the trainer reports to, and leave its own log as it would be.

    `Trainer.log` itself is called, since TRL's add their averages since the last log, and begin new ones; and an event
    of logging ends the trainer's intention to log its loss at this step.
    """
    should_log = control.should_log
    Trainer.log(trainer, dict(values))
    control.should_log = should_log
