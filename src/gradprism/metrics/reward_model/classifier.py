"""Compute rewards by a sequence classifier of transformers, from one of its outputs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gradprism.core.errors import GradPrismError
from gradprism.metrics.reward_model.conversations import Conversation
from gradprism.models.batches import Batches
from gradprism.models.device import execution_device
from gradprism.models.full_precision import model_itself
from gradprism.models.likelihood import evaluating, unknown_token, vocabulary_size


class RewardModel:
    """A sequence classifier, one of whose outputs is the reward."""

    def __init__(self, model: Any, output: str | None, batch_tokens: int | None):
        """Choose the output by its name or number. Raises `GradPrismError` if there are several and none is named."""
        model = self._model = model_itself(model)
        self.device = execution_device(model)
        self._output = chosen_output(model.config, output)
        self._vocabulary = vocabulary_size(model)
        self.batches = Batches[Conversation](lambda item: len(item.ids), batch_tokens, self.device)

    def unknown(self, item: Conversation) -> str | None:
        """Return the problem of a token id for which the model has no embedding; None if there is no such id."""
        return unknown_token(item.ids, self._vocabulary)

    def rewards(self, batch: Sequence[Conversation]) -> list[float]:
        """Return the logits of the output, independent of the other conversations in the batch."""
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
        """Yield the token id for padding on the right, which leaves causal positions unchanged.

        A classifier over a causal model reads the last token that is not padding, recognised by its id. Without a
        padding id it reads the very last token, and refuses more than one conversation: then an id that none of them
        contains is set for the time of the call.
        """
        config = self._model.config.get_text_config()
        own = config.pad_token_id
        if own is not None:
            yield own
            return
        used = {token for item in batch for token in item.ids}
        config.pad_token_id = next(token for token in range(len(used) + 1) if token not in used)
        try:
            yield config.pad_token_id
        finally:
            config.pad_token_id = own


def chosen_output(config: Any, named: str | None) -> int:
    """Return the number of the output with this name or number; the only output where none is named.

    Raises `GradPrismError` where there are several and none, or no such one, is named.
    """
    labels = {int(number): str(label) for number, label in config.id2label.items()}
    if named is None and len(labels) == 1:
        return 0
    found = [number for number, label in labels.items() if named in (label, str(number))]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{number} ({label})" for number, label in sorted(labels.items()))
    given = f"has no output {named!r}" if named else f"has {len(labels)} outputs, and none was chosen as the reward"
    raise GradPrismError(
        f"The reward model {given}: {listed}.\nExpected --reward-output with a name or number of these."
    )
