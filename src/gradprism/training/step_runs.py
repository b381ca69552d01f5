"""The folder of a training's steps: begun, or joined where a training is resumed, and written step by step."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import Say
from gradprism.engine.session import session
from gradprism.files.atomic import write_errors, write_whole
from gradprism.files.folder import FolderKind, refuse_other_files
from gradprism.files.paths import is_remote
from gradprism.files.records import record_bytes
from gradprism.models.sources import TrainingStep
from gradprism.prism.measures import MEASURES
from gradprism.prism.tables import Tables
from gradprism.runs.layout import FORMAT_VERSION
from gradprism.runs.record import machine_record
from gradprism.runs.resume_checks import differences
from gradprism.runs.run import Run, open_run
from gradprism.runs.steps import TRAINING_FILE, is_training, measured_steps, read_training, step_path
from gradprism.runs.writer import RunWriter

_REPLACED = "replaced"  # folder for runs of steps that a resumed training takes again
_KIND = FolderKind("folder of steps", (TRAINING_FILE,))


@dataclass(frozen=True)
class StepFolder:
    """The folder of one training's steps."""

    path: Path
    training: str

    def moment(self, step: int) -> TrainingStep:
        """Return the moment of this training after so many updates."""
        return TrainingStep(self.training, step)

    def run_path(self, step: int) -> Path:
        """Return the folder of a step's run."""
        return step_path(self.path, step)

    def holds(self, step: int) -> bool:
        """Return whether a step is measured, every row of it."""
        return step in measured_steps(self.path) and open_run(self.run_path(step)).is_complete

    def write(self, step: int, description: Mapping[str, Any], tables: Tables) -> Run:
        """Write the tables of a step as a whole run, and return it."""
        path = self.run_path(step)
        with RunWriter(path, {**description, "verb": "training", **machine_record(), "sessions": []}) as writer:
            with session(writer.add_session) as account:
                writer.publish(0, tables)
                account.examples = tables.examples.height
            writer.update(complete=True, counts=asdict(open_run(path).counts))
        return open_run(path)


def step_folder(path: Path, step: int, settings: Mapping[str, Any], say: Say) -> StepFolder:
    """Begin the folder of a training, or join it where a training is resumed at a step.

    Runs of later steps, which the training takes again, are moved into `replaced/`. Raises `GradPrismError` where the
    folder holds other files, steps that a training which begins anew did not make, or steps of other settings.
    """
    refuse_other_files(path, _KIND)
    there = measured_steps(path)
    if not is_training(path) or not there:
        return _begun(path, settings)
    if step == 0:
        raise GradPrismError(
            f"{path} holds {len(there)} steps of another training (to step {there[-1]:,}), and this one begins at "
            "step 0. Resume that training (trainer.train(resume_from_checkpoint=True)), or choose another out=."
        )
    record = read_training(path)
    if lines := differences(record["settings"], settings):
        raise GradPrismError(
            f"The steps in {path} were measured with other settings or rows:\n{lines}\n"
            "Expected those that the training was begun with, or another out=."
        )
    later = [each for each in there if each > step]
    if later:
        _set_aside(path, later)
        say(f"Training goes on from step {step:,}: {len(later)} later steps were moved into {path / _REPLACED}")
    return StepFolder(path, record["training"])


def _begun(path: Path, settings: Mapping[str, Any]) -> StepFolder:
    training = secrets.token_hex(8)  # of the system's randomness: the seeds of a training are its own
    record = {"format_version": FORMAT_VERSION, "training": training, "settings": dict(settings)}
    with write_errors(path, "the folder of steps"):
        if not is_remote(path):
            path.mkdir(parents=True, exist_ok=True)
        write_whole(path / TRAINING_FILE, record_bytes(record))
    return StepFolder(path, training)


def _set_aside(path: Path, steps: list[int]) -> None:
    """Move the runs of steps into `replaced/`. Raises `GradPrismError` in an object store, where nothing is moved."""
    if is_remote(path):
        raise GradPrismError(
            f"{path} holds steps after the one that training is resumed at: {', '.join(f'{each:,}' for each in steps)}."
            " Expected them to be removed from the store first, or another out=."
        )
    with write_errors(path, "the folder of steps"):
        (path / _REPLACED).mkdir(exist_ok=True)
        for step in steps:
            run = step_path(path, step)
            names = (f"{run.name}.{number}" if number else run.name for number in count())
            run.rename(next(place for name in names if not (place := path / _REPLACED / name).exists()))


def summary_of(run: Run) -> dict[str, float]:
    """Return what is logged of a step: the mean loss, and the means of measures over rows, layers and projections.

    Nuclear norm and effective rank are also given by projection. What has no value is left out.
    """
    ok = run.examples.filter(status="ok")
    means = run.layer_means
    found: dict[str, Any] = {"loss": ok["loss"].mean(), "rows": float(ok.height)}
    found |= {measure: means[measure].mean() for measure in MEASURES}
    for measure in ("nuclear_norm", "effective_rank"):
        by_projection = means.group_by("projection", maintain_order=True).mean()
        found |= {f"{measure}/{row['projection']}": row[measure] for row in by_projection.iter_rows(named=True)}
    return {name: float(value) for name, value in found.items() if value is not None}
