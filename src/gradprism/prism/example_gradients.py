"""The measures of one example's gradients, and their cosines."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gradprism.models.projections.discovery import Projection


@dataclass(frozen=True)
class ProjectionGradient:
    """The measures of one projection's gradient for one example."""

    projection: Projection
    measures: Mapping[str, float]
    mean: float
    extremes: tuple[float, float] | None
    singular_values: list[float] | None


@dataclass(frozen=True)
class Similarity:
    """The cosine of two gradients of one example."""

    layer: int
    other_layer: int
    kind: str
    pair: str
    cosine: float | None


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

    def __repr__(self) -> str:
        """Count what was measured, or say why nothing was."""
        measured = f"{len(self.spectra)} spectra, {len(self.similarities)} cosines, loss {self.loss:.4g}"
        return f"ExampleGradients({self.problem or measured})"
