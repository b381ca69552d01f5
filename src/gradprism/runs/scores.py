"""Writing the scores of one metric into a run: parts published by rename, resumed only with the same settings."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import unheard
from gradprism.files.atomic import clear_leftovers, disk_errors, json_bytes, replace
from gradprism.files.lease import check_lease
from gradprism.runs.holding import hold, refuse_differences, refuse_other_data
from gradprism.runs.layout import (
    FORMAT_VERSION,
    RECIPE_FILE,
    RUN_FILE,
    SCORE_FILE,
    published_parts,
    read_record,
    score_table,
)
from gradprism.runs.parts import publish_scores, read_part


@contextmanager
def held_run(path: Path, description: Mapping[str, Any], say: Callable[[str], None] = unheard) -> Iterator[Path]:
    """Hold a run that scores are written into: a new one, or one of the same data. Gives its path.

    `description` is what run.json of a new one says. Raises `GradPrismError` where the folder cannot be written, is
    something else than a run, or holds other data. `say` hears of it where a dead process held it.
    """
    lock = hold(path, say)
    try:
        with disk_errors(path):
            if (path / RUN_FILE).exists():
                refuse_other_data(path, read_record(path)["data"], description["data"])
            else:
                replace(path / RUN_FILE, json_bytes({"format_version": FORMAT_VERSION, **description}))
        yield path
    finally:
        lock.release()


class ScoreWriter:
    """Writes `scores/METRIC` of a run whose lock is held."""

    def __init__(self, run: Path, metric: str, description: Mapping[str, Any], recipe: str):
        """Begin a metric, or go on with it if `description["identity"]` agrees with what began it.

        `recipe` is the text of the settings, saved beside the scores. Raises `GradPrismError` where they differ.
        """
        self.run, self._table = run, score_table(metric)
        self.folder = run / self._table
        with disk_errors(run):
            clear_leftovers(self.folder)
            self.record = self._join(metric, description)
            self._write_record()
            replace(self.folder / RECIPE_FILE, recipe.encode())

    @property
    def done(self) -> frozenset[int]:
        """Indices of the parts already published."""
        return frozenset(published_parts(self.run, self._table))

    def with_failures(self) -> frozenset[int]:
        """Indices of the published parts in which a row has failed."""
        return frozenset(index for index in self.done if (self._read(index)["status"] == "failed").any())

    def kept(self, index: int) -> tuple[pl.DataFrame, frozenset[int]]:
        """Return a published part without the rows that have failed, and the numbers of those it keeps."""
        kept = self._read(index).filter(pl.col("status") != "failed")
        return kept, frozenset(kept["row"])

    def publish(self, index: int, scores: pl.DataFrame) -> None:
        """Write one part, in place of an earlier one."""
        publish_scores(self.run, self.folder.name, index, scores)

    def add_session(self, entry: Mapping[str, Any]) -> None:
        """Append what one session did to score.json."""
        self.update(sessions=[*self.record["sessions"], entry])

    def update(self, **changes: Any) -> None:
        """Change entries of score.json."""
        self.record.update(changes)
        check_lease(self.run)
        with disk_errors(self.run):
            self._write_record()

    def _read(self, index: int) -> pl.DataFrame:
        return read_part(self.run, self._table, index)

    def _join(self, metric: str, description: Mapping[str, Any]) -> dict[str, Any]:
        if not self.done:
            return {"metric": metric, **description}
        record = read_score_record(self.run, metric)
        refuse_differences(self.folder, record["identity"], description["identity"], "--name or --out")
        return record

    def _write_record(self) -> None:
        replace(self.folder / SCORE_FILE, json_bytes(self.record))


def read_score_record(run: Path, metric: str) -> dict[str, Any]:
    """Read score.json of a metric. Raises `GradPrismError` where it cannot be read."""
    path = run / score_table(metric) / SCORE_FILE
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GradPrismError(f"Cannot read {path}: {error}") from error
    return record
