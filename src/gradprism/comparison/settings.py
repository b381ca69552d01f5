"""Settings of `gradprism compare`: how one run is split into groups, and how they are compared."""

from typing import Literal

from pydantic import Field, field_validator

from gradprism.core.settings import Settings


class CompareSettings(Settings):
    """Options for making and comparing groups."""

    by: str | None = None
    """Split one run: by a metric (ifd, reward, effective_rank:q, column:NAME; with --quantile), or by the values of a
    column of the data (column:kind)."""
    quantile: float | None = Field(default=None, gt=0, le=0.5)
    """Compare this share of rows with the highest values of --by with the same share of lowest: groups high and low. A
    quarter (0.25) where --by is a metric."""
    groups: tuple[str, ...] = ()
    """Only these values of --by, in this order: repeat it for each, or commas between them."""
    paired: bool = False
    """Compare the same rows through two models or checkpoints, before=RUN after=RUN: differences row by row. With --by,
    in each group of rows too, and whether one group changed more than another."""
    measures: tuple[str, ...] = ()
    """Compare these measures, or `all` that the runs have: repeat it for each, or commas between them. By itself the
    five that every run stores, and those of installed packages."""
    against: str | None = None
    """Compare each other group with this one, instead of every two; with --paired, the other run with this one."""
    caliper: float = Field(default=0.05, gt=0, le=1)
    """Pair rows where their response tokens differ by at most this share."""
    margin: float = Field(default=1.10, gt=1, le=10)
    """Call two groups equal where the whole interval of their ratio lies within this factor."""
    window: int | None = Field(default=None, ge=1)
    """Measure every row again with this many response tokens and equally many prompt tokens, as a further length
    control: needs data and model. Rows with fewer are left out."""
    resamples: int = Field(default=9999, ge=199)
    """Bootstrap resamples of each group, and permutations of each two."""
    seed: int = 0
    """Seed of resamples, permutations, samples, and of the order of equal values."""
    incomplete: bool = False
    """Compare the rows that an incomplete run has, and note it."""

    @field_validator("groups", "measures", mode="before")
    @classmethod
    def _split(cls, names: object) -> object:
        """Split a text with commas between names, as a command gives it; keep a list."""
        if isinstance(names, str) or (isinstance(names, list | tuple) and len(names) == 1):
            text = names if isinstance(names, str) else str(names[0])
            return tuple(name.strip() for name in text.split(",") if name.strip())
        return tuple(map(str, names)) if isinstance(names, list | tuple) else names


class CompareRecipe(Settings):
    """Settings of one `gradprism compare`: runs by the names of their groups, options, and the folder to write."""

    verb: Literal["compare"] = "compare"
    runs: dict[str, str]
    compare: CompareSettings = CompareSettings()
    out: str | None = None

    @field_validator("runs")
    @classmethod
    def _named(cls, runs: dict[str, str]) -> dict[str, str]:
        for name in runs:
            if not name.strip() or not name.isprintable():
                raise ValueError(f"{name!r} is no name of a group: expected some characters, on one line")
        return runs
