"""The part of spectra beyond their leading singular values, as the sums that norms and ranks need.

A run keeps it where it stores the K largest values only; an estimated spectrum has nothing else beyond them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from gradprism.prism.measures import TAIL_COLUMNS


@dataclass(frozen=True)
class Tail:
    """Sums over the singular values of each gradient that follow its leading ones; 0 where none do."""

    count: Float[Tensor, "*spectra"]
    total: Float[Tensor, "*spectra"]
    """Σ σ"""
    squares: Float[Tensor, "*spectra"]
    """Σ σ²"""
    logs: Float[Tensor, "*spectra"]
    """Σ σ ln σ"""

    @classmethod
    def of(cls, values: Float[Tensor, "*spectra n"]) -> "Tail":
        """Add up singular values; those of 0, with which stacked spectra are padded, count for nothing."""
        values = values.double()
        logs = torch.special.xlogy(values, values)
        return cls(*(each.sum(-1) for each in ((values > 0).double(), values, values.square(), logs)))

    def map(self, change: Callable[[Tensor], Tensor]) -> "Tail":
        """Apply a change, such as choosing some spectra, to every sum."""
        return Tail(*(change(getattr(self, each.name)) for each in fields(self)))

    def __add__(self, other: "Tail") -> "Tail":
        """Return the sums over both parts."""
        return Tail(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def scaled(self, factor: Float[Tensor, "*spectra"]) -> "Tail":
        """Return the sums over the values times a positive factor."""
        total = factor * self.total
        return Tail(self.count, total, factor.square() * self.squares, factor * self.logs + factor.log() * total)

    def columns(self) -> list[dict[str, float]]:
        """Return the sums of each spectrum as the columns of a run."""
        sums = torch.stack([getattr(self, each.name) for each in fields(self)], -1)
        return [dict(zip(TAIL_COLUMNS, row, strict=True)) for row in sums.tolist()]


@dataclass(frozen=True)
class Spectra:
    """Singular values of a stack of gradients, descending, padded with zeros; or their leading ones and a tail."""

    values: Float[Tensor, "*spectra n"]
    tail: Tail | None = None
    errors: Float[Tensor, "*spectra 2"] | None = None
    """Standard errors of nuclear norm and effective rank where the tail is estimated."""

    def map(self, change: Callable[[Tensor], Tensor]) -> "Spectra":
        """Apply a change to what is known of every spectrum, such as choosing some of them."""
        errors = None if self.errors is None else change(self.errors)
        return Spectra(change(self.values), self.tail and self.tail.map(change), errors)

    def scaled(self, factor: Float[Tensor, "*spectra"]) -> "Spectra":
        """Return the spectra of the gradients times a positive factor; ranks, and their errors, stay."""
        of_errors = torch.stack([factor, torch.ones_like(factor)], -1)
        return Spectra(
            self.values * factor[..., None],
            self.tail and self.tail.scaled(factor),
            None if self.errors is None else self.errors * of_errors,
        )

    def cut(self, k: int) -> "Spectra":
        """Keep at most k values, and add the rest to the tail."""
        rest = Tail.of(self.values[..., k:])
        return Spectra(self.values[..., :k], rest if self.tail is None else rest + self.tail, self.errors)

    @classmethod
    def cat(cls, parts: "Sequence[Spectra]") -> "Spectra":
        """Join estimated spectra with equally many values."""
        return cls(
            torch.cat([part.values for part in parts]),
            Tail(*(torch.cat([getattr(part.tail, each.name) for part in parts]) for each in fields(Tail))),
            torch.cat([part.errors for part in parts if part.errors is not None]),
        )
