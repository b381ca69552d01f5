"""The steps of a training: a folder with one run for each step at which it was measured, read along the steps."""

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field

from gradprism.core.errors import GradPrismError
from gradprism.files.paths import list_names, to_path
from gradprism.files.records import RecordModel, read_record_file
from gradprism.prism.measures import MEASURES
from gradprism.runs.layout import FORMAT_VERSION, RUN_FILE
from gradprism.runs.run import Run, open_run

TRAINING_FILE = "training.json"


class TrainingRecord(RecordModel):
    """The model of training.json."""

    training: str
    settings: dict[str, Any] = Field(default_factory=dict)


def step_path(folder: Path, step: int) -> Path:
    """Return the run of a step, such as `DIR/step-000100`."""
    return folder / f"step-{step:06d}"


def measured_steps(folder: Path) -> list[int]:
    """Return the steps of which a folder holds a run, ascending."""
    numbers = (int(match[1]) for name in list_names(folder) if (match := re.fullmatch(r"step-(\d{6,})", name)))
    return sorted(step for step in numbers if (step_path(folder, step) / RUN_FILE).is_file())


def is_training(path: str | Path) -> bool:
    """Return whether a path is a folder of the steps of a training."""
    return (to_path(path) / TRAINING_FILE).is_file()


def read_training(folder: Path) -> dict[str, Any]:
    """Read training.json. Raises `GradPrismError` where it is missing or damaged."""
    try:
        return read_record_file(folder / TRAINING_FILE, TrainingRecord, FORMAT_VERSION)
    except (FileNotFoundError, NotADirectoryError):
        raise GradPrismError(
            f"{folder} holds no steps of a training: there is no {TRAINING_FILE} in it. Expected the `out` of a "
            "SpectraCallback, by default OUTPUT_DIR/spectra of its trainer."
        ) from None


class Steps:
    """The steps of a training, opened for reading: `runs` by step, and their means along the steps."""

    def __init__(self, path: Path):
        """Open the folder. Raises `GradPrismError` where it is not of a training, or holds no step yet."""
        self.path = path
        self.record = read_training(path)
        self.runs: Mapping[int, Run] = {step: open_run(step_path(path, step)) for step in measured_steps(path)}
        if not self.runs:
            raise GradPrismError(f"{path} holds no steps yet. Expected step-000000 and others in it.")

    @cached_property
    def layer_means(self) -> pl.DataFrame:
        """Means of each measure over examples, for every step, projection and layer."""
        return pl.concat(
            run.layer_means.select(pl.lit(step, pl.Int64).alias("step"), pl.all()) for step, run in self.runs.items()
        )

    def table(self) -> pl.DataFrame:
        """Return a row for each step: number of examples, mean loss, and means over examples, projections and layers.

        The means of a measure are those of layers and projections, each counted alike.
        """
        ok = pl.col("status") == "ok"
        losses = pl.DataFrame(
            [
                (step, *run.scan("examples").filter(ok).select(pl.len(), pl.col("loss").mean()).collect().row(0))
                for step, run in self.runs.items()
            ],
            schema={"step": pl.Int64, "n": pl.Int64, "loss": pl.Float64},
            orient="row",
        )
        means = self.layer_means.group_by("step").agg(pl.col(MEASURES).mean())
        return losses.join(means, on="step", how="left").sort("step")

    def __repr__(self) -> str:
        """Name the folder and the steps, and show their means."""
        return f"{self.path}: {len(self.runs)} steps, {min(self.runs):,} to {max(self.runs):,}\n{self.table()}"


def open_steps(path: str | Path) -> Steps:
    """Open the folder that `SpectraCallback` writes: a run for each step at which a training was measured.

    Raises `GradPrismError` where the folder is not one, or holds no step yet.
    """
    return Steps(to_path(path))
