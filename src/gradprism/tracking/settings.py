"""Settings of tracking, which is no part of a recipe: it changes no number."""

from typing import Literal

from gradprism.core.settings import Settings

TrackerName = Literal["wandb", "mlflow", "trackio", "tensorboard"]


class TrackSettings(Settings):
    """Tracker that progress and results also go to."""

    track: TrackerName | None = None
    """Also log progress, and the results with their page, to this tracker (extra `trackers`)."""
    track_project: str = "gradprism"
    """Project (of MLflow: experiment) to log to. All else is as the tracker's own variables say, such as WANDB_MODE or
    MLFLOW_TRACKING_URI."""
