"""Command-line options of the verbs that run on an engine."""

from typing import Annotated

from gradprism.core.options import of_group
from gradprism.engine.settings import EngineSettings

DEFAULT_ENGINE = EngineSettings()

Engine = Annotated[EngineSettings, of_group("Where it runs", 9)]
