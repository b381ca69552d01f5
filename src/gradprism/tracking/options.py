"""Command-line options of the verbs that can be tracked."""

from typing import Annotated

from gradprism.core.options import of_group
from gradprism.tracking.settings import TrackSettings

DEFAULT_TRACK = TrackSettings()

Track = Annotated[TrackSettings, of_group("Tracking", 10)]
