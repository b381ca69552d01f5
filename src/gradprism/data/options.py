"""Options of commands that read data."""

from typing import Annotated

from cyclopts import Parameter

from gradprism.data.settings import ReadSettings, TextSettings

DEFAULT_READ, DEFAULT_TEXT = ReadSettings(), TextSettings()

Read = Annotated[ReadSettings, Parameter(name="*", group="Which rows")]
Text = Annotated[TextSettings, Parameter(name="*", group="Text to tokens")]
