"""The measures of one example's gradients, and their cosines."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from gradprism.models.projections.discovery import Projection


@dataclass(frozen=True)
class ProjectionGradient:
    """The measures of one projection's gradient for one example."""

    projection: Projection
    measures: Mapping[str, float]
    mean: float
    extremes: tuple[float, float] | None
    singular_values: list[float] | None
    tail: Mapping[str, float] = field(default_factory=dict)
    """Sums over the singular values that are not stored: `measures.TAIL_COLUMNS`."""


@dataclass(frozen=True)
class Similarity:
    """The cosine of two gradients of one example."""

    layer: int
    other_layer: int
    kind: str
    pair: str
    cosine: float | None


@dataclass(frozen=True)
class Influence:
    """One gradient, or that of all projections together, compared with a target's; see `target`."""

    layer: int | None
    projection: str
    inner_product: float
    cosine: float | None
    left_share: float | None
    right_share: float | None
    share: float | None


@dataclass(frozen=True)
class TokenGradients:
    """The losses of one example's response tokens, and how much each of its tokens adds to the gradients."""

    losses: list[float]
    sizes: Mapping[str, list[float]]
    """By projection, of all tokens; see `token_sizes`."""


@dataclass
class ExampleGradients:
    """Everything measured of one example; `problem` says why nothing could be."""

    loss: float
    nll_sum: float
    problem: str | None = None
    spectra: list[ProjectionGradient] = field(default_factory=list)
    similarities: list[Similarity] = field(default_factory=list)
    tokens: TokenGradients | None = None
    sketch: tuple[float, np.ndarray | None] | None = None
    """The norm of the whole gradient, and the sketch of it divided by that; none where it is zero."""
    influence: dict[str, tuple[Influence, list[Influence]]] = field(default_factory=dict)
    """By target: of all projections together, and of each."""

    def __repr__(self) -> str:
        """Count what was measured, or say why nothing was."""
        measured = f"{len(self.spectra)} spectra, {len(self.similarities)} cosines, loss {self.loss:.4g}"
        return f"ExampleGradients({self.problem or measured})"
