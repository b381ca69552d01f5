"""Reward: the score that a reward model, any sequence classifier of transformers, gives to a conversation."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import torch
from torch import Tensor

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import OnBatch
from gradprism.data.answers import find_answers
from gradprism.data.chat_template import ChatTemplate
from gradprism.data.example import Example, RowProblemError, judged_turns
from gradprism.metrics.metric import Metric, Plan, Score, usable
from gradprism.models.batches import Batches, Failure
from gradprism.models.device import runs_on
from gradprism.models.full_precision import model_itself
from gradprism.models.likelihood import evaluating, unknown_token, vocabulary_of


@dataclass(frozen=True)
class Conversation:
    """Token ids of one example as the reward model reads it."""

    row: int
    ids: tuple[int, ...]
    truncated: bool


class ConversationEncoder:
    """A reward model's chat template and tokenizer: examples -> token ids, cut on the right."""

    def __init__(self, tokenizer: Any, template: str | None, max_length: int, today: str | None = None):
        """`template` is Jinja text, None where there is none; it prints the day `today` (ISO; the present one if None).

        Raises `GradPrismError` where there is no template, or its date cannot be fixed.
        """
        self._tokenizer, self._max_length = tokenizer, max_length
        if not template:
            raise GradPrismError(
                "This reward model's tokenizer has no (default) chat template: there is no saying how it reads a "
                "conversation.\n"
                "Give the one it was trained with as a Jinja file: --reward-template my_template.jinja"
            )
        special = tokenizer.special_tokens_map
        self._template = ChatTemplate(template, special, "The reward model's chat template", today)
        bos = tokenizer.bos_token_id
        adds_bos = bos is not None and list(tokenizer("a")["input_ids"])[:1] == [bos]
        self._own_bos = tokenizer.bos_token if adds_bos else ""

    def encode(self, example: Example) -> Conversation:
        """Return the tokens of the conversation up to its last answer in the loss.

        Raises `RowProblemError` where it cannot be rendered, or its template leaves out something of that answer.
        """
        turns = judged_turns(example.answered)
        if not turns or turns[-1].is_empty:
            raise RowProblemError("empty response")
        text = find_answers(self._template, replace(example, turns=turns), [len(turns) - 1]).text
        text = text.removeprefix(self._own_bos)  # else it would stand there twice
        ids = self._ids(text)
        if len(ids) <= self._max_length:
            return Conversation(example.row, tuple(ids), truncated=False)
        return Conversation(example.row, tuple(self._cut(text)), truncated=True)

    def _ids(self, text: str, **options: Any) -> list[int]:
        return list(self._tokenizer(text, verbose=False, **options)["input_ids"])

    def _cut(self, text: str) -> list[int]:
        """On the right, whatever side the tokenizer is set to; what it puts at the end stays at the end."""
        side, self._tokenizer.truncation_side = self._tokenizer.truncation_side, "right"
        try:
            return self._ids(text, truncation=True, max_length=self._max_length)
        finally:
            self._tokenizer.truncation_side = side


class RewardModel:
    """A sequence classifier, and which of its outputs is the reward."""

    def __init__(self, model: Any, output: str | None, batch_tokens: int | None):
        """`output` is its name or number. Raises `GradPrismError` where there are several and none is named."""
        model = self._model = model_itself(model)
        self.device = runs_on(model)
        self._output = chosen_output(model.config, output)
        self._vocabulary = vocabulary_of(model)
        self.batches = Batches[Conversation](lambda item: len(item.ids), batch_tokens, self.device)

    def unknown(self, item: Conversation) -> str | None:
        """What is wrong with a token id that the model has no embedding for."""
        return unknown_token(item.ids, self._vocabulary)

    def rewards(self, batch: Sequence[Conversation]) -> list[float]:
        """Logits of the output, the same for each conversation whatever else is in the batch."""
        with torch.no_grad(), evaluating(self._model), self._padding(batch) as filler:
            ids = torch.full((len(batch), max(len(item.ids) for item in batch)), filler)  # (batch, tokens)
            mask = torch.zeros_like(ids)
            for row, item in enumerate(batch):
                ids[row, : len(item.ids)] = torch.tensor(item.ids)
                mask[row, : len(item.ids)] = 1
            logits: Tensor = self._model(input_ids=ids.to(self.device), attention_mask=mask.to(self.device)).logits
        rewards: list[float] = logits[:, self._output].double().cpu().tolist()
        return rewards

    @contextmanager
    def _padding(self, batch: Sequence[Conversation]) -> Iterator[int]:
        """Give a token id to fill up with, on the right: causal positions then are those of each alone.

        A classifier over a causal model takes its last token that is not padding, told by its id. Without such an
        id it takes the last one of all, and more than one conversation at a time is refused: then an id that none of
        them holds stands in.
        """
        config = self._model.config.get_text_config()
        own = config.pad_token_id
        if own is not None:
            yield own
            return
        held = {token for item in batch for token in item.ids}
        config.pad_token_id = next(token for token in range(len(held) + 1) if token not in held)
        try:
            yield config.pad_token_id
        finally:
            config.pad_token_id = own


class Reward(Metric):
    """The reward of each conversation."""

    name = "reward"
    columns = {"n_tokens": pl.Int32, "truncated": pl.Boolean}  # noqa: RUF012

    def __init__(
        self, encoder: ConversationEncoder, load: Callable[[], RewardModel], identity: Mapping[str, Any], about: str
    ):
        """`load` is called when the first conversation is scored."""
        self._encoder, self._load = encoder, load
        self._model: RewardModel | None = None
        self.identity, self.about = identity, about

    def score(self, examples: Sequence[Example], on_batch: OnBatch) -> list[Score]:
        """Rewards in batches of similar length."""
        ready, scores = self._encoded(examples)
        if scores:
            on_batch(len(scores), 0)
        if ready:
            scores |= self._rewarded(ready, on_batch)
        return [scores[example.row] for example in examples]

    def open(self) -> None:
        """Load the model now."""
        self._model = self._model or self._load()
        self.device = str(self._model.device)

    def _rewarded(self, ready: Sequence[Conversation], on_batch: OnBatch) -> dict[int, Score]:
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
        """Count the tokens that the model would read."""
        ready, skipped = self._encoded(examples)
        return Plan(len(ready), len(skipped), tokens=sum(len(item.ids) for item in ready))

    def _encoded(self, examples: Sequence[Example]) -> tuple[list[Conversation], dict[int, Score]]:
        return usable(self._encoder.encode, examples)


def chosen_output(config: Any, named: str | None) -> int:
    """Number of the output that is the reward, by its name or number; the only one where there is one.

    Raises `GradPrismError` where there are several and none, or no such one, is named.
    """
    labels = {int(number): str(label) for number, label in config.id2label.items()}
    if named is None and len(labels) == 1:
        return 0
    found = [number for number, label in labels.items() if named in (label, str(number))]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{number} ({label})" for number, label in sorted(labels.items()))
    given = (
        f"has no output {named!r}" if named else f"has {len(labels)} outputs, and which one is the reward is not said"
    )
    raise GradPrismError(
        f"The reward model {given}: {listed}.\nExpected --reward-output with a name or number of these."
    )
