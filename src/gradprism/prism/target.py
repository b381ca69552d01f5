"""Compare every gradient with that of a target: the mean gradient of a set of examples, held as matrices.

⟨G, M⟩ is exact: no projection of G = Dᵀ X, and no gradient is stored: each is formed, compared with the target's M and
forgotten. How much of G lies where M does is its share in the span of the leading left singular vectors U and right
ones V of M: ‖Uᵀ G‖² / ‖G‖², ‖G V‖² / ‖G‖², and ‖Uᵀ G V‖² / ‖G‖² for both.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from weakref import ReferenceType, ref

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gradprism.core.errors import GradPrismError
from gradprism.prism.example_gradients import ExampleGradients, Influence
from gradprism.prism.gradient import Gradient

Key = tuple[int, str]  # layer, projection
TargetMean = Literal["plain", "unit"]

_EXACT = 2048  # rows of the smaller side up to which singular vectors are those of the whole matrix


@dataclass(frozen=True)
class _Directions:
    """The mean gradient of one projection, and its leading singular vectors."""

    mean: Float[Tensor, "d_out d_in"]
    norm: float
    left: Float[Tensor, "d_out r"]
    right: Float[Tensor, "d_in r"]


@dataclass(frozen=True)
class Target:
    """The mean gradient of a target's rows."""

    name: str
    rows: int
    """Rows that it is the mean of."""
    of: Mapping[Key, _Directions]
    template: str | None = None
    """Template that its rows were read with; None where they were given as token ids."""
    model: "ReferenceType[nn.Module] | None" = None
    """The model that they went through."""

    @property
    def norm(self) -> float:
        """Frobenius norm over all projections."""
        return math.sqrt(math.fsum(each.norm**2 for each in self.of.values()))

    def __repr__(self) -> str:
        """Name it and its size."""
        return f"Target({self.name}: {self.rows:,} rows, {len(self.of):,} gradients, norm {self.norm:.4g})"


class MeanReader:
    """Adds up the gradients of examples, in fp32; each batch must be of one example, which may fail. A `Reader`."""

    def __init__(self, mean: TargetMean):
        """Begin with no gradient. With `unit` each example's gradient is divided by its norm over all projections."""
        self.rows, self._unit = 0, mean == "unit"
        self._totals: dict[Key, Tensor] = {}

    def begin(self, n_examples: int) -> "_MeanReading":
        """Begin an example."""
        assert n_examples == 1
        return _MeanReading(self)

    def add(self, gradients: Mapping[Key, Tensor], norm: float) -> None:
        """Add the gradients of one example."""
        if self._unit and not norm:
            return
        self.rows += 1
        for key, gradient in gradients.items():
            scaled = gradient / norm if self._unit else gradient
            self._totals[key] = self._totals[key].add_(scaled) if key in self._totals else scaled

    def target(self, name: str, rank: int, template: str | None, model: nn.Module) -> Target:
        """Return the mean of what was added, with `rank` singular vectors of each projection."""
        means = {key: total / self.rows for key, total in self._totals.items()}
        return Target(
            name, self.rows, {key: _directions(mean, rank) for key, mean in means.items()}, template, ref(model)
        )


class _MeanReading:
    def __init__(self, reader: MeanReader):
        self._reader, self._gradients, self._squares = reader, dict[Key, Tensor](), 0.0

    def read(self, row: int, gradients: Sequence[Gradient]) -> None:
        for gradient in gradients:
            key = gradient.projection.layer, gradient.projection.name
            self._gradients[key] = gradient.factors.form(keep=False) * gradient.factors.scale
            self._squares += gradient.frobenius_norm**2

    def finish(self, answers: Sequence[ExampleGradients]) -> None:
        if answers[0].problem is None:
            self._reader.add(self._gradients, math.sqrt(self._squares))


def _directions(mean: Float[Tensor, "d_out d_in"], rank: int) -> _Directions:
    rank = min(rank, *mean.shape)
    left, right = leading_vectors(mean, rank) if rank else (mean.new_empty(side, 0) for side in mean.shape)
    return _Directions(mean, float(torch.linalg.vector_norm(mean, dtype=torch.float64)), left, right)


def leading_vectors(matrix: Float[Tensor, "m n"], rank: int) -> tuple[Float[Tensor, "m rank"], Float[Tensor, "n rank"]]:
    """Return the leading left and right singular vectors of a matrix, in its type; zeros where it has lower rank.

    Of a matrix whose smaller side is above 2,048 by eight subspace iterations from seeded random vectors.
    """
    wide = matrix.double()
    if min(wide.shape) > _EXACT:
        with torch.random.fork_rng(devices=[wide.device] if wide.is_cuda else []):
            torch.manual_seed(0)
            left, values, right = torch.svd_lowrank(wide, q=rank + 8, niter=8)
        left, values, right = left[:, :rank], values[:rank], right[:, :rank]
    else:
        flipped = wide.shape[0] > wide.shape[1]
        small = wide.T if flipped else wide
        squares, vectors = torch.linalg.eigh(small @ small.T)
        left, values = vectors.flip(1)[:, :rank], squares.flip(0)[:rank].clamp(min=0).sqrt()
        right = (small.T @ left) / values.where(values > 0, 1.0)
        left, right = (right, left) if flipped else (left, right)
    there = values > 1e-7 * values[:1]
    return (left * there).to(matrix.dtype), (right * there).to(matrix.dtype)


def refuse_unlike(target: Target, template: str, model: nn.Module, keys: Collection[Key]) -> None:
    """Raise `GradPrismError` where a target was made by another template or model, or of other projections."""
    if target.model is not None and target.model() is not model:
        raise GradPrismError(
            f"Target {target.name} was made by another model. Expected one that this model's analyzer made: call its "
            "method `target` again."
        )
    if target.template not in (None, template):
        raise GradPrismError(
            f"Target {target.name} was read with the template {target.template}, and these data with {template}. "
            "Expected one template for both: name it, as in GradientAnalyzer(..., template='chat')."
        )
    if target.of.keys() != {*keys}:
        has, wanted = (", ".join(sorted({name for _, name in some})) for some in (target.of, keys))
        raise GradPrismError(
            f"Target {target.name} has {len(target.of):,} gradients of {has}; measured here are {len(keys):,} of "
            f"{wanted}. Expected the same projections."
        )


class TargetReader:
    """Compares gradients with those of targets; a `Reader`."""

    def __init__(self, targets: Sequence[Target]):
        """Take the targets."""
        self.targets = targets

    def begin(self, n_examples: int) -> "_TargetReading":
        """Begin a batch."""
        return _TargetReading(self.targets, n_examples)


@dataclass
class _Read:
    """One gradient compared with every target."""

    key: Key
    square: float
    products: Float[Tensor, "targets 4"]  # of the gradient with the mean; squares within left, right, both


class _TargetReading:
    def __init__(self, targets: Sequence[Target], n_examples: int):
        self._targets = targets
        self._read: list[list[_Read]] = [[] for _ in range(n_examples)]

    def read(self, row: int, gradients: Sequence[Gradient]) -> None:
        for gradient in gradients:
            key, scale = (gradient.projection.layer, gradient.projection.name), gradient.factors.scale
            units = torch.tensor([scale, scale**2, scale**2, scale**2], dtype=torch.float64)
            formed = gradient.factors.form(keep=False)  # once for all targets
            found = torch.stack([_products(formed, target.of[key]) for target in self._targets])
            self._read[row].append(_Read(key, gradient.frobenius_norm**2, found.cpu() * units))

    def finish(self, answers: Sequence[ExampleGradients]) -> None:
        for answer, read in zip(answers, self._read, strict=True):
            read.sort(key=lambda each: each.key[0])
            for index, target in enumerate(self._targets):
                single = [
                    _influence(*each.key, each.products[index].tolist(), each.square, target.of[each.key].norm)
                    for each in read
                ]
                sums = torch.stack([each.products[index] for each in read]).sum(0).tolist() if read else [0.0] * 4
                whole = _influence(None, "all", sums, math.fsum(each.square for each in read), target.norm)
                if not any(each.left.shape[1] for each in target.of.values()):
                    whole, *single = (_without_shares(each) for each in (whole, *single))
                answer.influence[target.name] = whole, single


def _products(gradient: Float[Tensor, "d_out d_in"], target: _Directions) -> Float[Tensor, " 4"]:
    """Return ⟨G, M⟩, ‖Uᵀ G‖², ‖G V‖² and ‖Uᵀ G V‖² of the scaled gradient, in fp64."""
    mean, left, right = (each.to(gradient) for each in (target.mean, target.left, target.right))
    within_left, within_right = left.T @ gradient, gradient @ right  # (r, d_in), (d_out, r)
    squares = [each.double().square().sum() for each in (within_left, within_right, within_left @ right)]
    return torch.stack([torch.dot(gradient.flatten(), mean.flatten()).double(), *squares])


def _without_shares(influence: Influence) -> Influence:
    return replace(influence, left_share=None, right_share=None, share=None)


def _influence(layer: int | None, projection: str, found: Sequence[float], square: float, norm: float) -> Influence:
    product, *within = found
    cosine = product / (math.sqrt(square) * norm) if square and norm else None
    shares = [part / square if square else None for part in within]
    return Influence(layer, projection, product, cosine, *shares)
