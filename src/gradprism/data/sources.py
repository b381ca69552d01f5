"""Find the sources of data: files, folders of them, saved and hub data sets, Python objects."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradprism.core.errors import GradPrismError
from gradprism.data.formats import SUFFIXES, data_suffix, file_format, read_file
from gradprism.data.record import Record
from gradprism.data.row_size import too_large
from gradprism.data.settings import ReadSettings
from gradprism.data.splits import data_files, refuse_other_split
from gradprism.files.paths import is_remote, names_path, to_path
from gradprism.files.storage_errors import without_secrets

_BATCH = 64  # rows of a data set looked at together


@dataclass(frozen=True)
class Source:
    """One file, folder, hub data set or Python collection; each call of `records` reads it from the start."""

    name: str
    format: str
    records: Callable[[], Iterator[Record]]


def sources_of(data: Any, settings: ReadSettings) -> tuple[Source, ...]:
    """Return the sources of a path, URL or hub id, of several of them, or of Python objects.

    Raises `GradPrismError` for what is not there, cannot be read, or has splits of which none is chosen.
    """
    if names_path(data):
        data = (data,)
    if isinstance(data, Sequence) and data and all(map(names_path, data)):
        return tuple(source for name in data for source in _sources_of_name(str(name), settings))
    return (_source_of_objects(data),)


def _source_of_objects(data: Any) -> Source:
    """Return the source of a list of dicts, a `datasets.Dataset`, or a polars or pandas frame."""
    if hasattr(data, "iter_rows"):
        rows: Iterable[Any] = data.to_dicts()
    elif hasattr(data, "to_dict") and hasattr(data, "columns"):
        rows = data.to_dict(orient="records")
    else:
        rows = data
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable) or iter(rows) is rows:
        raise GradPrismError(
            f"Cannot read rows from a {type(data).__name__}: expected a path, a hub id, a list of dicts, "
            "a datasets.Dataset or a data frame (not an iterator: the rows are read more than once)."
        )
    return Source("Python objects", type(data).__name__, lambda: (_record_of_object(row) for row in rows))


def _record_of_object(row: object) -> Record:
    if isinstance(row, Mapping):
        return Record(row)
    return Record(None, f"a {type(row).__name__}, expected a dict with named columns")


def _sources_of_name(name: str, settings: ReadSettings) -> Iterator[Source]:
    path = to_path(name)
    if path.is_dir():
        yield from _sources_of_folder(path, settings)
    elif path.exists() or data_suffix(path) in SUFFIXES or is_remote(path) or name.startswith((".", "/", "~")):
        if not path.exists():
            raise GradPrismError(f"No such file: {name}")
        refuse_other_split(path, settings)
        most = settings.max_row_bytes
        yield Source(name, file_format(path, most), lambda: read_file(path, most))
    else:
        yield _source_of_hub(name, settings)


def _sources_of_folder(path: Path, settings: ReadSettings) -> Iterator[Source]:
    if (path / "state.json").exists() or (path / "dataset_dict.json").exists():
        yield _source_of_saved(path, settings)
        return
    most = settings.max_row_bytes
    for file in data_files(path, settings):
        yield Source(str(file), file_format(file, most), lambda file=file: read_file(file, most))  # type: ignore[misc]


def _source_of_saved(path: Path, settings: ReadSettings) -> Source:
    import datasets

    try:
        saved = datasets.load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise GradPrismError(f"Cannot read the saved data set {path}: {error}") from error
    if settings.config:
        raise GradPrismError(f"--config {settings.config}: the saved data set {path} has no configurations.")
    if settings.split and not isinstance(saved, Mapping):
        raise GradPrismError(f"--split {settings.split}: the saved data set {path} has no splits.")
    loaded = _choose_split(saved, str(path), settings.split)
    return Source(str(path), "saved datasets folder", lambda: _records_of_dataset(loaded, settings.max_row_bytes))


def _source_of_hub(name: str, settings: ReadSettings) -> Source:
    import datasets

    streams = settings.limit is not None and settings.sample is None  # the first rows alone are wanted
    repo, _, revision = name.partition("@")
    try:
        loaded = datasets.load_dataset(
            repo, settings.config, split=settings.split, streaming=streams, revision=revision or None
        )
    except Exception as error:  # the hub client raises many types; all mean that the data is not to be had
        raise GradPrismError(
            f"{name!r} is no file or folder here, and the hub did not give it: {type(error).__name__}: "
            f"{without_secrets(str(error))}\n"
            "Expected a data file, a saved `datasets` folder, or a hub id such as owner/name or owner/name@revision "
            "(with --config and --split where it has several)."
        ) from error
    split = _choose_split(loaded, name, settings.split)
    records = _records_of_stream if streams else _records_of_dataset
    return Source(name, "hub data set", lambda: records(split, settings.max_row_bytes))


def _records_of_stream(rows: Any, most: int) -> Iterator[Record]:
    """Yield the rows of a `datasets.IterableDataset`, of which no more is fetched than is read."""
    for number, batch in enumerate(rows.with_format("arrow").iter(1)):
        yield Record(None, f"row {number}: {too_large(most)}") if batch.nbytes > most else Record(batch.to_pylist()[0])


def _records_of_dataset(rows: Any, most: int) -> Iterator[Record]:
    """Yield the rows of a `datasets.Dataset`; those that are too large are not decoded."""
    stored = rows.with_format("arrow")
    for first in range(0, len(rows), _BATCH):
        batch = stored[first : first + _BATCH]
        for index in range(batch.num_rows):
            if batch.nbytes > most and batch.slice(index, 1).nbytes > most:
                yield Record(None, f"row {first + index}: {too_large(most)}")
            else:
                yield Record(rows[first + index])


def _choose_split(loaded: Any, name: str, split: str | None) -> Any:
    if not isinstance(loaded, Mapping):
        return loaded
    if split is None and len(loaded) == 1:
        return next(iter(loaded.values()))
    if split not in loaded:
        raise GradPrismError(f"{name} has the splits {', '.join(map(repr, loaded))}; choose one with --split.")
    return loaded[split]
