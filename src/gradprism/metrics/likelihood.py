"""Metrics of a causal language model's own likelihood: IFD, loss and perplexity of the response; and its length."""

import math
from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import OnBatch
from gradprism.data.encode import Encoded, Encoder
from gradprism.data.example import Example
from gradprism.metrics.metric import Metric, Plan, Score, usable

Ready = tuple[Example, Encoded]
Half = Literal["given the prompt", "alone"]
Piece = tuple[int, Half, Encoded]  # the sum over its masked tokens belongs to this row and half
Known = Callable[[Sequence[int]], Mapping[int, tuple[float, int]]]
"""Rows -> sums and token counts, given the prompt, that the same model gave before for the same tokens."""

Alone = Callable[[Example, Encoded], Iterator[Encoded]]
"""An example and its tokens -> its response without the prompt, in as many sequences as it has pieces."""


@dataclass(frozen=True)
class Nll:
    """Sum of negative log-likelihoods, nats, over `n` tokens."""

    total: float = 0.0
    n: int = 0

    def __add__(self, other: "Nll") -> "Nll":
        """Of both."""
        return Nll(self.total + other.total, self.n + other.n)

    @property
    def mean(self) -> float:
        """Nats a token."""
        return self.total / self.n

    @property
    def perplexity(self) -> float:
        """exp(mean); infinite where that leaves the range of numbers."""
        return _exp(self.mean)


class LanguageModel:
    """A causal language model, loaded when it is first needed, and the batches it takes."""

    def __init__(self, load: Callable[[], Any], batch_tokens: int | None):
        """`load` returns the model in evaluation mode, on its device."""
        self._load, self._batch_tokens = load, batch_tokens
        self._opened: tuple[Any, Any] | None = None
        self.device = ""

    def nll(self, pieces: Sequence[Piece], on_batch: OnBatch) -> tuple[dict[int, dict[Half, Nll]], dict[int, str]]:
        """Sums of each row's halves; and for rows without an answer, why.

        Computed together or alone they agree within rounding: padding is on the right, where nothing looks.
        """
        from gradprism.models.batches import Failure

        head, batches = self.open()
        sums: dict[int, dict[Half, Nll]] = defaultdict(dict)
        problems = {row: problem for row, _, encoded in pieces if (problem := head.unknown(encoded))}
        if problems:
            on_batch(len(problems), 0)
        usable = [piece for piece in pieces if piece[0] not in problems]
        waiting = Counter(row for row, _, _ in usable)
        for batch in batches.cut(usable):
            for (row, half, encoded), answer in zip(batch, batches.answers(batch, self._sums), strict=True):
                if isinstance(answer, Failure):
                    problems[row] = answer.reason
                else:
                    sums[row][half] = sums[row].get(half, Nll()) + Nll(answer, encoded.n_response_tokens)
            waiting.subtract(row for row, _, _ in batch)
            on_batch(sum(not waiting[row] for row in {row for row, _, _ in batch}), sum(p[2].n_tokens for p in batch))
        return sums, problems

    def _sums(self, batch: Sequence[Piece]) -> list[float]:
        from gradprism.models.likelihood import Batch

        head, _ = self.open()
        sums: list[float] = head.nll_sums(Batch.of([encoded for _, _, encoded in batch], head.device))
        return sums

    def open(self) -> tuple[Any, Any]:
        """The model's head and the batches it takes; loads it the first time."""
        from gradprism.models.batches import Batches
        from gradprism.models.likelihood import ResponseHead

        if self._opened is None:
            head = ResponseHead(self._load())
            self.device = str(head.device)
            self._opened = head, Batches[Piece](lambda piece: piece[2].n_tokens, self._batch_tokens, head.device)
        return self._opened


class LikelihoodMetric(Metric):
    """What IFD, loss and perplexity share: tokens, then the sums of each row, then its score."""

    def __init__(self, encoder: Encoder, model: LanguageModel, known: Known, identity: Mapping[str, Any], about: str):
        """`identity` are the settings of text and model."""
        self.encoder, self._model, self._known = encoder, model, known
        self.identity, self.about = identity, about
        self._n_known = 0

    def open(self) -> None:
        """Load the model now."""
        self._model.open()
        self.device = self._model.device

    def score(self, examples: Sequence[Example], on_batch: OnBatch) -> list[Score]:
        """Scores of the examples; the model sees only what is not known yet."""
        ready, scores = usable(self._ready, examples)
        known = self._known_sums(ready)
        pieces = [piece for example, encoded in ready for piece in self._pieces(example, encoded, example.row in known)]
        if free := len(examples) - len({row for row, _, _ in pieces}):
            on_batch(free, 0)
        sums, problems = self._model.nll(pieces, on_batch) if pieces else ({}, {})
        self.device = self._model.device
        for example, encoded in ready:
            row = example.row
            halves = sums.get(row, {})
            halves.setdefault("given the prompt", known.get(row, Nll()))
            scores[row] = Score.failed(problems[row]) if row in problems else self._of_sums(encoded, halves)
        return [scores[example.row] for example in examples]

    def plan(self, examples: Sequence[Example]) -> Plan:
        """Count the tokens that the model would read."""
        ready, skipped = usable(self._ready, examples)
        known = self._known_sums(ready)
        pieces = [piece for example, encoded in ready for piece in self._pieces(example, encoded, example.row in known)]
        return Plan(len(ready), len(skipped), tokens=sum(encoded.n_tokens for _, _, encoded in pieces))

    def _ready(self, example: Example) -> Ready:
        return example, self.encoder.encode(example)

    def _known_sums(self, ready: Sequence[Ready]) -> dict[int, Nll]:
        """What need not be computed, where it is of as many tokens."""
        before = self._known([example.row for example, _ in ready])
        found = {
            example.row: Nll(*before[example.row])
            for example, encoded in ready
            if before.get(example.row, (0.0, 0))[1] == encoded.n_response_tokens
        }
        self._n_known += len(found)
        self.note = f"of {self._n_known:,} rows half is known" if self._n_known else ""
        return found

    def _pieces(self, example: Example, encoded: Encoded, is_known: bool) -> Iterator[Piece]:
        if not is_known:
            yield example.row, "given the prompt", encoded
        yield from ((example.row, "alone", item) for item in self._alone(example, encoded))

    @abstractmethod
    def _alone(self, example: Example, encoded: Encoded) -> Iterator[Encoded]:
        """The response without its prompt, in as many sequences as it has pieces; none where that is not needed."""

    @abstractmethod
    def _of_sums(self, encoded: Encoded, halves: Mapping[Half, Nll]) -> Score:
        """The score of one row."""


class Loss(LikelihoodMetric):
    """Mean negative log-likelihood of the response given the prompt, or its exponential."""

    columns = {"nll_sum": pl.Float64, "n_tokens": pl.Int32, "truncated": pl.Boolean}  # noqa: RUF012

    def __init__(self, name: Literal["loss", "perplexity"], *parts: Any):
        """`parts` are those of every likelihood metric."""
        super().__init__(*parts)
        self.name = name

    def _alone(self, example: Example, encoded: Encoded) -> Iterator[Encoded]:
        yield from ()

    def _of_sums(self, encoded: Encoded, halves: Mapping[Half, Nll]) -> Score:
        nll = halves["given the prompt"]
        own = {"nll_sum": _finite(nll.total), "n_tokens": nll.n, "truncated": encoded.truncated}
        return Score(nll.mean if self.name == "loss" else nll.perplexity, own)


class Ifd(LikelihoodMetric):
    """Instruction-following difficulty: the response's perplexity given the prompt over its perplexity alone.

    Li et al., "From Quantity to Quality", arXiv 2308.12032. Near 1 the prompt does not help, above 1 it misleads.
    """

    name = "ifd"
    columns = {  # noqa: RUF012
        "nll_conditioned": pl.Float64, "nll_unconditioned": pl.Float64,
        "n_tokens": pl.Int32, "n_tokens_unconditioned": pl.Int32,
        "ifd_ppl": pl.Float64, "ifd_loss": pl.Float64, "ppl": pl.Float64, "truncated": pl.Boolean,
    }  # fmt: skip

    def __init__(self, alone: Alone, value: Literal["ppl", "loss"], *parts: Any):
        """`alone` makes the response without its prompt; `value` says which ratio is the score."""
        super().__init__(*parts)
        self._make_alone, self._value = alone, value

    def _alone(self, example: Example, encoded: Encoded) -> Iterator[Encoded]:
        yield from self._make_alone(example, encoded)

    def _of_sums(self, encoded: Encoded, halves: Mapping[Half, Nll]) -> Score:
        given, alone = halves["given the prompt"], halves.get("alone")
        if alone is None:
            return Score.skipped(
                "superfiltering scores one response of two tokens or more (the first never is); of several answers "
                "--turns last takes the last"
            )
        by_ppl = _exp(given.mean - alone.mean)  # in log space: neither perplexity need be a number
        by_loss = given.mean / alone.mean if alone.mean else math.nan
        own = {
            "nll_conditioned": _finite(given.total), "nll_unconditioned": _finite(alone.total),
            "n_tokens": given.n, "n_tokens_unconditioned": alone.n,
            "ifd_ppl": _finite(by_ppl), "ifd_loss": _finite(by_loss), "ppl": _finite(given.perplexity),
            "truncated": encoded.truncated,
        }  # fmt: skip
        return Score(by_ppl if self._value == "ppl" else by_loss, own)


def same_tokens_alone(tokenizer: Any) -> Alone:
    """Each answer's very tokens, what truncation left of them, behind one BOS (else EOS) token.

    That token is there so that the first of the answer is scored too. Raises `GradPrismError` where there is none.
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
    """The response tokenised by itself as `paper` does, its first token not scored: as in the published scripts.

    Superfiltering (Li et al. 2024, arXiv 2402.00530): nothing stands in front but what the tokenizer itself puts
    there, and the maximal length is that of the whole less the tokens of the prompt with its newline, plus one.
    Yields nothing where no token is left to be scored, or several answers carry the loss (also where truncation leaves
    tokens of the first alone).
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


class Length(Metric):
    """Response tokens; beside them those of the prompt, and characters. Needs a tokenizer and no weights."""

    name = "length"
    columns = {"n_prompt_tokens": pl.Int32, "n_characters": pl.Int32, "truncated": pl.Boolean}  # noqa: RUF012

    def __init__(self, encoder: Encoder, identity: Mapping[str, Any], about: str):
        """`identity` are the settings of text and tokenizer."""
        self.encoder, self.identity, self.about = encoder, identity, about

    def score(self, examples: Sequence[Example], on_batch: OnBatch) -> list[Score]:
        """Count the tokens of each example."""
        ready, scores = usable(lambda example: (example, self.encoder.encode(example)), examples)
        on_batch(len(examples), sum(encoded.n_tokens for _, encoded in ready))
        for example, encoded in ready:
            n = encoded.n_response_tokens
            characters = sum(len(example.turns[place].text) for place in self.encoder.scored(example.answered))
            own = {"n_prompt_tokens": encoded.n_tokens - n, "n_characters": characters}
            scores[example.row] = Score(float(n), own | {"truncated": encoded.truncated})
        return [scores[example.row] for example in examples]

    def plan(self, examples: Sequence[Example]) -> Plan:
        """Count the rows."""
        ready, skipped = usable(self.encoder.encode, examples)
        return Plan(len(ready), len(skipped))


def _after_first(ids: Sequence[int]) -> Encoded:
    """Every token but the first is scored."""
    return Encoded(tuple(ids), (False, *[True] * (len(ids) - 1)), truncated=False)


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
