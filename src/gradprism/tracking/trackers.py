"""One face for the experiment trackers that post-training runs are logged to."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradprism.core.errors import GradPrismError, first_line
from gradprism.core.optional import need
from gradprism.tracking.settings import TrackerName, TrackSettings


class Tracker(ABC):
    """A run of a tracker, begun."""

    @abstractmethod
    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers at a step."""

    @abstractmethod
    def summarise(self, values: Mapping[str, float]) -> None:
        """Log numbers of the whole run."""

    @abstractmethod
    def attach(self, file: Path) -> None:
        """Keep a file with the run."""

    @abstractmethod
    def end(self, *, ok: bool) -> None:
        """End the run."""


class Wandb(Tracker):
    """Weights & Biases."""

    def __init__(self, project: str, name: str, config: Mapping[str, Any]):
        """Begin a run."""
        wandb = need("wandb", "trackers")
        self._wandb = wandb
        settings = wandb.Settings(console="off", silent=True)
        self._run = wandb.init(project=project, name=name, config=dict(config), settings=settings, reinit="create_new")

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers at a step."""
        self._run.log(dict(values), step=step)

    def summarise(self, values: Mapping[str, float]) -> None:
        """Set the summary."""
        self._run.summary.update(dict(values))

    def attach(self, file: Path) -> None:
        """Log an artifact of the file."""
        artifact = self._wandb.Artifact(f"{self._run.id}-{file.name}", type="gradprism")
        artifact.add_file(str(file))
        self._run.log_artifact(artifact)

    def end(self, *, ok: bool) -> None:
        """Finish the run."""
        self._run.finish(exit_code=0 if ok else 1)


class Mlflow(Tracker):
    """MLflow, by its client: the process's active run is left alone."""

    def __init__(self, project: str, name: str, config: Mapping[str, Any]):
        """Begin a run."""
        mlflow = need("mlflow", "trackers")
        self._client = mlflow.MlflowClient()
        found = self._client.get_experiment_by_name(project)
        experiment = found.experiment_id if found else self._client.create_experiment(project)
        self._run = self._client.create_run(experiment, run_name=name).info.run_id
        for key, value in config.items():
            self._client.log_param(self._run, key, str(value)[:500])

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers at a step."""
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=step)

    def summarise(self, values: Mapping[str, float]) -> None:
        """Log numbers at the first step."""
        self.log(values, 0)

    def attach(self, file: Path) -> None:
        """Log an artifact."""
        self._client.log_artifact(self._run, str(file))

    def end(self, *, ok: bool) -> None:
        """Terminate the run."""
        self._client.set_terminated(self._run, "FINISHED" if ok else "FAILED")


class Trackio(Tracker):
    """Trackio."""

    def __init__(self, project: str, name: str, config: Mapping[str, Any]):
        """Begin a run."""
        self._trackio = need("trackio", "trackers")
        self._run = self._trackio.init(project, name=name, config=dict(config), embed=False)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers at a step."""
        self._trackio.log(dict(values), step=step)

    def summarise(self, values: Mapping[str, float]) -> None:
        """Log numbers without a step."""
        self._trackio.log(dict(values))

    def attach(self, file: Path) -> None:
        """Log an artifact."""
        self._trackio.log_artifact(str(file), name=file.name, type="gradprism")

    def end(self, *, ok: bool) -> None:
        """Finish the run."""
        self._trackio.finish()


class TensorBoard(Tracker):
    """Event files for TensorBoard, in TENSORBOARD_LOGDIR or runs/tensorboard, a folder for each run."""

    def __init__(self, project: str, name: str, config: Mapping[str, Any]):
        """Begin a folder."""
        need("tensorboard", "trackers")
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(os.environ.get("TENSORBOARD_LOGDIR", "runs/tensorboard")) / project / name
        self._writer = SummaryWriter(str(folder))
        lines = "\n".join(f"    {key}: {value}" for key, value in config.items())
        self._writer.add_text("settings", lines)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Add scalars at a step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def summarise(self, values: Mapping[str, float]) -> None:
        """Add scalars at the first step."""
        self.log(values, 0)

    def attach(self, file: Path) -> None:
        """Add the text of a text file, or the place of another."""
        text = file.read_text("utf-8") if file.suffix in (".md", ".json", ".yaml") else str(file.resolve())
        self._writer.add_text(file.name, text)

    def end(self, *, ok: bool) -> None:
        """Close the file."""
        self._writer.close()


_TRACKERS: Mapping[TrackerName, Any] = {
    "wandb": Wandb, "mlflow": Mlflow, "trackio": Trackio, "tensorboard": TensorBoard,
}  # fmt: skip


def begin(settings: TrackSettings, name: str, config: Mapping[str, Any]) -> Tracker | None:
    """Begin a run of the tracker that the settings name; None for none. Raises `GradPrismError` where it cannot."""
    if settings.track is None:
        return None
    try:
        made: Tracker = _TRACKERS[settings.track](settings.track_project, name, config)
    except GradPrismError:
        raise
    except Exception as error:
        raise GradPrismError(
            f"--track {settings.track} cannot begin: {type(error).__name__}: {first_line(error)}. Log in as it asks "
            "to, set it to work offline, or leave --track out."
        ) from error
    return made
