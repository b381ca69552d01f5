"""The settings of `gradprism compare`: how one run is split into groups, and how they are compared."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator

from gradprism.recipe import Settings, checked, grouped


class CompareSettings(Settings):
    """How groups are made and compared."""

    by: str | None = None
    """Split one run: by a metric (ifd, reward, effective_rank:q, column:NAME; with --quantile), or by the values of a
    column of the data (column:kind)."""
    quantile: float | None = Field(default=None, gt=0, le=0.5)
    """Compare the rows of the highest values of --by, such a share of all, with those of the lowest: groups high and
    low. A quarter (0.25) where --by is a metric."""
    groups: str | None = None
    """Only these values of --by, in this order, with commas between them."""
    against: str | None = None
    """Compare each other group with this one, instead of every two."""
    caliper: float = Field(default=0.05, gt=0, le=1)
    """Rows pair in length where their response tokens differ by at most this share."""
    resamples: int = Field(default=9999, ge=199)
    """Bootstrap resamples of each group, and permutations of each two."""
    seed: int = 0
    """Seed of resamples, permutations, samples, and of the order of equal values."""
    incomplete: bool = False
    """Compare what there is of a run that is not complete yet, and say so."""

    @field_validator("groups", mode="before")
    @classmethod
    def _one_or_several(cls, groups: object) -> object:
        return ",".join(map(str, groups)) if isinstance(groups, list | tuple) else groups

    @property
    def wanted(self) -> tuple[str, ...]:
        """The values of --groups."""
        return tuple(name.strip() for name in (self.groups or "").split(",") if name.strip())


class CompareRecipe(Settings):
    """Everything that `gradprism compare` was told. A run is a path, or NAME=PATH."""

    verb: Literal["compare"] = "compare"
    runs: tuple[str, ...]
    compare: CompareSettings = CompareSettings()
    out: str | None = None

    @classmethod
    def from_options(cls, runs: tuple[str, ...], out: str | Path | None, **options: Any) -> Self:
        """Sort flat options, as a Python caller gives them, into their groups."""
        path = None if out is None else str(out)
        return checked(cls, {"runs": runs, "out": path, **grouped(cls, options)})
