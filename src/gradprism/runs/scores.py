"""Write the scores of one metric into a run, and resume them with the same settings only."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import say_nothing
from gradprism.files.atomic import prepare_folder, write_errors, write_whole
from gradprism.files.paths import is_remote
from gradprism.files.records import record_bytes
from gradprism.runs.layout import (
    FORMAT_VERSION,
    RECIPE_FILE,
    RUN_FILE,
    SCORE_FILE,
    read_record,
    score_table,
)
from gradprism.runs.lock import lock_run
from gradprism.runs.part_writer import PartWriter
from gradprism.runs.parts import publish_scores
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

    def __init__(self, run: Path, metric: str, description: Mapping[str, Any], recipe: str):
        """Begin the scores of a metric, or resume them if `description["identity"]` equals the recorded one.

        `recipe` is the text of the settings, saved beside the scores. Raises `GradPrismError` where identities differ.
        """
        self.run, self.table = run, score_table(metric)
        self.folder = run / self.table
        self.record_file = self.folder / SCORE_FILE
        with write_errors(run):
            prepare_folder(self.folder)
            self.record = self._join(metric, description)
            self._write_record()
            write_whole(self.folder / RECIPE_FILE, recipe.encode())

    def publish(self, index: int, part: pl.DataFrame) -> None:
        """Write one part, replacing an earlier one."""
        publish_scores(self.run, self.folder.name, index, part)

    @property
    def publish_elsewhere(self) -> Callable[[int, pl.DataFrame], None] | None:
        """A function that writes one part from another process; None unless the run is in an object store."""
        return partial(publish_scores, self.run, self.folder.name) if is_remote(self.run) else None

    def kept(self, index: int) -> tuple[pl.DataFrame, frozenset[int]]:
        """Return a published part without its failed rows, and the row numbers that remain."""
        kept = self._statuses(index).filter(pl.col("status") != "failed")
        return kept, frozenset(kept["row"])

    def _join(self, metric: str, description: Mapping[str, Any]) -> dict[str, Any]:
        if not self.done:
            return {"metric": metric, **description}
        record = read_score_record(self.run, metric)
        refuse_differences(self.folder, record["identity"], description["identity"], "--name or --out")
        return record


def read_score_record(run: Path, metric: str) -> dict[str, Any]:
    """Read score.json of a metric. Raises `GradPrismError` where it cannot be read."""
    path = run / score_table(metric) / SCORE_FILE
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GradPrismError(f"Cannot read {path}: {error}") from error
    return record
