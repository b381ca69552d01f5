"""Read the gradients of a training batch from its own backward pass, without another pass.

The loss of a batch is a weighted sum of its examples' mean losses, so that each example's rows of the factors X and D
give its own gradient times its weight. The weight is read off the gradient that arrives at the last hidden states: it
is the factor between that and (softmax - one-hot) W of the same states, whatever the trainer divides by (tokens of the
batch, of all accumulated ones, processes, a scale for fp16). What is not such a sum is refused.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from gradprism.core.errors import GradPrismError
from gradprism.models.full_precision import full_products
from gradprism.models.likelihood import nll_by_blocks
from gradprism.models.projections.decoder_layers import base_model
from gradprism.models.projections.discovery import Projection
from gradprism.prism.capture import Caught, by_example
from gradprism.prism.eigen_pool import EigenPool
from gradprism.prism.example_gradients import ExampleGradients
from gradprism.prism.null_draws import seed_of
from gradprism.prism.reducer import Reducer
from gradprism.prism.settings import PrismSettings
from gradprism.training.batch_rows import BatchRow

_UNLIKE = {True: 3e-3, False: 0.05}  # share of the gradient at the hidden states that no weight explains: in fp32, else


@dataclass
class _Pieces:
    """The rows of one tensor that belong to the examples, and of its gradient once that has arrived."""

    inputs: list[Tensor]
    deltas: list[Tensor] = field(default_factory=list)


class LiveFactors:
    """The factors of some rows of a batch, in the layers asked for, from the trainer's own forward and backward."""

    def __init__(
        self, model: nn.Module, projections: Sequence[Projection], rows: Sequence[BatchRow], batch: Sequence[int]
    ):
        """Prepare to catch them; `batch` is the shape (examples, tokens)."""
        self._model, self._projections, self._rows, self._batch = model, projections, rows, tuple(batch)
        self._factors: dict[Projection, _Pieces] = {}
        self._hidden: _Pieces | None = None
        self._most_unlike = 0.0
        self._last: tuple[Tensor, list[Tensor]] | None = None

    @contextmanager
    def catching(self) -> Iterator[None]:
        """Catch what passes in one forward and backward pass; all hooks are gone afterwards."""
        decoder = cast(nn.Module, base_model(self._model)[1].base_model)
        modules: dict[nn.Module, list[Projection]] = {}
        for projection in self._projections:
            modules.setdefault(projection.module, []).append(projection)
        handles = [module.register_forward_hook(partial(self._pass, these), with_kwargs=True)
                   for module, these in modules.items()]  # fmt: skip
        handles.append(decoder.register_forward_hook(self._pass_hidden))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _pass(
        self, here: Sequence[Projection], _: nn.Module, args: tuple[Any, ...], named: Mapping[str, Any], output: Tensor
    ) -> Tensor | None:
        """Keep the inputs of one map, and ask for the gradient at its output.

        With gradient checkpointing a layer runs twice, and only one of the two times its output is part of the graph
        that backward follows: the first (non-reentrant), or the second, where the first needs no gradient (reentrant).
        Below all that is trained, an output is made to need one, both times.
        """
        if not torch.is_grad_enabled():
            return None
        if leaf := not output.requires_grad:
            output.requires_grad_(True)
        if here[0] not in self._factors:
            inputs = next(value for value in (*args, *named.values()) if isinstance(value, Tensor))
            kept = self._kept_inputs(inputs, here[0].path)
            for projection in here:
                self._factors[projection] = _Pieces(kept)
            output.register_hook(partial(self._arrive, here))  # type: ignore[no-untyped-call]
        return output.clone() if leaf else None  # a model may change its activations in place, but not a leaf

    def _kept_inputs(self, inputs: Tensor, path: str) -> list[Tensor]:
        """Copy the rows of the inputs, once for the projections that read the same."""
        if self._last is None or self._last[0] is not inputs:
            self._last = inputs, self._pieces(by_example(inputs.detach(), self._batch, path))
        return self._last[1]

    def _arrive(self, here: Sequence[Projection], deltas: Tensor) -> None:
        by_row = self._pieces(by_example(deltas, self._batch, here[0].path))
        for projection in here:
            self._factors[projection].deltas = [projection.select(each) for each in by_row]

    def _pass_hidden(self, _: nn.Module, __: Any, output: Any) -> None:
        hidden = output.last_hidden_state
        is_full = hidden.dtype.itemsize >= 4 and not torch.is_autocast_enabled(hidden.device.type)
        self._most_unlike = _UNLIKE[is_full]
        kept = _Pieces(self._pieces(hidden.detach()))
        hidden.register_hook(lambda gradient: setattr(kept, "deltas", self._pieces(gradient)))
        self._hidden = kept

    def _pieces(self, values: Float[Tensor, "batch tokens d"]) -> list[Tensor]:
        return [values[row.index, row.place].clone() for row in self._rows]

    def measure(self, head: nn.Linear, settings: PrismSettings, pool: EigenPool) -> list[ExampleGradients]:
        """Return the gradient of each example's mean loss, reduced to measures; what was caught is let go.

        `head` is the output layer. Raises `GradPrismError` where no gradient reached a projection, or the loss is not
        made of the examples' mean losses.
        """
        self._last = None
        weights, nll = self._weights_and_nll(head)
        missing = [p.path for p in self._projections if not (p in self._factors and self._factors[p].deltas)]
        if missing:
            raise GradPrismError(
                f"live=True: no gradient reached {missing[0]} ({len(missing)} in all). Leave those layers out "
                "(layers=...), or measure with a pass of its own (live=False)."
            )
        with torch.no_grad():
            return self._reduce(weights, nll, settings, pool)

    def _weights_and_nll(self, head: nn.Linear) -> tuple[list[float], list[Tensor]]:
        """Return the weight of each token of an example in the loss, and the losses of its response tokens."""
        if self._hidden is None or not self._hidden.deltas:
            raise GradPrismError("live=True: no gradient reached the last hidden states. Expected a loss of logits.")
        weights, losses = [], []
        for row, hidden, found in zip(self._rows, self._hidden.inputs, self._hidden.deltas, strict=True):
            scored = torch.tensor(row.encoded.response_mask[1:], device=hidden.device)
            targets = torch.tensor(row.encoded.ids[1:], device=hidden.device)[scored]
            with full_products():
                nll, expected = nll_by_blocks(hidden[:-1][scored].to(head.weight.dtype), targets, head)
            found, expected = (each.cpu().double().flatten() for each in (found[:-1][scored], expected))
            weight = float(found @ expected / (expected @ expected))
            unlike = float((found - weight * expected).norm() / found.norm())
            if not (weight > 0 and unlike < self._most_unlike):
                raise GradPrismError(_other_loss(unlike))
            weights.append(weight)
            losses.append(nll)
        return weights, losses

    def _reduce(
        self, weights: Sequence[float], nll: Sequence[Tensor], settings: PrismSettings, pool: EigenPool
    ) -> list[ExampleGradients]:
        encoded = [row.encoded for row in self._rows]
        order = {projection: index for index, projection in enumerate(self._projections)}
        counts = [example.n_response_tokens for example in encoded]
        seeds = [seed_of(example.ids) for example in encoded] if settings.null_draws else []
        reducer = Reducer([example.n_tokens for example in encoded], counts, order, settings, pool, seeds)
        sums = [float(each.double().sum()) for each in nll]
        reducer.answers = [ExampleGradients(total / count, total) for total, count in zip(sums, counts, strict=True)]
        padded: dict[int, Tensor] = {}  # inputs that several projections read stay one tensor
        for layer in sorted({projection.layer for projection in self._projections}, reverse=True):
            here = [projection for projection in self._projections if projection.layer == layer]
            caught = []
            for projection in here:
                pieces = self._factors.pop(projection)
                inputs = padded.setdefault(id(pieces.inputs), pad_sequence(pieces.inputs, batch_first=True))
                deltas = [each.float() / weight for each, weight in zip(pieces.deltas, weights, strict=True)]
                caught.append(Caught(projection, inputs, pad_sequence(deltas, batch_first=True)))
            reducer.add(caught)
            padded.clear()
        reducer.finish()
        return reducer.answers


def _other_loss(unlike: float) -> str:
    return (
        f"live=True: {unlike:.2g} of the gradient at the last hidden states is not that of the tokens' mean loss: the "
        "trainer smooths labels, weighs tokens (dft), adds another loss, or the model caps or scales its logits. "
        "Expected the ordinary loss of a causal language model; or measure with a pass of its own (live=False)."
    )
