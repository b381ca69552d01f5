"""Sources of a model: what gives a model, its configuration and its tokenizer, and one that the caller has loaded."""

from dataclasses import dataclass
from typing import Any, Protocol

from gradprism.core.errors import GradPrismError
from gradprism.models.device import Spread, execution_device


@dataclass(frozen=True)
class TrainingStep:
    """A moment of a training: after so many updates of the weights."""

    training: str
    """Id of the training, which no other has."""
    step: int

    @property
    def fingerprint(self) -> str:
        """Text that tells the weights of this moment from all others, without reading them."""
        return f"{self.training}-{self.step:06d}"


class ModelSource(Protocol):
    """Gives a model, its configuration and its tokenizer."""

    @property
    def name(self) -> str:
        """Name of the model, as given or loaded by."""

    def load_config(self) -> Any:
        """Return its configuration."""

    def load_tokenizer(self) -> Any:
        """Return its tokenizer."""

    def device(self, wanted: str) -> str:
        """Return the device that the model will be on, given the one that was asked for."""

    def load_model(self, device: str, spread: Spread | None = None) -> Any:
        """Return the model in evaluation mode, on a device or spread over several."""

    def dtype(self, config: Any) -> str:
        """Return the type of its weights: float32, bfloat16, ..."""

    def class_name(self, config: Any) -> str:
        """Return the class that it is built as, which need not be the one it was saved from."""

    def fingerprint(self, config: Any) -> str:
        """Return a digest that tells this model and tokenizer from others of the same name."""

    @property
    def adapter(self) -> str | None:
        """Name of its adapter; None where it has none."""

    def quantization(self, config: Any) -> str | None:
        """Return how its weights are quantised; None where they are not."""

    @property
    def moment(self) -> TrainingStep | None:
        """Step of the training that it is in the middle of; None for a model at rest."""


class LoadedModel:
    """A model and tokenizer that the caller already holds."""

    def __init__(self, model: Any, tokenizer: Any, moment: TrainingStep | None = None):
        """Keep both as they are; `moment` is the step of a model in training.

        Raises `GradPrismError` where one is missing, or cannot be measured.
        """
        from gradprism.models.adapters import refuse_kinds
        from gradprism.models.full_precision import model_itself

        model = model_itself(model)
        if tokenizer is None or not hasattr(model, "config"):
            raise GradPrismError(
                f"Given a {type(model).__name__} and a {type(tokenizer).__name__}; expected a model of transformers "
                "together with its tokenizer, such as spectra(data, model, tokenizer=tokenizer)."
            )
        refuse_kinds(model)
        self._model = model
        self._tokenizer = tokenizer
        self._digest = moment.fingerprint if moment else None
        self.moment = moment

    @property
    def name(self) -> str:
        """Name it was loaded by, else its class; in training with the step."""
        name = self._model.config.name_or_path or type(self._model).__name__
        return f"{name} at step {self.moment.step:,}" if self.moment else name

    def load_config(self) -> Any:
        """Return its configuration."""
        return self._model.config

    def load_tokenizer(self) -> Any:
        """Return its tokenizer."""
        return self._tokenizer

    def device(self, wanted: str) -> str:
        """Return the device it is on: whoever loaded it has placed it."""
        return str(execution_device(self._model))

    def load_model(self, device: str, spread: Spread | None = None) -> Any:
        """Return the model as it is."""
        return self._model

    load_classifier = load_model

    @property
    def adapter(self) -> str | None:
        """Names of its adapters, joined by commas; None where it has none."""
        return ", ".join(getattr(self._model, "peft_config", None) or ()) or None

    def quantization(self, config: Any) -> str | None:
        """Return how its configuration says that it is quantised; None where it does not."""
        return quantised_by(config)

    def dtype(self, config: Any) -> str:
        """Return the type of its first weight."""
        return str(next(self._model.parameters()).dtype).removeprefix("torch.")

    def class_name(self, config: Any) -> str:
        """Return its class; below an adapter, the adapted model's."""
        from gradprism.models.projections.decoder_layers import base_model

        return type(base_model(self._model)[1]).__name__

    def fingerprint(self, config: Any) -> str:
        """Return a digest of the tokenizer, all weights, adapters and hooks, as they were at the first call.

        A job asks several times, and a large model takes seconds: one in training is told by its step instead.
        """
        from gradprism.models.fingerprint import digest_of_model  # loads torch

        if self._digest is None:
            self._digest = digest_of_model(self._model, self._tokenizer, self.dtype(config))
        return self._digest


def quantised_by(config: Any) -> str | None:
    """Return the way of quantising that a configuration names (gptq, bitsandbytes, ...); None where it names none."""
    own = getattr(config, "quantization_config", None)
    found = own.get("quant_method") if isinstance(own, dict) else getattr(own, "quant_method", None)
    return str(getattr(found, "value", found)) if found else None
