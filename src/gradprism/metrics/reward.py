"""Reward: the score of a conversation by a reward model, any sequence classifier of transformers."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import OnBatch, Say
from gradprism.data.chat_template import prints_date
from gradprism.data.encode import own_template, read_template
from gradprism.data.example import Example
from gradprism.files.records import short_digest
from gradprism.metrics.context import MetricContext
from gradprism.metrics.metric import Metric, Plan, Score, usable
from gradprism.metrics.reward_model.conversations import Conversation, ConversationEncoder
from gradprism.metrics.settings import RewardSettings
from gradprism.models.checkpoints import Checkpoint, find_checkpoint
from gradprism.models.positions import position_limit
from gradprism.models.settings import CheckpointSettings

if TYPE_CHECKING:
    from gradprism.metrics.reward_model.classifier import RewardModel


class Reward(Metric):
    """The reward of each conversation, by a reward model."""

    name = "reward"
    description = "score of a reward model"
    needs = "reward model"
    columns = {"n_tokens": pl.Int32, "truncated": pl.Boolean}  # noqa: RUF012

    def __init__(
        self, encoder: ConversationEncoder, load: Callable[[], "RewardModel"], identity: Mapping[str, Any], about: str
    ):
        """Make the metric; `load` is called when the first conversation is scored."""
        self._encoder, self._load = encoder, load
        self._model: RewardModel | None = None
        self.identity, self.about = identity, about

    @classmethod
    def make(cls, context: MetricContext) -> Self:
        """Make the metric by the recipe's reward model.

        Raises `GradPrismError` where none is named, or the model is no classifier.
        """
        from gradprism.metrics.reward_model.classifier import RewardModel, chosen_output

        settings = context.settings.reward
        found = context.classifier or _find_reward_model(settings, context.say)
        config = found.load_config()
        _refuse_language_model(found.name, config)
        chosen_output(config, settings.reward_output)  # raises before weights are loaded
        tokenizer = found.load_tokenizer()
        limits = settings.reward_max_length, position_limit(config), tokenizer.model_max_length
        most = min(limit for limit in limits if limit is not None)
        given = read_template(settings.reward_template) if settings.reward_template else None
        template = given or own_template(tokenizer)
        day = settings.reward_date or context.settings.text.date
        encoder = ConversationEncoder(tokenizer, template, most, day)
        settings = settings.model_copy(update={"reward_date": day if prints_date(str(template)) else None})
        identity = {f"reward.{name}": value for name, value in settings} | {
            "model fingerprint": found.fingerprint(config)
        }
        if given:
            identity["template digest"] = short_digest(given)

        def load() -> "RewardModel":
            context.say(f"Loading {found.name}")
            model = found.load_classifier(*context.devices(found))
            return RewardModel(model, settings.reward_output, context.settings.execution.batch_tokens)

        return cls(encoder, load, identity, found.name)

    def score(self, examples: Sequence[Example], on_batch: OnBatch) -> list[Score]:
        """Score the conversations, in batches of similar length."""
        ready, scores = self._encoded(examples)
        if scores:
            on_batch(len(scores), 0)
        if ready:
            scores |= self._score_conversations(ready, on_batch)
        return [scores[example.row] for example in examples]

    def open(self) -> None:
        """Load the model now."""
        self._model = self._model or self._load()
        self.device = str(self._model.device)

    def _score_conversations(self, ready: Sequence[Conversation], on_batch: OnBatch) -> dict[int, Score]:
        from gradprism.models.batches import Failure

        self.open()
        model = self._model
        assert model is not None
        unknown = {item.row: model.unknown(item) for item in ready}
        scores = {row: Score.failed(problem) for row, problem in unknown.items() if problem}
        if scores:
            on_batch(len(scores), 0)
        for batch in model.batches.cut([item for item in ready if item.row not in scores]):
            for item, answer in zip(batch, model.batches.answers(batch, model.rewards), strict=True):
                own = {"n_tokens": len(item.ids), "truncated": item.truncated}
                if isinstance(answer, Failure):
                    scores[item.row] = Score.failed(answer.reason, **own)
                else:
                    scores[item.row] = Score(answer, own)
            on_batch(len(batch), sum(len(item.ids) for item in batch))
        return scores

    def plan(self, examples: Sequence[Example]) -> Plan:
        """Count the rows and the tokens that the model would process."""
        ready, skipped = self._encoded(examples)
        return Plan(len(ready), len(skipped), tokens=sum(len(item.ids) for item in ready))

    def _encoded(self, examples: Sequence[Example]) -> tuple[list[Conversation], dict[int, Score]]:
        return usable(self._encoder.encode, examples)


def _refuse_language_model(name: str, config: Any) -> None:
    architectures = config.architectures or []
    if architectures and all(architecture.endswith("ForCausalLM") for architecture in architectures):
        raise GradPrismError(
            f"{name!r} is no reward model: it was saved as {', '.join(architectures)}. "
            "Expected a sequence classifier, whose output is a score."
        )


def _find_reward_model(settings: RewardSettings, say: Say) -> Checkpoint:
    if settings.reward_model is None:
        raise GradPrismError(
            "--metric reward needs a reward model. Expected --reward-model with the hub id or folder of a sequence "
            "classifier."
        )
    wanted = CheckpointSettings(
        model=settings.reward_model,
        revision=settings.reward_revision,
        dtype=settings.reward_dtype,
        trust_remote_code=settings.reward_trust_remote_code,
        allow_pickle=settings.reward_allow_pickle,
    )
    return find_checkpoint(wanted, say)
