"""Files of a comparison: comparison.json, and each table as Parquet and CSV."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl

from gradprism.comparison import comparison_tables as tables
from gradprism.comparison.comparison import Comparison, Finding, Group
from gradprism.comparison.paper_table import paper_latex, paper_table, summary
from gradprism.core.errors import GradPrismError
from gradprism.correlation.table_files import with_missing_columns, write_tables
from gradprism.correlation.tables import CORRELATIONS
from gradprism.files.atomic import write_errors, write_whole
from gradprism.files.csv_tables import csv_bytes
from gradprism.files.parquet import read_parquet
from gradprism.files.paths import to_path
from gradprism.files.records import record_bytes
from gradprism.runs.layout import COMPARISON_FILE

FORMAT_VERSION = 1
TABLES: Mapping[str, pl.Schema] = {
    "levels": tables.LEVELS,
    "effects": tables.EFFECTS,
    "mad": tables.MAD,
    "rd": tables.RD,
    "examples": tables.EXAMPLES,
    "decay": tables.DECAY,
    "correlations": CORRELATIONS,
}

_UNFINISHED = ".comparison.unfinished"  # stands in the folder while it is being written


def save_comparison(comparison: Comparison, folder: Path, texts: Mapping[str, str] = MappingProxyType({})) -> None:
    """Write every table and, last, comparison.json: a folder without it is no comparison.

    `texts` are further small files, name -> content. Raises `GradPrismError` where the folder is something else already
    or cannot be written.
    """
    refuse_other_files(folder)
    with write_errors(folder, "the comparison"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _UNFINISHED).touch()
        (folder / COMPARISON_FILE).unlink(missing_ok=True)
        write_tables(folder, {name: getattr(comparison, name) for name in TABLES})
        for name, text in {**_summaries(comparison), **texts}.items():
            write_whole(folder / name, text.encode())
        write_whole(folder / COMPARISON_FILE, record_bytes(_record(comparison)))
        (folder / _UNFINISHED).unlink()


def open_comparison(path: str | Path) -> Comparison:
    """Read a saved comparison. Raises `GradPrismError` where the folder holds none.

    Columns that an earlier version did not write are null.
    """
    folder = to_path(path)
    record = _read_record(folder)
    try:
        frames = {
            name: with_missing_columns(read_parquet(folder / f"{name}.parquet"), schema)
            for name, schema in TABLES.items()
        }
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
    """Return whether a folder holds a comparison."""
    return (to_path(path) / COMPARISON_FILE).is_file()


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
        raise GradPrismError(
            f"{file} has the format version {found!r}; this gradprism reads {FORMAT_VERSION}. "
            "Make the comparison again."
        )
    return record


def _summaries(comparison: Comparison) -> dict[str, str]:
    table = csv_bytes(paper_table(comparison)).decode()
    return {"paper_table.csv": table, "paper_table.tex": paper_latex(comparison), "summary.md": summary(comparison)}


def refuse_other_files(folder: Path) -> None:
    """Raise `GradPrismError` where a comparison cannot be saved since something else is there."""
    if not folder.exists() or is_comparison(folder) or (folder / _UNFINISHED).exists():
        return
    found = sorted(item.name for item in folder.iterdir()) if folder.is_dir() else [folder.name]
    if found:
        raise GradPrismError(
            f"{folder} is not empty and is not a comparison (it holds {', '.join(found[:3])}). Choose another --out."
        )
