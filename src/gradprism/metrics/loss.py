"""The loss and the perplexity of the response given the prompt."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Self

import polars as pl

from gradprism.data.encode import Encoded
from gradprism.data.example import Example
from gradprism.metrics.context import MetricContext
from gradprism.metrics.likelihood import Half, LanguageModel, LikelihoodMetric, Nll, finite
from gradprism.metrics.metric import Score


class _TokenLoss(LikelihoodMetric):
    """A metric computed from the mean negative log-likelihood of the response given the prompt."""

    sums_column = "nll_sum"
    columns = {"nll_sum": pl.Float64, "n_tokens": pl.Int32, "truncated": pl.Boolean}  # noqa: RUF012

    @classmethod
    def make(cls, context: MetricContext) -> Self:
        """Make the metric by the recipe's causal language model."""
        found = context.causal_model(cls.name)
        model = LanguageModel(found.load, context.settings.execution.batch_tokens)
        return cls(found.encoder, model, context.known_sums(found.identity), found.identity, found.source.name)

    @abstractmethod
    def _value(self, nll: Nll) -> float:
        """Return the score of a row from its sum."""

    def _alone(self, example: Example, encoded: Encoded) -> Iterator[Encoded]:
        yield from ()

    def _of_sums(self, encoded: Encoded, halves: Mapping[Half, Nll]) -> Score:
        nll = halves["given the prompt"]
        own = {"nll_sum": finite(nll.total), "n_tokens": nll.n, "truncated": encoded.truncated}
        return Score(self._value(nll), own)


class Loss(_TokenLoss):
    """The mean negative log-likelihood of the response given the prompt, in nats per token."""

    name = "loss"
    description = "mean negative log-likelihood of the response"

    def _value(self, nll: Nll) -> float:
        return nll.mean


class Perplexity(_TokenLoss):
    """The perplexity, exp(loss), of the response given the prompt."""

    name = "perplexity"
    description = "exp(loss)"

    def _value(self, nll: Nll) -> float:
        return nll.perplexity
