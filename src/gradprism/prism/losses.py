"""Losses beyond the mean over response tokens: preferences (DPO), and weighted rows.

DPO (Rafailov et al. 2023, arXiv 2305.18290) of a chosen and a rejected answer is L = -log sigmoid(beta m) with
m = (log p(c) - log r(c)) - (log p(w) - log r(w)), p the model and r the reference. Its gradient is
beta sigmoid(-beta m) times the difference of the gradients of both answers' summed negative log-likelihoods: of the
factors X and D of both, one below the other, with D of the rejected one turned round. Both go through the model in one
pass, and what is captured is put together here before it is reduced like any other.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gradprism.data.encode import Encoded, Encoder
from gradprism.data.example import Example, RowProblemError
from gradprism.models.likelihood import ResponseLoss
from gradprism.prism.capture import Caught, LayerSink
from gradprism.prism.example_gradients import ExampleGradients, Similarity
from gradprism.prism.settings import PrismSettings
from gradprism.prism.token_summaries import StorageKey, storage_key

REFERENCE_COLUMNS = ("ref_chosen_logps", "ref_rejected_logps")
"""Columns of summed log-likelihoods by the reference, as TRL calls them."""


def encode_for(settings: PrismSettings, encoder: Encoder) -> Callable[[Example], Encoded]:
    """Return the function that encodes an example for a loss: with its weight, or with both of its answers."""

    def encode(example: Example) -> Encoded:
        encoded = _pair(settings, encoder, example) if settings.loss == "dpo" else encoder.encode(example)
        return replace(encoded, weight=_number(example, settings.weights)) if settings.weights else encoded

    return encode


def _pair(settings: PrismSettings, encoder: Encoder, example: Example) -> Encoded:
    chosen = encoder.encode(example)
    if not example.rejected:
        raise RowProblemError("it has no rejected answer that can be read, which --loss dpo needs")
    rejected = encoder.encode(replace(example, turns=example.rejected, rejected=()))
    if (chosen.ids, chosen.response_mask) == (rejected.ids, rejected.response_mask):
        cut = f" within the {encoder.settings.max_length:,} tokens of --max-length" if chosen.truncated else ""
        raise RowProblemError(f"its chosen and rejected answers are the same{cut}, so that their gradients cancel")
    reference = None
    if settings.reference == "columns":
        reference = _number(example, REFERENCE_COLUMNS[0]), _number(example, REFERENCE_COLUMNS[1])
    return Encoded(
        chosen.ids + rejected.ids,
        chosen.response_mask + rejected.response_mask,
        chosen.truncated or rejected.truncated,
        tuple(dict.fromkeys(chosen.left_out + rejected.left_out)),
        sides=(chosen, rejected),
        reference=reference,
    )


def _number(example: Example, column: str) -> float:
    value = example.columns.get(column)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RowProblemError(f"its column {column!r} holds {value!r}, and no finite number")
    return float(value)


@dataclass
class Loss:
    """The loss of a batch: its sequences, the answers, and where captured factors go."""

    encoded: Sequence[Encoded]
    beta: float
    _factors: list[float] = field(default_factory=list)
    _cosines: list[list[Similarity]] = field(default_factory=list)

    @property
    def is_of_pairs(self) -> bool:
        """True if every example has two answers."""
        return self.encoded[0].sides is not None

    @property
    def sequences(self) -> list[Encoded]:
        """The sequences that go through the model: the examples, or both sides of each, one after the other."""
        return [side for item in self.encoded for side in item.sides or (item,)]

    @property
    def divisors(self) -> list[int]:
        """The numbers that gradients of summed losses are divided by: of response tokens, for a mean over them."""
        return [1 if self.is_of_pairs else item.n_response_tokens for item in self.encoded]

    def refer_to(self, nll_sums: Sequence[float]) -> None:
        """Take the reference's negative log-likelihoods of all sequences."""
        sides = zip(nll_sums[::2], nll_sums[1::2], strict=True)
        self.encoded = [
            replace(item, reference=(-chosen, -rejected))
            for item, (chosen, rejected) in zip(self.encoded, sides, strict=True)
        ]

    def answers(self, loss: ResponseLoss) -> list[ExampleGradients]:
        """Return the answers of a batch with their losses, and note the factors of its gradients."""
        sums = loss.nll_sum.tolist()
        if self.is_of_pairs:
            pairs = zip(self.encoded, sums[::2], sums[1::2], strict=True)
            margins = [_margin(item, chosen, rejected) for item, chosen, rejected in pairs]
            means = [_softplus(-self.beta * margin) for margin in margins]
            slopes = [self.beta * math.exp(-_softplus(self.beta * margin)) for margin in margins]
            totals = [math.nan] * len(means)
        else:
            means, totals, slopes = loss.means, sums, [1.0] * len(sums)
        self._factors = [slope * item.weight for slope, item in zip(slopes, self.encoded, strict=True)]
        self._cosines = [[] for _ in self.encoded]
        return [
            ExampleGradients(mean, total, None if math.isfinite(mean) else f"non-finite loss ({mean})")
            for mean, total in zip(means, totals, strict=True)
        ]

    def into(self, add: LayerSink) -> LayerSink:
        """Return where captured factors go so that `add` gets those of this loss."""
        if self.is_of_pairs:
            return lambda caught: add(self._joined(caught))
        if any(item.weight != 1.0 for item in self.encoded):
            return lambda caught: add([replace(item, deltas=self._weighted(item.deltas)) for item in caught])
        return add

    def finish(self, answers: Sequence[ExampleGradients]) -> None:
        """Add the cosines of chosen and rejected gradients."""
        for answer, cosines in zip(answers, self._cosines, strict=True):
            if not answer.problem:
                answer.similarities += sorted(cosines, key=lambda each: (each.layer, each.pair))

    def _weighted(self, deltas: Float[Tensor, "batch tokens d"]) -> Float[Tensor, "batch tokens d"]:
        return _wide(deltas) * torch.tensor(self._factors).to(deltas.device, _wide(deltas).dtype)[:, None, None]

    def _joined(self, caught: Sequence[Caught]) -> list[Caught]:
        """Put the factors of both answers of each pair one below the other."""
        inputs: dict[StorageKey, Tensor] = {}
        grams: dict[tuple[StorageKey, int], Tensor] = {}
        found = []
        for item in caught:
            key = storage_key(item.inputs)  # q, k and v read the same activations
            if key not in inputs:
                inputs[key] = self._one_below_the_other(item.inputs)
            deltas = self._one_below_the_other(_wide(item.deltas))
            joined = Caught(item.projection, inputs[key], deltas)
            for row in range(len(self.encoded)):
                self._add_cosine(row, joined, grams, key)
                n = self._n_chosen(row)
                deltas[row, :n] *= self._factors[row]
                deltas[row, n:] *= -self._factors[row]
            found.append(joined)
        return found

    def _one_below_the_other(self, values: Float[Tensor, "sides tokens d"]) -> Float[Tensor, "batch both d"]:
        longest = max(item.n_tokens for item in self.encoded)
        both = values.new_zeros(len(self.encoded), longest, values.shape[2])
        for row, item in enumerate(self.encoded):
            n = self._n_chosen(row)
            both[row, :n] = values[2 * row, :n]
            both[row, n : item.n_tokens] = values[2 * row + 1, : item.n_tokens - n]
        return both

    def _n_chosen(self, row: int) -> int:
        sides = self.encoded[row].sides
        assert sides is not None
        return sides[0].n_tokens

    def _add_cosine(
        self, row: int, joined: Caught, grams: dict[tuple[StorageKey, int], Tensor], key: StorageKey
    ) -> None:
        """Add the cosine of the gradients of the chosen and the rejected answer, by products of their factors."""
        n, stop = self._n_chosen(row), self.encoded[row].n_tokens
        if (key, row) not in grams:
            grams[key, row] = _gram(joined.inputs[row, :stop])
        product = grams[key, row] * _gram(joined.deltas[row, :stop])
        across = float(product[:n, n:].sum())
        squares = float(product[:n, :n].sum()) * float(product[n:, n:].sum())
        known = squares > 0 and math.isfinite(squares)
        p = joined.projection
        cosine = across / math.sqrt(squares) if known else None
        self._cosines[row].append(Similarity(p.layer, p.layer, "chosen_rejected", p.name, cosine))


def _margin(item: Encoded, chosen: float, rejected: float) -> float:
    """Return how much more the model prefers the chosen answer than the reference does; of summed losses, nats."""
    if item.reference is None:  # the model itself
        return 0.0 if math.isfinite(chosen + rejected) else math.nan
    return (-chosen - item.reference[0]) - (-rejected - item.reference[1])


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _gram(rows: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens tokens"]:
    """Return the inner products of rows, scaled to a largest entry of 1, in fp64."""
    wide = rows.double() if rows.device.type != "mps" else rows.float()
    scaled = wide / wide.abs().max().clamp_min(1e-300 if wide.dtype == torch.float64 else 1e-30)
    return scaled @ scaled.T


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
