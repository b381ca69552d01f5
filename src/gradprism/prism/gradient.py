"""One projection's gradient for one example while a batch is reduced, and what may read it there."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from gradprism.models.projections.discovery import Projection
from gradprism.prism.example_gradients import ExampleGradients
from gradprism.prism.factors import Factors


@dataclass
class Gradient:
    """One projection's gradient for one example, as factors."""

    row: int  # of the batch
    projection: Projection
    factors: Factors
    mean: float
    frobenius_norm: float = math.nan  # known once it is measured


@runtime_checkable
class Reading(Protocol):
    """Collected numbers of one batch."""

    def read(self, row: int, gradients: Sequence[Gradient]) -> None:
        """Read gradients of one example, some layers at a time; examples may come from several threads at once."""

    def finish(self, answers: Sequence[ExampleGradients]) -> None:
        """Add what was collected to the answers of the batch, one per example."""


@runtime_checkable
class Reader(Protocol):
    """Reads the gradients of every batch beside their measures: sketches, or products with those of a target."""

    def begin(self, n_examples: int) -> Reading:
        """Begin a batch."""
