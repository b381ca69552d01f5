"""Options of commands that load a model."""

from typing import Annotated

from cyclopts import Parameter

from gradprism.models.settings import CheckpointSettings, ExecutionSettings

DEFAULT_EXECUTION = ExecutionSettings()

Checkpoint = Annotated[CheckpointSettings, Parameter(name="*", group="Model")]
Model = Annotated[CheckpointSettings | None, Parameter(name="*", group="Model")]
Execution = Annotated[ExecutionSettings, Parameter(name="*", group="How it runs")]
