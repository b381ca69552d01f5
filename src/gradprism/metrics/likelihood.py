"""The base class of metrics computed from a causal language model's likelihood: IFD, loss and perplexity."""

import math
from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gradprism.core.progress import OnBatch
from gradprism.data.encode import Encoded, Encoder
from gradprism.data.example import Example
from gradprism.metrics.context import KnownSums
from gradprism.metrics.metric import Metric, Plan, Score, usable

Ready = tuple[Example, Encoded]
Half = Literal["given the prompt", "alone"]
Piece = tuple[int, Half, Encoded]  # a sequence, and the row and half that the sum over its response tokens belongs to


@dataclass(frozen=True)
class Nll:
    """The sum of the negative log-likelihoods of `n` tokens, in nats."""

    total: float = 0.0
    n: int = 0

    def __add__(self, other: "Nll") -> "Nll":
        """Add two sums."""
        return Nll(self.total + other.total, self.n + other.n)

    @property
    def mean(self) -> float:
        """Mean in nats per token."""
        return self.total / self.n

    @property
    def perplexity(self) -> float:
        """Perplexity, exp(mean); infinite where it overflows."""
        return exp(self.mean)


class LanguageModel:
    """A causal language model that is loaded when it is first needed, and its batches."""

    def __init__(self, load: Callable[[], Any], batch_tokens: int | None):
        """Keep `load`, which returns the model in evaluation mode on its device, for the first use."""
        self._load, self._batch_tokens = load, batch_tokens
        self._opened: tuple[Any, Any] | None = None
        self.device = ""

    def nll(self, pieces: Sequence[Piece], on_batch: OnBatch) -> tuple[dict[int, dict[Half, Nll]], dict[int, str]]:
        """Return the sums of each row by half, and the reasons of rows without any.

        A row's sums do not depend on its batch but for rounding: padding is on the right, where causal attention does
        not reach.
        """
        from gradprism.models.batches import Failure

        head, batches = self.open()
        sums: dict[int, dict[Half, Nll]] = defaultdict(dict)
        problems = {row: problem for row, _, encoded in pieces if (problem := head.unknown_token(encoded))}
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
        """Return the model's head and its batches; load the model at the first call."""
        from gradprism.models.batches import Batches
        from gradprism.models.likelihood import ResponseHead

        if self._opened is None:
            head = ResponseHead(self._load())
            self.device = str(head.device)
            self._opened = head, Batches[Piece](lambda piece: piece[2].n_tokens, self._batch_tokens, head.device)
        return self._opened


class LikelihoodMetric(Metric):
    """A metric computed from the summed negative log-likelihoods of each row: IFD, loss and perplexity."""

    needs = "model"

    def __init__(
        self, encoder: Encoder, model: LanguageModel, known: KnownSums, identity: Mapping[str, Any], about: str
    ):
        """Make the metric; `identity` has the settings of text and model, `known` looks up sums computed before."""
        self.encoder, self._model, self._known = encoder, model, known
        self.identity, self.about = identity, about
        self._n_known = 0

    def open(self) -> None:
        """Load the model now."""
        self._model.open()
        self.device = self._model.device

    def score(self, examples: Sequence[Example], on_batch: OnBatch) -> list[Score]:
        """Score the examples; the model runs only on sequences whose sums are not known yet."""
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
        """Count the rows and the tokens that the model would process."""
        ready, skipped = usable(self._ready, examples)
        known = self._known_sums(ready)
        pieces = [piece for example, encoded in ready for piece in self._pieces(example, encoded, example.row in known)]
        return Plan(len(ready), len(skipped), tokens=sum(encoded.n_tokens for _, _, encoded in pieces))

    def _ready(self, example: Example) -> Ready:
        return example, self.encoder.encode(example)

    def _known_sums(self, ready: Sequence[Ready]) -> dict[int, Nll]:
        """Return the known sums by row, where they cover as many tokens."""
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
        """Yield the response without its prompt, one sequence for each answer; nothing where it is not needed."""

    @abstractmethod
    def _of_sums(self, encoded: Encoded, halves: Mapping[Half, Nll]) -> Score:
        """Make the score of one row from its sums."""


def exp(value: float) -> float:
    """Return the exponential; infinite where it overflows."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def finite(value: float) -> float | None:
    """Return the value, or None where it is not finite."""
    return value if math.isfinite(value) else None
