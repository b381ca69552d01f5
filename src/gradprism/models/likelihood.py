"""The likelihood of each example's response in a batch, and its gradient; logits on response positions only."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear

from gradprism.core.errors import GradPrismError
from gradprism.data.encode import Encoded
from gradprism.data.example import RowProblemError
from gradprism.models.device import execution_device, is_offloaded
from gradprism.models.full_precision import full_products, model_itself, own_forward
from gradprism.models.quantised import exact_products

_BLOCK = 6 << 20  # logits made at a time: 24 MiB in fp32; from 32 on, glibc fetches new pages for every block
_SMALLEST_BLOCK = 128  # positions; the output weights are read anew for each block
_CHECKED = 8  # positions whose logits are compared with the model's own
_ADDENDS = 1024  # products that a matrix product may add up one after the other


@dataclass(frozen=True)
class Batch:
    """Examples padded on the right to one length. Causal attention never looks right, so no mask is needed."""

    ids: Int[Tensor, "batch tokens"]
    response_mask: Bool[Tensor, "batch tokens"]
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, encoded: Sequence[Encoded], device: torch.device) -> "Batch":
        """Pad examples on the right to the longest, and move them to the device."""
        lengths = tuple(example.n_tokens for example in encoded)
        ids = torch.zeros(len(encoded), max(lengths), dtype=torch.long)
        mask = torch.zeros_like(ids, dtype=torch.bool)
        for row, example in enumerate(encoded):
            ids[row, : example.n_tokens] = torch.tensor(example.ids)
            mask[row, : example.n_tokens] = torch.tensor(example.response_mask)
        if device.type == "cuda":  # from other memory a copy waits
            ids, mask = ids.pin_memory(), mask.pin_memory()
        return cls(ids.to(device, non_blocking=True), mask.to(device, non_blocking=True), lengths)


@dataclass(frozen=True)
class ResponseLoss:
    """Sums of negative log-likelihoods in nats, and where backward starts.

    Backward is that of the sum over all tokens of all examples, not of the means: a gradient divided by a long
    response's token count falls below what fp16 can hold. The division belongs after backward, in fp64.
    """

    nll: Float[Tensor, " n"]
    """Of each response token, one example after the other."""
    nll_sum: Float[Tensor, " batch"]
    n_predicted: Int[Tensor, " batch"]
    root: Tensor
    gradient: Tensor | None  # of the summed loss in `root`; None where `root` is that loss itself

    @property
    def means(self) -> list[float]:
        """Mean negative log-likelihood of each example's response tokens, nats."""
        return (self.nll_sum / self.n_predicted).tolist()

    @property
    def by_token(self) -> list[list[float]]:
        """Negative log-likelihoods of each example's response tokens, nats."""
        return [part.tolist() for part in torch.split(self.nll.cpu(), self.n_predicted.tolist())]

    def backward(self) -> None:
        """Send the gradient of the summed loss into the model."""
        self.root.backward(self.gradient)  # type: ignore[no-untyped-call]


class LogitsChangedError(Exception):
    """The model's logits are not what its output layer gives: the forward pass must be run again."""


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Compute without dropout, with quantised weights as they are, in a precision that nothing outside has lowered.

    Modules in training, and what the process had set, are put back afterwards.
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with full_products(), own_forward(model), exact_products(model):
            yield
    finally:
        for module in training:
            module.training = True


def vocabulary_size(model: nn.Module) -> int | None:
    """Return how many token ids a model has embeddings for; None where it does not say."""
    embeddings = getattr(model, "get_input_embeddings", lambda: None)()
    wrapped = getattr(embeddings, "get_base_layer", lambda: embeddings)()  # by an adapter
    size = getattr(wrapped, "num_embeddings", None)
    return size if isinstance(size, int) else None


def unknown_token(ids: Sequence[int], vocabulary: int | None) -> str | None:
    """Describe a token id beyond the embeddings; None where there is none."""
    if vocabulary is None or max(ids) < vocabulary:
        return None
    return f"token id {max(ids)} is beyond the model's {vocabulary} embeddings: the tokenizer is not this model's"


class ResponseHead:
    """The end of a causal language model: hidden states of the predicting positions -> losses and their gradient.

    The output layer sees response positions only. Where the model's logits are what that (linear) layer gives, they
    are made and differentiated block by block: logits, softmax and gradient of the whole response never stand in
    memory. Where a model caps or scales its logits, autograd takes its own way. Which of the two holds is read off
    a few positions of every forward pass.
    """

    def __init__(self, model: nn.Module):
        """Find the output layer. Raises `GradPrismError` where there is none."""
        model = self._model = model_itself(model)
        self.layer = _output_layer(model)
        self._linear = self.layer if isinstance(self.layer, nn.Linear) and _is_at_hand(self.layer) else None
        self._gives_logits = self._linear is not None  # as they are: the model neither caps nor scales them
        embeddings = getattr(model, "get_input_embeddings", lambda: None)()
        self.device: torch.device = execution_device(embeddings or model)  # where token ids go
        self._vocabulary = vocabulary_size(model)

    def refuse_unknown_token(self, encoded: Encoded) -> Encoded:
        """Return an example whose tokens all have embeddings. Raises `RowProblemError` for any other.

        On a GPU an id beyond them would end the process's hold on the device.
        """
        if problem := self.unknown_token(encoded):
            raise RowProblemError(problem)
        return encoded

    def unknown_token(self, encoded: Encoded) -> str | None:
        """Describe a token id beyond the model's embeddings; None where there is none."""
        return unknown_token(encoded.ids, self._vocabulary)

    def nll_sums(self, batch: Batch) -> list[float]:
        """Sum the negative log-likelihoods of each example's response tokens, nats; nothing is kept for backward."""
        examples, positions, targets = _response_tokens(batch)
        with torch.no_grad(), evaluating(self._model):
            nll = self._nll(batch.ids, examples, positions, targets)
        return _per_example(nll, examples, len(batch.lengths))[0].tolist()

    def base_nll_sums(self, batch: Batch) -> list[float]:
        """Sum them by the model without its adapter; see `refuse_without_adapter`."""
        wanted = {parameter for parameter in self._model.parameters() if parameter.requires_grad}
        with self._model.disable_adapter():
            found = self.nll_sums(batch)
        for parameter in self._model.parameters():  # peft has its adapter train again
            parameter.requires_grad_(parameter in wanted)
        return found

    def refuse_without_adapter(self) -> None:
        """Raise `GradPrismError` where peft has wrapped no adapter around the model."""
        if not hasattr(self._model, "disable_adapter"):
            raise GradPrismError(
                "--reference base is the model without its adapter, and this model has none. Expected --adapter, or a "
                "model that peft has wrapped."
            )

    def _nll(self, ids: Tensor, examples: Tensor, positions: Tensor, targets: Tensor) -> Float[Tensor, " n"]:
        if self._linear and self._gives_logits:
            with suppress(LogitsChangedError):  # the head knows it from now on
                return nll_by_blocks(
                    self._hidden(ids, examples, positions), targets, self._linear, differentiate=False
                )[0]
        logits, _ = self._forward(ids, lambda states: _states_at(states, examples, positions))
        return _in_place_nll(_wide(logits), targets.to(logits.device)[:, None], differentiate=False)

    def loss(self, batch: Batch) -> ResponseLoss:
        """Run the forward pass and compute the loss. An example with a non-finite loss gets no gradient.

        Raises `LogitsChangedError` the first time it sees a model that caps or scales its logits.
        """
        examples, positions, targets = _response_tokens(batch)
        if self._linear and self._gives_logits:
            hidden = self._hidden(batch.ids, examples, positions)
            nll, gradient = nll_by_blocks(hidden.detach(), targets, self._linear)
            nll_sum, counts, finite = _per_example(nll, examples, len(batch.lengths))
            gradient.masked_fill_(~finite[:, None], 0.0)
            return ResponseLoss(nll, nll_sum, counts, hidden, gradient.to(hidden.device))
        logits, _ = self._forward(batch.ids, lambda states: _states_at(states, examples, positions))
        nll = cast(Tensor, _Nll.apply(logits, targets.to(logits.device)))  # type: ignore[no-untyped-call]
        nll_sum, counts, finite = _per_example(nll.detach(), examples, len(batch.lengths))
        return ResponseLoss(nll.detach(), nll_sum, counts, nll[finite].sum(), None)

    def _hidden(self, ids: Tensor, examples: Tensor, positions: Tensor) -> Float[Tensor, "n d"]:
        """Return the hidden states in front of the output layer, which itself gets a few of them.

        Raises `LogitsChangedError` where the model's logits for those are not what the layer gave.
        """
        caught: list[Tensor] = []

        def catch(states: Tensor) -> Tensor:
            caught.append(_states_at(states, examples, positions))
            return caught[0][:: max(len(positions) // _CHECKED, 1)]

        logits, raw = self._forward(ids, catch)
        if not torch.allclose(logits.float(), raw.to(logits.device).float(), rtol=0, atol=0, equal_nan=True):
            self._gives_logits = False
            raise LogitsChangedError
        return caught[0]

    def _forward(self, ids: Tensor, choose: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits (n, vocabulary) of chosen positions twice: as the model and as its output layer gives them.

        `choose` takes the hidden states (batch, tokens, d) and gives those of the positions, (n, d).
        """
        raw: list[Tensor] = []

        def watch(layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
            raw.append(output)
            if self._linear is None or not output.requires_grad or output.dtype != self._linear.weight.dtype:
                return None
            return cast(Tensor, _LogitsWithProduct.apply(args[0], output, self._linear.weight))  # type: ignore[no-untyped-call]

        before = self.layer.register_forward_pre_hook(lambda layer, args: (choose(args[0]).unsqueeze(0), *args[1:]))
        after = self.layer.register_forward_hook(watch)
        try:
            logits: Tensor = self._model(input_ids=ids, use_cache=False).logits
        finally:
            before.remove()
            after.remove()
        return logits.squeeze(0), raw[0].squeeze(0)


def _response_tokens(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each response token its example, the position that predicts it, and its id, (n,) each."""
    examples, positions = batch.response_mask[:, 1:].nonzero(as_tuple=True)
    return examples, positions, batch.ids[examples, positions + 1]


def _states_at(states: Tensor, examples: Tensor, positions: Tensor) -> Tensor:
    """Return the states (n, d) of chosen positions; a spread model has them on another device than its token ids."""
    return states[examples.to(states.device), positions.to(states.device)]


def nll_by_blocks(
    hidden: Float[Tensor, "n d"], targets: Int[Tensor, " n"], layer: nn.Linear, *, differentiate: bool = True
) -> tuple[Float[Tensor, " n"], Float[Tensor, "m d"]]:
    """Compute losses, and the gradient of their sum in `hidden`: (softmax - one-hot) W; empty unless asked for.

    Both are on the layer's device.
    """
    hidden, targets = hidden.to(layer.weight.device), targets.to(layer.weight.device)
    nll = hidden.new_empty(len(hidden), dtype=_wide(hidden[:0]).dtype)
    gradient = hidden.new_empty(len(hidden) * differentiate, hidden.shape[1])
    step = max(_BLOCK // layer.out_features, _SMALLEST_BLOCK)
    with torch.no_grad():
        for start in range(0, len(hidden), step):
            block = slice(start, start + step)
            logits = _wide(linear(hidden[block], layer.weight, layer.bias))  # (step, vocabulary)
            nll[block] = _in_place_nll(logits, targets[block, None], differentiate=differentiate)
            if differentiate:
                gradient[block] = _product(logits.to(hidden.dtype), layer.weight)
    return nll, gradient


def _product(deltas: Float[Tensor, "n vocabulary"], weight: Float[Tensor, "vocabulary d"]) -> Float[Tensor, "n d"]:
    """Return deltas @ weight, in fp32 as a sum of products over parts of the vocabulary.

    For few rows a BLAS adds up the whole vocabulary one by one: on a CPU the gradient of three tokens comes out 1e-4
    wrong. The parts are longer for many rows, so that the sums over them take at most a 32nd of the weights' memory.
    """
    if weight.dtype != torch.float32 or torch.is_autocast_enabled(weight.device.type):  # each part would be rounded
        return deltas @ weight
    size = max(_ADDENDS, 32 * len(deltas))
    whole = len(weight) // size * size
    parts = torch.unflatten(deltas[:, :whole], 1, (-1, size)).transpose(0, 1)  # (parts, n, size)
    product = torch.bmm(parts, torch.unflatten(weight[:whole], 0, (-1, size))).sum(0)  # n, size @ size, d
    return product.addmm_(deltas[:, whole:], weight[whole:])


class _LogitsWithProduct(torch.autograd.Function):
    """Passes on the output layer's logits; their gradient in the hidden states is made by `_product`."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, logits: Tensor, weight: Tensor) -> Tensor:
        ctx.weight = weight
        return logits.view_as(logits)

    @staticmethod
    def backward(ctx: Any, deltas: Tensor) -> tuple[Tensor, None, None]:
        return _product(deltas.flatten(0, -2), ctx.weight).view(*deltas.shape[:-1], -1), None, None


class _Nll(torch.autograd.Function):
    """Negative log-likelihoods of targets, from logits that autograd made."""

    @staticmethod
    def forward(ctx: Any, logits: Float[Tensor, "n vocabulary"], targets: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        gradient = _wide(logits).clone()
        nll = _in_place_nll(gradient, targets[:, None])
        ctx.dtype = logits.dtype
        ctx.save_for_backward(gradient)
        return nll

    @staticmethod
    def backward(ctx: Any, deltas: Float[Tensor, " n"]) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * deltas[:, None]).to(ctx.dtype), None


def _in_place_nll(
    logits: Float[Tensor, "n vocabulary"], targets: Int[Tensor, "n 1"], *, differentiate: bool = True
) -> Float[Tensor, " n"]:
    """Return negative log-likelihoods, and overwrite the logits by their gradient, softmax - one-hot.

    torch's fp32 `log_softmax` is not used: on a CPU it adds up a row of 49,152 exponentials lane by lane, and every
    loss comes out about 1e-5 too small, on some machines and not on others. `sum` adds in a tree everywhere. The
    target's exponential stays out of that sum: where its probability is near 1, what is left is all that counts.
    """
    logits.sub_(logits.amax(1, keepdim=True))
    target = logits.gather(1, targets)  # (n, 1)
    others = logits.exp_().scatter_(1, targets, 0.0).sum(1, keepdim=True)
    if differentiate:
        total = others + target.exp()
        logits.div_(total).scatter_(1, targets, -others / total)
    return (torch.logaddexp(others.log(), target) - target).squeeze(1)


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _per_example(nll: Tensor, examples: Tensor, n_examples: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sum and count losses by example, and tell for each token whether its example's sum is finite.

    Sums are on the CPU, in fp64: Apple's GPUs have none.
    """
    owner = examples.cpu()
    zeros = torch.zeros(n_examples, dtype=torch.float64, device="cpu")
    nll_sum = zeros.index_add_(0, owner, nll.cpu().double())
    counts = torch.bincount(owner, minlength=n_examples)
    return nll_sum, counts, nll_sum.isfinite()[owner].to(nll.device)


def _is_at_hand(layer: nn.Linear) -> bool:
    """Check that a layer's weights can be multiplied with: neither quantised nor elsewhere until it is called."""
    return type(layer.weight) is nn.Parameter and not is_offloaded(layer)


def _output_layer(model: nn.Module) -> nn.Module:
    find = getattr(model, "get_output_embeddings", None)
    head = find() if find else None
    if not isinstance(head, nn.Module):
        raise GradPrismError(
            f"{type(model).__name__} has no output layer over a vocabulary; expected a causal language model "
            "(AutoModelForCausalLM)."
        )
    return head
