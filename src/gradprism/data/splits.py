"""Choose the data files of a folder: by split and configuration, as the Hugging Face Hub lays data sets out."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gradprism.core.errors import GradPrismError
from gradprism.data.formats import COMPRESSIONS, SUFFIXES, data_suffix
from gradprism.data.settings import ReadSettings

_KEYWORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "dev", "val"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_SHARD = re.compile(r"(?P<split>.+?)-\d{5}-of-\d{5}")  # train-00000-of-00003.parquet
_METADATA = {
    "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json", "croissant.json"
}  # fmt: skip


@dataclass(frozen=True)
class SplitFile:
    """A data file, and the split in its name or its folder's, if there is one."""

    path: Path
    split: str | None

    def is_of(self, split: str) -> bool:
        """Return whether the file is of a split: by that name, another for the same, or its own name."""
        return split in (self.split, _stem(self.path)) or (
            self.split is not None and _split_keyword(split) == self.split
        )


def data_files(folder: Path, settings: ReadSettings) -> list[Path]:
    """Return the data files in a folder, in the order of their names; metadata is passed over.

    Files stand in the folder, in its `data`, and in folders called like a split. Raises `GradPrismError` where there
    are none, where `--split` or `--config` names what is not there, and where files are of several splits of which none
    is chosen: rows of a test split are never taken for training data in silence.
    """
    files = [] if settings.config else [*_split_files(folder)]
    if not files:
        files = _files_of_config(folder, settings.config)
    if not files:
        raise GradPrismError(
            f"The folder {folder} is neither a saved `datasets` folder nor does it hold data files "
            f"({', '.join(SUFFIXES)})."
        )
    return [file.path for file in _files_of_split(files, folder, settings.split)]


def _files_of_config(folder: Path, config: str | None) -> list[SplitFile]:
    """Return the files of the folder of a configuration, of the only one where none is named."""
    found = {item.name: files for item in _config_folders(folder) if (files := [*_split_files(item)])}
    if config is not None and config not in found:
        raise GradPrismError(f"--config {config}: {folder} has {_quoted_names(found, 'configurations')}.")
    if config is None and len(found) > 1:
        raise GradPrismError(f"{folder} has {_quoted_names(found, 'configurations')}; choose one with --config.")
    return found[config] if config else [file for files in found.values() for file in files]


def refuse_other_split(file: Path, settings: ReadSettings) -> None:
    """Raise `GradPrismError` where `--split` or `--config` names something else than this one file."""
    here = SplitFile(file, _split_in_name(file, file.parent.name))
    if settings.split is not None and not here.is_of(settings.split):
        named = f"is of the split {here.split!r}" if here.split else "has no split in its name"
        raise GradPrismError(f"--split {settings.split}: the file {file} {named}. Leave --split out to read it.")
    if settings.config is not None and settings.config not in (_stem(file), file.parent.name):
        raise GradPrismError(f"--config {settings.config}: the file {file} has no configurations. Leave --config out.")


def _files_of_split(files: list[SplitFile], folder: Path, split: str | None) -> list[SplitFile]:
    splits = dict.fromkeys(file.split or _stem(file.path) for file in files)
    if split is not None:
        if chosen := [file for file in files if file.is_of(split)]:
            return chosen
        raise GradPrismError(f"--split {split}: {folder} has {_quoted_names(splits, 'splits')}.")
    known = {file.split for file in files}
    if len(known) > 1 and known != {None, "train"}:
        raise GradPrismError(
            f"{folder} has {_quoted_names(splits, 'splits')}; choose one with --split, or name the files to be read."
        )
    return files


def _quoted_names(names: Iterable[str], what: str) -> str:
    return f"the {what} {', '.join(map(repr, names))}" if names else f"no {what}"


def _split_files(folder: Path, split: str | None = None) -> Iterator[SplitFile]:
    """Yield the data files in a folder, in those of its splits, and in `data`."""
    items = sorted(folder.iterdir())
    for path in items:
        if data_suffix(path) in SUFFIXES and not _is_metadata(path.name):
            yield SplitFile(path, split or _split_in_name(path))
    for path in items:
        named = _split_keyword(path.name)
        if not data_suffix(path) and (path.name == "data" or named) and path.is_dir():
            yield from _split_files(path, split or named)


def _config_folders(folder: Path) -> list[Path]:
    others = [item for item in sorted(folder.iterdir()) if not item.name.startswith((".", "__"))]
    named = [item for item in others if item.name != "data" and not _split_keyword(item.name)]
    return [item for item in named if data_suffix(item) not in (*SUFFIXES, ".md") and item.is_dir()]


def _is_metadata(name: str) -> bool:
    return name.startswith(".") or name in _METADATA or name.endswith("_infos.json")


def _stem(path: Path) -> str:
    """Return `rows` of `rows.jsonl.gz`."""
    name = path.name[: -len(path.suffix)] if path.suffix.lower() in COMPRESSIONS else path.name
    return name.rpartition(".")[0]


def _split_in_name(path: Path, folder: str = "") -> str | None:
    """Return the split that a file's name says, as the hub reads it, else the one that its folder is called."""
    if shard := _SHARD.fullmatch(_stem(path)):
        return _KEYWORDS.get(shard["split"].lower(), shard["split"])
    words = re.split(r"[-._ \d]+", _stem(path).lower())
    return next((_KEYWORDS[word] for word in words if word in _KEYWORDS), None) or _split_keyword(folder)


def _split_keyword(name: str) -> str | None:
    return _KEYWORDS.get(name.lower())
