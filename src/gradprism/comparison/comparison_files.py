"""A comparison as files: comparison.json, and each table as Parquet (to compute with) and CSV (to look at)."""

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
from gradprism.correlation.tables import CORRELATIONS
from gradprism.files.atomic import disk_errors, json_bytes, parquet_bytes, replace
from gradprism.files.places import place
from gradprism.files.reading import read_parquet
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

    `texts` are small files to stand beside them. Raises `GradPrismError` where the folder is something else already or
    cannot be written.
    """
    check_folder(folder)
    with disk_errors(folder, "the comparison"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _UNFINISHED).touch()
        (folder / COMPARISON_FILE).unlink(missing_ok=True)
        for name in TABLES:
            frame: pl.DataFrame = getattr(comparison, name)
            replace(folder / f"{name}.parquet", parquet_bytes(frame))
            replace(folder / f"{name}.csv", flat(frame).write_csv().encode())
        for name, text in {**_texts(comparison), **texts}.items():
            replace(folder / name, text.encode())
        replace(folder / COMPARISON_FILE, json_bytes(_record(comparison)))
        (folder / _UNFINISHED).unlink()


def open_comparison(path: str | Path) -> Comparison:
    """Read a comparison that was saved. Raises `GradPrismError` where the folder is none."""
    folder = place(path)
    record = _read_record(folder)
    try:
        frames = {name: read_parquet(folder / f"{name}.parquet") for name in TABLES}
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
    return (place(path) / COMPARISON_FILE).is_file()


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


def _texts(comparison: Comparison) -> dict[str, str]:
    table = paper_table(comparison).write_csv()
    return {"paper_table.csv": table, "paper_table.tex": paper_latex(comparison), "summary.md": summary(comparison)}


def check_folder(folder: Path) -> None:
    """Raise `GradPrismError` where a comparison cannot be saved since something else is there."""
    if not folder.exists() or is_comparison(folder) or (folder / _UNFINISHED).exists():
        return
    found = sorted(item.name for item in folder.iterdir()) if folder.is_dir() else [folder.name]
    if found:
        raise GradPrismError(
            f"{folder} is not empty and is not a comparison (it holds {', '.join(found[:3])}). Choose another --out."
        )
