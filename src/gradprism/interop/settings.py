"""The settings of `gradprism import`: the files, and the model that made them as far as it is known."""

from typing import Any, Literal, Self

from pydantic import Field

from gradprism.core.errors import GradPrismError
from gradprism.core.settings import Settings, checked, grouped
from gradprism.data.settings import ReadSettings, TextSettings
from gradprism.models.settings import CheckpointSettings


class OriginSettings(Settings):
    """The model that made the gradients of a file, which the file itself does not name."""

    model: str | None = None
    """The model that made the file: hub id, folder, .gguf file, or a built-in name. Its tokenizer gives the token
    counts, its configuration the shapes; no weights are loaded. Without it both are unknown."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    trust_remote_code: bool = False
    """Run code that the checkpoint brings. Only for sources you trust."""
    made_by: str | None = None
    """What to call the model where --model is not given: runs of one name are taken to be of one model."""
    made_in: str | None = None
    """Type of its weights (float32, bfloat16, ...), where you know it. It is recorded, and changes no number."""


class ImportRecipe(Settings):
    """All settings of `gradprism import`."""

    verb: Literal["import"] = "import"
    data: tuple[str, ...] = Field(min_length=1)
    read: ReadSettings = ReadSettings()
    origin: OriginSettings = OriginSettings()
    text: TextSettings = TextSettings()
    part_rows: int = Field(default=32, ge=1)
    """Number of rows in one published part: the most that a kill can lose."""
    out: str

    @property
    def checkpoint(self) -> CheckpointSettings | None:
        """The model that made the file, where it is named."""
        if self.origin.model is None:
            return None
        known = {name: getattr(self.origin, name) for name in ("model", "revision", "trust_remote_code")}
        return CheckpointSettings(**known)

    @classmethod
    def from_options(cls, data: tuple[str, ...], out: str, **options: Any) -> Self:
        """Sort flat options, as a Python caller gives them, into their groups."""
        return checked(cls, {"data": data, "out": out, **grouped(cls, options)})

    def refuse_contradictions(self) -> None:
        """Raise `GradPrismError` for options that would have no effect, or contradict each other."""
        if self.origin.model is not None:
            if self.origin.made_by:
                raise GradPrismError(
                    f"Given --model {self.origin.model} and --made-by {self.origin.made_by}. Expected one of the two: "
                    "--made-by is for a model that you do not have at hand."
                )
            return
        of_model = {"revision", "trust_remote_code"}
        idle = [name for name, value in self.origin if name in of_model and value]
        idle += [name for name, value in self.text if value != TextSettings.model_fields[name].default]
        if idle:
            given = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
            raise GradPrismError(f"Given {given} without --model, whose tokenizer they apply to. Expected --model too.")

    def identity(self) -> dict[str, Any]:
        """Return the settings that a resumed run must share: those that decide the numbers and the cut into parts."""
        groups: dict[str, Settings] = {"read": self.read, "origin": self.origin}
        if self.origin.model:
            groups["text"] = self.text
        return {"part_rows": self.part_rows} | {
            f"{group}.{name}": value
            for group, settings in groups.items()
            for name, value in settings
            if name != "max_row_bytes"  # the data's fingerprint has what it decides
        }
