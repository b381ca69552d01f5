"""Settings of `gradprism spectra`."""

from typing import Any, Literal, Self

from pydantic import Field

from gradprism.core.settings import Settings, checked, grouped
from gradprism.data.settings import ReadSettings, TextSettings
from gradprism.engine.settings import EngineSettings
from gradprism.models.settings import CheckpointSettings, ExecutionSettings
from gradprism.prism.settings import PrismSettings, TargetSettings

_LATER = {
    "tokens": False, "null_draws": 0, "null": "permuted", "sketch": 0, "sketch_seed": 0, "loss": "sft", "beta": 0.1,
    "reference": "model", "weights": None,
}  # fmt: skip


class SpectraRecipe(Settings):
    """All settings of `gradprism spectra`."""

    verb: Literal["spectra"] = "spectra"
    data: tuple[str, ...]
    read: ReadSettings = ReadSettings()
    text: TextSettings = TextSettings()
    checkpoint: CheckpointSettings
    prism: PrismSettings = PrismSettings()
    targets: TargetSettings = TargetSettings()
    execution: ExecutionSettings = ExecutionSettings()
    engine: EngineSettings = EngineSettings()
    part_rows: int = Field(default=32, ge=1)
    """Number of rows in one published part: the most that a kill can lose."""
    out: str

    @classmethod
    def from_options(cls, data: tuple[str, ...], out: str, **options: Any) -> Self:
        """Sort flat options, as a Python caller gives them, into their groups."""
        return checked(cls, {"data": data, "out": out, **grouped(cls, options)})

    def identity(self) -> dict[str, Any]:
        """Return the settings that decide the numbers and the parts, which must be equal to resume a run.

        What a run of an earlier version cannot have is among them only where it is asked for.
        """
        groups = {"read": self.read, "text": self.text, "checkpoint": self.checkpoint, "prism": self.prism}
        return {"part_rows": self.part_rows} | {
            f"{group}.{name}": value
            for group, settings in groups.items()
            for name, value in settings
            if name != "max_row_bytes"  # the data's fingerprint has what it decides
            and not (name in _LATER and value == _LATER[name])
        }
