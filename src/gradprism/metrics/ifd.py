"""IFD, instruction-following difficulty: how much the prompt raises the likelihood of the response."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Literal, Self

import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.data.encode import Encoded, Encoder
from gradprism.data.example import Example
from gradprism.metrics.context import MetricContext
from gradprism.metrics.likelihood import Half, LanguageModel, LikelihoodMetric, Nll, exp, finite
from gradprism.metrics.metric import Score

Alone = Callable[[Example, Encoded], Iterator[Encoded]]
"""An example and its tokens -> its response without the prompt, in as many sequences as it has pieces."""


class Ifd(LikelihoodMetric):
    """Instruction-following difficulty: the response's perplexity given the prompt over its perplexity alone.

    Li et al., "From Quantity to Quality", arXiv 2308.12032. Near 1 the prompt does not help, above 1 it misleads.
    """

    name = "ifd"
    title = "IFD"
    description = "perplexity of the response given the prompt over its perplexity alone (Li et al. 2023)"
    sums_column = "nll_conditioned"
    columns = {  # noqa: RUF012
        "nll_conditioned": pl.Float64, "nll_unconditioned": pl.Float64,
        "n_tokens": pl.Int32, "n_tokens_unconditioned": pl.Int32,
        "ifd_ppl": pl.Float64, "ifd_loss": pl.Float64, "ppl": pl.Float64, "truncated": pl.Boolean,
    }  # fmt: skip

    def __init__(self, alone: Alone, value: Literal["ppl", "loss"], *parts: Any):
        """Make the metric; `alone` yields the response without its prompt, `value` names the ratio to use."""
        super().__init__(*parts)
        self._make_alone, self._value = alone, value

    @classmethod
    def make(cls, context: MetricContext) -> Self:
        """Make the metric by the recipe's causal language model, in the recipe's style."""
        found, settings = context.causal_model(cls.name), context.settings.likelihood
        model = LanguageModel(found.load, context.settings.execution.batch_tokens)
        alone = _alone_by_style(settings.style, found.encoder)
        identity = {**found.identity, **{f"likelihood.{key}": value for key, value in settings}}
        known, about = context.known_sums(found.identity), f"{found.source.name}, {settings.style}"
        return cls(alone, settings.ifd_value, found.encoder, model, known, identity, about)

    def _alone(self, example: Example, encoded: Encoded) -> Iterator[Encoded]:
        yield from self._make_alone(example, encoded)

    def _of_sums(self, encoded: Encoded, halves: Mapping[Half, Nll]) -> Score:
        given, alone = halves["given the prompt"], halves.get("alone")
        if alone is None:
            return Score.skipped(
                "superfiltering scores one response of two tokens or more (the first never is); of several answers "
                "--turns last takes the last"
            )
        by_ppl = exp(given.mean - alone.mean)  # in log space, where neither perplexity can overflow
        by_loss = given.mean / alone.mean if alone.mean else math.nan
        own = {
            "nll_conditioned": finite(given.total), "nll_unconditioned": finite(alone.total),
            "n_tokens": given.n, "n_tokens_unconditioned": alone.n,
            "ifd_ppl": finite(by_ppl), "ifd_loss": finite(by_loss), "ppl": finite(given.perplexity),
            "truncated": encoded.truncated,
        }  # fmt: skip
        return Score(by_ppl if self._value == "ppl" else by_loss, own)


def _alone_by_style(style: str, encoder: Encoder) -> Alone:
    text = encoder.settings
    if style == "matched":
        return same_tokens_alone(encoder.tokenizer)
    if text.template != "paper":
        raise GradPrismError(
            f"--style superfiltering is defined for `--template paper` only; given --template {text.template}."
        )
    if text.response_tokens is not None or text.prompt_tokens is not None:
        raise GradPrismError(
            "--style superfiltering is defined for whole prompts and responses only; given --response-tokens or "
            "--prompt-tokens. Expected neither, or --style matched."
        )
    return superfiltering_alone(encoder)


def same_tokens_alone(tokenizer: Any) -> Alone:
    """Return a function that yields the exact tokens of each answer, as truncated, behind one BOS (else EOS) token.

    Because of that token the first one of the answer is scored too. Raises `GradPrismError` where the tokenizer has
    neither.
    """
    start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    if start is None:
        raise GradPrismError(
            "ifd needs a token in front of the response alone, and this tokenizer has neither BOS nor EOS. "
            "Expected one with either, or --style superfiltering, which needs none."
        )

    def alone(example: Example, encoded: Encoded) -> Iterator[Encoded]:
        for masked, run in groupby(zip(encoded.ids, encoded.response_mask, strict=True), key=lambda pair: pair[1]):
            if masked:
                yield _after_first((start, *(token for token, _ in run)))

    return alone


def superfiltering_alone(encoder: Encoder) -> Alone:
    """Return a function that yields the response tokenised by itself, without scoring its first token.

    As in the published scripts, with the template `paper`. Superfiltering (Li et al. 2024, arXiv 2402.00530): only the
    tokenizer's own special tokens stand in front of the response, and its maximal length is that of the whole minus the
    tokens of the prompt with its newline, plus one. Yields nothing where no token is left to score, or where several
    answers are in the loss (also where truncation leaves tokens of the first one only).
    """

    def alone(example: Example, encoded: Encoded) -> Iterator[Encoded]:
        turns = example.answered
        scored = encoder.scored(turns)
        if len(scored) != 1:
            return
        ids, _, _ = encoder.tokens(replace(example, turns=(turns[scored[0]],)))
        kept = ids[: encoder.settings.max_length - encoded.response_mask.index(True) + 1]
        if len(kept) > 1:
            yield _after_first(kept)

    return alone


def _after_first(ids: Sequence[int]) -> Encoded:
    """Return a sequence in which all tokens but the first are scored."""
    return Encoded(tuple(ids), (False, *[True] * (len(ids) - 1)), truncated=False)
