"""Write the scores of one metric into a run, and resume them with the same settings only."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import say_nothing
from gradprism.files.atomic import prepare_folder, write_errors, write_whole
from gradprism.files.records import read_record_file, record_bytes
from gradprism.runs.checks import faults_of_scores
from gradprism.runs.layout import (
    FORMAT_VERSION,
    RECIPE_FILE,
    RUN_FILE,
    SCORE_FILE,
    read_record,
    score_table,
    scored_metrics,
)
from gradprism.runs.lock import lock_run
from gradprism.runs.part_writer import PartWriter
from gradprism.runs.parts import publish_scores
from gradprism.runs.record_models import ScoreRecord, made_of
from gradprism.runs.resume_checks import refuse_differences, refuse_other_data


@contextmanager
def locked_run(path: Path, description: Mapping[str, Any], say: Callable[[str], None] = say_nothing) -> Iterator[Path]:
    """Lock a run to write scores into, a new one or one of the same data, and yield its path.

    `description` is the content of run.json for a new run. Raises `GradPrismError` where the folder cannot be written,
    holds something other than a run, or a run of other data. `say` reports when the lock of a dead process is taken
    over.
    """
    lock = lock_run(path, say)
    try:
        with write_errors(path):
            if (path / RUN_FILE).exists():
                refuse_other_data(path, read_record(path)["data"], description["data"])
            else:
                write_whole(path / RUN_FILE, record_bytes({"format_version": FORMAT_VERSION, **description}))
        yield path
    finally:
        lock.release()


class ScoreWriter(PartWriter[pl.DataFrame]):
    """Writes `scores/METRIC` of a run that this process has locked."""

    def __init__(
        self,
        run: Path,
        metric: str,
        description: Mapping[str, Any],
        recipe: str,
        say: Callable[[str], None] = say_nothing,
    ):
        """Begin the scores of a metric, or resume them if `description["identity"]` equals the recorded one.

        `recipe` is the text of the settings, saved beside the scores; `say` reports parts that are made again. Raises
        `GradPrismError` where identities differ.
        """
        self.run, self.table = run, score_table(metric)
        self.tables = (self.table,)
        self.folder = run / self.table
        self.record_file = self.folder / SCORE_FILE
        with write_errors(run):
            prepare_folder(self.folder)
            data = self.data = read_record(run)["data"]
            self.record = self._join(metric, {**description, "digest": made_of(description["identity"], data)}, say)
            self.digest = self.record.get("digest") or made_of(self.record["identity"], data)
            if self.done:
                self.set_aside(faults_of_scores(run, self.folder.name, self.record, data), say)
            self._write_record()
            write_whole(self.folder / RECIPE_FILE, recipe.encode())

    @property
    def _publishing(self) -> Callable[..., None]:
        return partial(publish_scores, self.run, self.folder.name, self.digest)

    def _part_of(self, frames: dict[str, pl.DataFrame]) -> pl.DataFrame:
        return frames[self.table]

    def _join(self, metric: str, description: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
        new = {"metric": metric, **description}
        if not self.done:
            return new
        record = self._recorded(partial(read_score_record, self.run, metric), new, say)
        refuse_differences(self.folder, record["identity"], description["identity"], "--name or --out")
        return record


def reopen_scores(run: Path) -> None:
    """Record that no scores are complete any more, as the run is about to have more rows."""
    for name in scored_metrics(run):
        with suppress(GradPrismError):
            record = read_score_record(run, name) | {"complete": False}
            write_whole(run / score_table(name) / SCORE_FILE, record_bytes(record))


def score_identities(run: Path) -> dict[str, Mapping[str, Any]]:
    """Return the identity of each metric's scores; without those whose record cannot be read."""
    found = dict[str, Mapping[str, Any]]()
    for name in scored_metrics(run):
        with suppress(GradPrismError):
            found[name] = read_score_record(run, name)["identity"]
    return found


def read_score_record(run: Path, metric: str) -> dict[str, Any]:
    """Read score.json of a metric. Raises `GradPrismError` where it cannot be read."""
    path = run / score_table(metric) / SCORE_FILE
    try:
        return read_record_file(path, ScoreRecord)
    except FileNotFoundError:
        raise GradPrismError(
            f"{path} is missing, without which the scores beside it cannot be read. Restore it from a copy, or move "
            f"{path.parent} away and score again."
        ) from None
