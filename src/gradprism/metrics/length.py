"""The length of the response in tokens."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import polars as pl

from gradprism.core.progress import OnBatch
from gradprism.data.encode import Encoder
from gradprism.data.example import Example
from gradprism.metrics.context import MetricContext
from gradprism.metrics.metric import Metric, Plan, Score, usable


class Length(Metric):
    """The number of response tokens, with those of the prompt, and of characters. Needs a tokenizer and no weights."""

    name = "length"
    title = "response tokens"
    description = "response tokens"
    needs = "tokenizer"
    columns = {"n_prompt_tokens": pl.Int32, "n_characters": pl.Int32, "truncated": pl.Boolean}  # noqa: RUF012

    def __init__(self, encoder: Encoder, identity: Mapping[str, Any], about: str):
        """Make the metric; `identity` has the settings of text and tokenizer."""
        self.encoder, self.identity, self.about = encoder, identity, about

    @classmethod
    def make(cls, context: MetricContext) -> Self:
        """Make the metric by the tokenizer of the recipe's causal language model."""
        found = context.causal_model(cls.name, tokenizer_alone=True)
        return cls(found.encoder, found.identity, f"tokenizer of {found.source.name}")

    def score(self, examples: Sequence[Example], on_batch: OnBatch) -> list[Score]:
        """Count the tokens of each example."""
        ready, scores = usable(lambda example: (example, self.encoder.encode(example)), examples)
        on_batch(len(examples), sum(encoded.n_tokens for _, encoded in ready))
        for example, encoded in ready:
            n = encoded.n_response_tokens
            characters = sum(len(example.turns[index].text) for index in self.encoder.scored(example.answered))
            own = {"n_prompt_tokens": encoded.n_tokens - n, "n_characters": characters}
            scores[example.row] = Score(float(n), own | {"truncated": encoded.truncated})
        return [scores[example.row] for example in examples]

    def plan(self, examples: Sequence[Example]) -> Plan:
        """Count the rows."""
        ready, skipped = usable(self.encoder.encode, examples)
        return Plan(len(ready), len(skipped))
