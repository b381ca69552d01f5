"""A comparison as files: comparison.json, and each table as Parquet (to compute with) and CSV (to look at)."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from gradprism.analysis import comparison_tables as tables
from gradprism.analysis.comparison import Comparison, Finding, Group
from gradprism.errors import GradPrismError
from gradprism.store.disk import disk_errors, json_bytes, parquet_bytes, replace

FORMAT_VERSION = 1
COMPARISON_FILE = "comparison.json"
TABLES: Mapping[str, pl.Schema] = {
    "levels": tables.LEVELS,
    "effects": tables.EFFECTS,
    "mad": tables.MAD,
    "rd": tables.RD,
    "examples": tables.EXAMPLES,
    "decay": tables.DECAY,
    "correlations": tables.CORRELATIONS,
}


def save_comparison(comparison: Comparison, folder: Path) -> None:
    """Write every table and, last, comparison.json: a folder without it is no comparison.

    Raises `GradPrismError` where the folder is something else already or cannot be written.
    """
    _refuse_foreign(folder)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / COMPARISON_FILE).unlink(missing_ok=True)
        for name in TABLES:
            frame: pl.DataFrame = getattr(comparison, name)
            replace(folder / f"{name}.parquet", parquet_bytes(frame))
            replace(folder / f"{name}.csv", flat(frame).write_csv().encode())
        replace(folder / COMPARISON_FILE, json_bytes(_record(comparison)))


def open_comparison(path: str | Path) -> Comparison:
    """Read a comparison that was saved. Raises `GradPrismError` where the folder is none."""
    folder = Path(path).expanduser()
    record = _read_record(folder)
    try:
        frames = {name: pl.read_parquet(folder / f"{name}.parquet") for name in TABLES}
    except (OSError, pl.exceptions.PolarsError) as error:
        raise GradPrismError(f"The comparison {folder} is damaged: {error}. Make it again.") from error
    return Comparison(
        tuple(Group(**group) for group in record["groups"]),
        tuple((first, second) for first, second in record["contrasts"]),
        tuple(Finding(**finding) for finding in record["findings"]),
        tuple(record["notes"]),
        record["about"],
        **frames,
    )


def is_comparison(path: str | Path) -> bool:
    """Whether a folder holds a comparison."""
    return (Path(path).expanduser() / COMPARISON_FILE).is_file()


def flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Lists as text, for CSV."""
    lists = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List)]
    return frame.with_columns(pl.col(name).cast(pl.List(pl.String)).list.join(" ") for name in lists)


def _record(comparison: Comparison) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "groups": [asdict(group) for group in comparison.groups],
        "contrasts": comparison.contrasts,
        "findings": [asdict(finding) for finding in comparison.findings],
        "notes": comparison.notes,
        "about": comparison.about,
    }


def _read_record(folder: Path) -> dict[str, Any]:
    file = folder / COMPARISON_FILE
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GradPrismError(f"{folder} is not a comparison: it holds no {COMPARISON_FILE}.") from None
    except (OSError, ValueError) as error:
        raise GradPrismError(f"Cannot read {file}: {error}") from error
    if not isinstance(record, dict) or record.get("format_version") != FORMAT_VERSION:
        found = record.get("format_version") if isinstance(record, dict) else None
        raise GradPrismError(f"{file} has the format version {found!r}; this gradprism reads {FORMAT_VERSION}.")
    return record


def _refuse_foreign(folder: Path) -> None:
    if folder.exists() and not is_comparison(folder):
        others = (
            [item.name for item in folder.iterdir() if not item.name.startswith(".")] if folder.is_dir() else ["a file"]
        )
        ours = {f"{name}.{suffix}" for name in TABLES for suffix in ("parquet", "csv")}  # of a save that was cut off
        if set(others) - ours:
            raise GradPrismError(
                f"{folder} is not empty and is not a comparison (it holds {', '.join(sorted(others)[:3])}). "
                "Choose another --out."
            )
