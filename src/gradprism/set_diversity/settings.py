"""Settings of `gradprism diversity`: the sources of a set, and the random subsets they are compared by."""

from typing import Literal

from pydantic import Field, field_validator

from gradprism.core.settings import Settings

DEFAULT_DUPLICATE = 0.95


class DiversitySettings(Settings):
    """Options for measuring and comparing the diversity of sources."""

    by: str | None = None
    """Split the rows into sources by this column of the data (column:source), or by the quarters of a metric (loss).
    Without it each run is a source."""
    rows: int | None = Field(default=None, ge=2)
    """Compare sources by random subsets of this many rows: by itself as many as the smallest source has, of those of 10
    or more, and at most 300."""
    draws: int = Field(default=20, ge=5, le=1000)
    """Random subsets of each source, and of each union of two."""
    duplicate: float = Field(default=DEFAULT_DUPLICATE, gt=0, le=1)
    """Count two rows as near-duplicates where the cosine of their gradients is at least this."""
    seed: int = 0
    """Seed of random subsets and halves, and of the search for neighbours."""
    incomplete: bool = False
    """Take the rows that an incomplete run has, and note it."""


class DiversityRecipe(Settings):
    """Settings of one `gradprism diversity`: runs by their names, options, and the folder to write."""

    verb: Literal["diversity"] = "diversity"
    runs: dict[str, str]
    diversity: DiversitySettings = DiversitySettings()
    out: str | None = None

    @field_validator("runs")
    @classmethod
    def _some(cls, runs: dict[str, str]) -> dict[str, str]:
        if not runs:
            raise ValueError("no run: expected one or several")
        return runs
