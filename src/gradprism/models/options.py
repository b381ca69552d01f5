"""Options of commands that load a model."""

from typing import Annotated

from gradprism.core.options import of_group
from gradprism.models.settings import CheckpointSettings, ExecutionSettings

DEFAULT_EXECUTION = ExecutionSettings()

Checkpoint = Annotated[CheckpointSettings, of_group("Model", 3)]
Model = Annotated[CheckpointSettings | None, of_group("Model", 3)]
Execution = Annotated[ExecutionSettings, of_group("How it runs", 8)]
