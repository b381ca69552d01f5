"""The settings that a metric is made from, and the models that they name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import Say
from gradprism.data.encode import Encoder, make_encoder
from gradprism.data.settings import TextSettings
from gradprism.metrics.settings import JudgeSettings, LikelihoodSettings, RequestSettings, RewardSettings
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.device import Spread, find_device, find_spread
from gradprism.models.record import resolved_checkpoint
from gradprism.models.settings import CheckpointSettings, ExecutionSettings
from gradprism.models.sources import LoadedModel, ModelSource
from gradprism.models.text import text_identity

KnownSums = Callable[[Sequence[int]], Mapping[int, tuple[float, int]]]
"""Rows -> summed negative log-likelihood and token count of the response, where the same model computed them before."""


class ScoringSettings(Protocol):
    """The settings that a metric may read; the recipe of `gradprism score` has them."""

    @property
    def text(self) -> TextSettings:
        """The template, and the tokens in the loss; every setting is chosen."""

    @property
    def checkpoint(self) -> CheckpointSettings | None:
        """The causal language model, where one is named."""

    @property
    def likelihood(self) -> LikelihoodSettings:
        """The settings of IFD."""

    @property
    def judge(self) -> JudgeSettings:
        """The judge, its prompt and its answers."""

    @property
    def requests(self) -> RequestSettings:
        """The requests to the judge."""

    @property
    def reward(self) -> RewardSettings:
        """The reward model."""

    @property
    def execution(self) -> ExecutionSettings:
        """Devices and batches."""

    @property
    def own(self) -> Mapping[str, Any]:
        """Settings that only one metric has, not yet checked."""


@dataclass(frozen=True)
class CausalModel:
    """A causal language model, not yet loaded, and the encoder of its texts."""

    source: ModelSource
    encoder: Encoder
    identity: Mapping[str, Any]
    """Settings of text and model, named as in the record of a run of spectra, so that they can be compared."""
    load: Callable[[], Any]
    """Loads the weights onto their device, and returns the model."""


@dataclass(frozen=True)
class MetricContext:
    """The settings of a recipe, and the models that replace those that they name."""

    settings: ScoringSettings
    say: Say
    answers_file: Path
    """The cache file of a judge's answers."""
    known_sums: Callable[[Mapping[str, Any]], KnownSums]
    """Returns the lookup of sums that are already known for the model and text with this identity."""
    source: ModelSource | None = None
    """A causal language model that replaces the recipe's."""
    classifier: LoadedModel | None = None
    """A reward model that replaces the recipe's."""
    will_score: bool = True
    """False where the metric is only for planning: no weights are downloaded, and no key is needed."""

    def causal_model(self, metric: str, *, tokenizer_alone: bool = False) -> CausalModel:
        """Find the causal language model. Raises `GradPrismError` where none is named."""
        checkpoint, say = self.settings.checkpoint, self.say
        if self.source is None and checkpoint is None:
            raise GradPrismError(
                f"--metric {metric} needs a causal language model{' (its tokenizer)' * tokenizer_alone}. "
                "Expected --model with a hub id, a folder, a .gguf file or a built-in name (see `gradprism models`)."
            )
        weights = self.will_score and not tokenizer_alone
        found = self.source or find_checkpoint(checkpoint, say, weights=weights)  # type: ignore[arg-type]
        config = found.load_config()
        named = checkpoint or CheckpointSettings(model=found.name, dtype="auto")
        identity = {f"text.{name}": value for name, value in self.settings.text}
        identity |= {f"checkpoint.{name}": value for name, value in resolved_checkpoint(named)}
        identity |= {"model fingerprint": found.fingerprint(config)} | text_identity(self.settings.text)

        def load() -> Any:
            say(f"Loading {found.name}")
            return found.load_model(*self.devices(found))

        return CausalModel(found, make_encoder(found.load_tokenizer(), self.settings.text), identity, load)

    def devices(self, source: ModelSource) -> tuple[str, Spread | None]:
        """Return the device to load a model on, and how to spread it over several."""
        execution = self.settings.execution
        return source.device(find_device(execution.device)), find_spread(execution)
