"""Command-line options of the verbs that run on an engine."""

from typing import Annotated

from cyclopts import Parameter

from gradprism.engine.settings import EngineSettings

DEFAULT_ENGINE = EngineSettings()

Engine = Annotated[EngineSettings, Parameter(name="*", group="Where it runs")]
