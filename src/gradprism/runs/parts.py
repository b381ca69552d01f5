"""Publish one part of a run, whole or not at all.

On a local disk a part gets its name once its bytes are on the disk. An object store shows an object when its upload is
complete, and never earlier: there a worker on any machine may publish, while one process has locked the run.
"""

from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path

import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.files.atomic import write_errors, write_whole
from gradprism.files.lease import LeasePass, check_lease_held
from gradprism.files.parquet import DamagedFileError, Label, parquet_bytes, read_label, read_parquet
from gradprism.prism.tables import Tables
from gradprism.runs.layout import DAMAGED, OPTIONAL_TABLES, TABLES, influence_on, part_path, score_table


def publish_part(run: Path, digest: str, index: int, tables: Tables, lease: LeasePass | None = None) -> None:
    """Write one part of the spectra, replacing an earlier one. Its `examples` file is written last and completes it.

    `run` is locked by a `RunWriter`, in this process or in another that gave its `lease` to this one; `digest` is that
    of its record. Raises `GradPrismError` where the part cannot be written, or where the lock was lost to another
    process.
    """
    own = {table: frame for table in OPTIONAL_TABLES if (frame := getattr(tables, table)) is not None}
    scores = {score_table(influence_on(target)): frame for target, frame in tables.influence.items()}
    frames = own | scores | {table: getattr(tables, table) for table in TABLES}
    _publish(run, digest, index, frames, lease)


def publish_scores(
    run: Path, metric: str, digest: str, index: int, scores: pl.DataFrame, lease: LeasePass | None = None
) -> None:
    """Write one part of a metric's scores, as `publish_part` does; `metric` is its name in the run."""
    _publish(run, digest, index, {score_table(metric): scores}, lease)


def _publish(run: Path, digest: str, index: int, frames: Mapping[str, pl.DataFrame], lease: LeasePass | None) -> None:
    """Write the files of one part, in their order."""
    check_lease_held(run, lease)
    with write_errors(run):
        for table, frame in frames.items():
            content = parquet_bytes(frame, Label(digest, table, index, tuple(frame["row"].unique().sort())))
            private = "raw_answer" in frame.columns  # of a judge
            write_whole(part_path(run, table, index), content, private=private)


def is_of(part: Path, digest: str) -> bool:
    """Return whether a part names a run by its digest."""
    with suppress(DamagedFileError, OSError):
        label = read_label(part)
        return label is not None and label.run == digest
    return False


def move_aside(run: Path, file: Path) -> None:
    """Move a file of a run into its folder `damaged`; nothing where there is no such file."""
    if file.exists():
        with write_errors(run):
            file.rename(_place_aside(run, file))


def copy_aside(run: Path, file: Path) -> None:
    """Copy a file of a run, if it is there, into its folder `damaged`: it stays until another takes its place."""
    if file.exists():
        with write_errors(run):
            target = _place_aside(run, file)
            write_whole(target, file.read_bytes())


def _place_aside(run: Path, file: Path) -> Path:
    inside = [part for part in str(file).removeprefix(str(run)).split("/") if part]
    target = run / DAMAGED / "/".join(inside)
    for number in count(1):
        if not target.exists():
            break
        target = target.with_name(f"{file.stem}.{number}{file.suffix}")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def read_part(run: Path, table: str, index: int) -> pl.DataFrame:
    """Read one published part of a table. Raises `GradPrismError` where it is damaged."""
    part = part_path(run, table, index)
    try:
        return read_parquet(part)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise GradPrismError(
            f"Cannot read {part}: {error}. `gradprism check {run}` lists what is not whole."
        ) from error
