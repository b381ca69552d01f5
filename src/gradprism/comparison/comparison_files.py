"""Files of a comparison: comparison.json, and each table as Parquet and CSV."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

import polars as pl
from pydantic import Field

from gradprism.comparison import comparison_tables as tables
from gradprism.comparison.comparison import Comparison, Finding, Group, Paired
from gradprism.comparison.paper_table import paper_latex, paper_table, summary
from gradprism.core.errors import GradPrismError, first_line
from gradprism.correlation.table_files import with_missing_columns, write_tables
from gradprism.correlation.tables import CORRELATIONS
from gradprism.files.atomic import write_whole
from gradprism.files.csv_tables import csv_bytes
from gradprism.files.folder import FolderKind, published_path, written_folder
from gradprism.files.paths import to_path
from gradprism.files.records import RecordModel, read_record_file, record_bytes
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
PAIRED_TABLES: Mapping[str, pl.Schema] = {
    "pairs": tables.PAIRS,
    "interactions": tables.INTERACTIONS,
    "mad_changes": tables.MAD_CHANGES,
}

_UNFINISHED = ".comparison.unfinished"  # an earlier version had it in the folder while it wrote
COMPARISON = FolderKind("comparison", (COMPARISON_FILE, _UNFINISHED))
Entry = TypeVar("Entry", Group, Finding)


class _Model(RecordModel):
    name: str
    kind: str | None = Field(alias="class")


class _Text(RecordModel):
    max_length: int = 0
    response_tokens: int | None = None


class _Data(RecordModel):
    sources: list[str] = Field(default_factory=list)


class _About(RecordModel):
    model: _Model
    text: _Text | None
    projections: list[str]
    layers: list[int]
    measures: list[str]
    data: list[_Data] | _Data = Field(default_factory=list)
    versions: dict[str, Any] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    metrics: list[str] = Field(default_factory=list)


class _Record(RecordModel):
    format_version: Literal[1]
    groups: Annotated[list[Group], Field(min_length=1)]
    contrasts: list[tuple[str, str]]
    findings: list[Finding]
    notes: list[str]
    about: _About
    interactions: list[Finding] | None = None  # findings of a paired comparison, of no other
    tables: dict[str, str] | None = None  # the SHA-256 of each Parquet file; None of an earlier version


def save_comparison(comparison: Comparison, folder: Path, texts: Mapping[str, str] = MappingProxyType({})) -> None:
    """Write every table and comparison.json, which names the SHA-256 of each: all of them replace an earlier one whole.

    `texts` are further small files, name -> content. Raises `GradPrismError` where the folder is something else already
    or cannot be written.
    """
    with written_folder(folder, COMPARISON) as new:
        frames = _frames(comparison)
        write_tables(new, frames)
        for name, text in {**_summaries(comparison), **texts}.items():
            write_whole(new / name, text.encode())
        digests = {name: hashlib.sha256((new / f"{name}.parquet").read_bytes()).hexdigest() for name in frames}
        write_whole(new / COMPARISON_FILE, record_bytes({**_record(comparison), "tables": digests}))
    (folder / _UNFINISHED).unlink(missing_ok=True)


def open_comparison(path: str | Path) -> Comparison:
    """Read a saved comparison. Raises `GradPrismError` where the folder holds none, or not all of one.

    Columns that an earlier version did not write are null.
    """
    folder = to_path(path)
    record = _read_record(folder)
    digests = record.get("tables")

    def read(schemas: Mapping[str, pl.Schema]) -> dict[str, Any]:
        return {
            name: _read_table(published_path(folder, f"{name}.parquet"), schema, digests and digests.get(name, ""))
            for name, schema in schemas.items()
        }

    paired = None
    if record.get("interactions") is not None:
        on_interactions = tuple(_entry(Finding, values) for values in record["interactions"])
        paired = Paired(**read(PAIRED_TABLES), findings=on_interactions)
    return Comparison(
        tuple(_entry(Group, values) for values in record["groups"]),
        tuple((first, second) for first, second in record["contrasts"]),
        tuple(_entry(Finding, values) for values in record["findings"]),
        tuple(record["notes"]),
        record["about"],
        **read(TABLES),
        paired=paired,
    )


def is_comparison(path: str | Path) -> bool:
    """Return whether a folder holds a comparison."""
    return published_path(to_path(path), COMPARISON_FILE).is_file()


def _frames(comparison: Comparison) -> dict[str, pl.DataFrame]:
    """Return the tables by name, with those of a paired comparison."""
    paired = comparison.paired
    more = {} if paired is None else {name: getattr(paired, name) for name in PAIRED_TABLES}
    return {name: getattr(comparison, name) for name in TABLES} | more


def _record(comparison: Comparison) -> dict[str, Any]:
    paired = comparison.paired
    interactions = {} if paired is None else {"interactions": [asdict(finding) for finding in paired.findings]}
    return {
        "format_version": FORMAT_VERSION,
        "groups": [asdict(group) for group in comparison.groups],
        "contrasts": comparison.contrasts,
        "findings": [asdict(finding) for finding in comparison.findings],
        **interactions,
        "notes": comparison.notes,
        "about": comparison.about,
    }


def _read_record(folder: Path) -> dict[str, Any]:
    try:
        record = read_record_file(published_path(folder, COMPARISON_FILE), _Record)
    except (FileNotFoundError, NotADirectoryError):
        raise GradPrismError(f"{folder} is not a comparison: it holds no {COMPARISON_FILE}.") from None
    if (folder / _UNFINISHED).exists():
        raise GradPrismError(
            f"{folder / _UNFINISHED}: an earlier version began to write this comparison and did not end. "
            "Make the comparison again."
        )
    names = {group["name"] for group in record["groups"]}
    unknown = {name for contrast in record["contrasts"] for name in contrast} - names
    if unknown:
        raise GradPrismError(
            f"{folder / COMPARISON_FILE} is damaged: a contrast names {min(unknown)!r}, which is none of its groups. "
            "Make the comparison again."
        )
    return record


def _read_table(file: Path, schema: pl.Schema, digest: str | None) -> pl.DataFrame:
    """Read a table, which is the one of this SHA-256 where an earlier version has not left it out."""
    again = "Make the comparison again, or restore it from a copy."
    try:
        content = file.read_bytes()
        if digest is not None and hashlib.sha256(content).hexdigest() != digest:
            raise GradPrismError(f"{file} is not the table that {COMPARISON_FILE} names by its SHA-256. {again}")
        table = pl.read_parquet(io.BytesIO(content))
    except FileNotFoundError:
        raise GradPrismError(f"{file} is missing: it is a table of the comparison. {again}") from None
    except (OSError, pl.exceptions.PolarsError) as error:
        raise GradPrismError(f"Cannot read {file}: {first_line(error)}. {again}") from error
    wrong = [name for name, kind in schema.items() if table.schema.get(name, _default_kind(kind)) != kind]
    if wrong:
        raise GradPrismError(f"{file} has no column {wrong[0]} of the type {schema[wrong[0]]}. {again}")
    return with_missing_columns(table, schema)


def _default_kind(kind: pl.DataType | type[pl.DataType]) -> pl.DataType | type[pl.DataType] | None:
    """Return the type of a column that is missing: null where it holds numbers, as of an earlier version."""
    return kind if kind in (pl.Float64, pl.Int64) else None


def _entry(kind: type[Entry], values: Mapping[str, Any]) -> Entry:
    """Return an entry of the record, without what a later version may have added."""
    return kind(**{field.name: values[field.name] for field in fields(kind) if field.name in values})


def _summaries(comparison: Comparison) -> dict[str, str]:
    table = csv_bytes(paper_table(comparison)).decode()
    return {"paper_table.csv": table, "paper_table.tex": paper_latex(comparison), "summary.md": summary(comparison)}
