"""Sketch the whole gradient of an example: a random projection of fixed dimension that keeps inner products.

Of each projection, Y = Aᵀ G B = (D A)ᵀ (X B) with independent random signs in A (d_out, a) and B (d_in, b); a side of
at most 128 stays as it is. Each entry of Y, scaled by 1/√(ab), is added to one coordinate of the sketch, in a random
order and with a random sign that differ from projection to projection. So ⟨sketch of G, sketch of H⟩ is an unbiased
estimate of ⟨G, H⟩ over all projections together. G is not formed for it.

Random signs on two sides alone, a = b = √dimension, are far noisier where gradients are of low rank, since their error
is that of √dimension draws. Of four times as many entries as the sketch has coordinates, added up at random, the
standard deviation is near 1/√dimension of the product of the norms.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Float, Int, Int8
from torch import Tensor

from gradprism.models.projections.discovery import Projection
from gradprism.prism.example_gradients import ExampleGradients
from gradprism.prism.gradient import Gradient

_SIDE = 128  # columns of A and B


@dataclass(frozen=True)
class _Maps:
    """The random maps of one projection."""

    left: Int8[Tensor, "d_out a"] | None  # None: the side stays as it is
    right: Int8[Tensor, "d_in b"] | None
    places: Int[Tensor, " entries"]  # coordinate of the sketch that each entry of Y is added to
    signs: Int8[Tensor, " entries"]
    scale: float

    def to(self, device: torch.device) -> "_Maps":
        """Return the maps on a device."""
        left, right = (side if side is None else side.to(device) for side in (self.left, self.right))
        return _Maps(left, right, self.places.to(device), self.signs.to(device), self.scale)


class Sketcher:
    """Sketches gradients by maps that the seed, the layer and the projection determine; a `Reader`."""

    def __init__(self, dimension: int, seed: int):
        """Begin without maps: they are drawn when they are first used."""
        self.dimension, self._seed = dimension, seed
        self._maps: dict[tuple[int, str, torch.device], _Maps] = {}

    def begin(self, n_examples: int) -> "SketchReading":
        """Begin a batch."""
        return SketchReading(self, n_examples)

    def maps(self, projection: Projection, device: torch.device) -> _Maps:
        """Return the maps of a projection."""
        key = projection.layer, projection.name, device
        if key not in self._maps:
            self._maps[key] = self._draw(projection).to(device)
        return self._maps[key]

    def _draw(self, projection: Projection) -> _Maps:
        d_out, d_in = projection.d_out, projection.d_in
        a = min(d_out, _SIDE)
        b = min(d_in, max(_SIDE, math.ceil(self.dimension / a)))
        a = min(d_out, max(a, math.ceil(self.dimension / b)))
        own = projection.layer, crc32(projection.name.encode())
        left = self._signs(d_out, a, *own)
        right = self._signs(d_in, b, projection.layer, d_in)  # of a layer: q, k and v read the same inputs
        entries = a * b
        random = np.random.default_rng([self._seed, *own, 1])
        places = torch.from_numpy(random.permutation(max(entries, self.dimension))[:entries] % self.dimension)
        signs = _random_signs(random, entries)
        scale = 1 / math.sqrt((1 if left is None else a) * (1 if right is None else b))
        return _Maps(left, right, places, signs, scale)

    def _signs(self, rows: int, columns: int, *key: int) -> Tensor | None:
        if columns == rows:
            return None
        return _random_signs(np.random.default_rng([self._seed, *key]), rows, columns)


def _random_signs(random: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(2 * random.integers(0, 2, shape, dtype=np.int8) - 1)


class SketchReading:
    """The sketches of one batch."""

    def __init__(self, sketcher: Sketcher, n_examples: int):
        """Begin with sketches of nothing."""
        self._sketcher = sketcher
        self._sums = torch.zeros(n_examples, sketcher.dimension, dtype=torch.float64)
        self._squares = [0.0] * n_examples

    def read(self, row: int, gradients: Sequence[Gradient]) -> None:
        """Add gradients to the sketch of one example."""
        projected: dict[int, Tensor] = {}  # X B, shared by projections that read the same inputs
        for gradient in gradients:
            factors = gradient.factors
            maps = self._sketcher.maps(gradient.projection, factors.deltas.device)
            if factors.is_worth_forming:
                product = _times(_times(factors.form().T, maps.left).T, maps.right)  # ((d_in, d_out) @ (d_out, a))ᵀ
            else:
                shared = factors.shared
                if id(shared) not in projected:
                    projected[id(shared)] = _times(shared.rows, maps.right)  # (T, d_in) @ (d_in, b)
                product = _times(factors.deltas, maps.left).T @ projected[id(shared)][factors.tokens]
            entries = product.double().flatten() * maps.signs * (factors.scale * maps.scale)
            sketch = entries.new_zeros(self._sketcher.dimension).index_add_(0, maps.places, entries)
            self._sums[row] += sketch.to(self._sums.device)
            self._squares[row] += gradient.frobenius_norm**2

    def finish(self, answers: Sequence[ExampleGradients]) -> None:
        """Give each example the norm of its gradient and the sketch of the gradient divided by it."""
        for answer, sketch, square in zip(answers, self._sums, self._squares, strict=True):
            norm = math.sqrt(square)
            answer.sketch = norm, (sketch / norm).to(torch.float16).numpy() if norm else None


def _times(values: Float[Tensor, "n d"], signs: Int8[Tensor, "d k"] | None) -> Float[Tensor, "n k"]:
    return values if signs is None else values @ signs.to(values.dtype)
