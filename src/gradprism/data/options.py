"""Options of commands that read data."""

from typing import Annotated

from gradprism.core.options import of_group
from gradprism.data.settings import ReadSettings, TextSettings

DEFAULT_READ, DEFAULT_TEXT = ReadSettings(), TextSettings()

Read = Annotated[ReadSettings, of_group("Which rows", 5)]
Text = Annotated[TextSettings, of_group("Text to tokens", 4)]
