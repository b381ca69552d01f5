"""Settings of `gradprism influence`."""

from typing import Any, Literal, Self

from pydantic import Field

from gradprism.core.settings import Settings, checked, grouped
from gradprism.engine.settings import EngineSettings
from gradprism.models.settings import ExecutionSettings
from gradprism.prism.settings import TargetSettings


class InfluenceRecipe(Settings):
    """All settings of `gradprism influence`; model, text and projections are those of the run."""

    verb: Literal["influence"] = "influence"
    run: str
    targets: TargetSettings
    execution: ExecutionSettings = ExecutionSettings()
    engine: EngineSettings = EngineSettings()
    part_rows: int = Field(default=128, ge=1)
    """Number of rows in one published part: the most that a kill can lose."""

    @classmethod
    def from_options(cls, run: str, **options: Any) -> Self:
        """Sort flat options, as a Python caller gives them, into their groups."""
        return checked(cls, {"run": run, "targets": {}, **grouped(cls, options)})
