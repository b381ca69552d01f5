"""A `Diversity`: what the gradients of a set of rows say about the set, its sources and its rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from gradprism.core.numbers import number
from gradprism.core.summary_lines import lines_as_html, lines_as_text
from gradprism.correlation.table_files import write_tables
from gradprism.files.atomic import write_whole
from gradprism.files.folder import FolderKind, written_folder
from gradprism.files.records import record_bytes

DIVERSITY_FILE = "diversity.json"
DIVERSITY = FolderKind("diversity", (DIVERSITY_FILE,))
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Diversity:
    """The tables of `gradprism.set_diversity.tables`, with what they are of."""

    sources: pl.DataFrame  # all rows first, then each source, where there are several
    unions: pl.DataFrame  # every two sources, in both directions
    pairs: pl.DataFrame  # near-duplicates, closest first
    rows: pl.DataFrame  # each row: what it adds, its nearest neighbour
    notes: tuple[str, ...]
    about: Mapping[str, Any]  # created, versions, model, runs, dim, subset_rows, subset_tokens, settings

    @property
    def vendi(self) -> float:
        """The Vendi score of all rows."""
        return float(self.sources["vendi"][0])

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the Vendi score of all rows."""
        return float(self.sources["low"][0]), float(self.sources["high"][0])

    @property
    def headline(self) -> str:
        """The answer in a sentence."""
        row = self.sources.row(0, named=True)
        between = "" if row["low"] is None else f" (95% interval {number(row['low'])} to {number(row['high'])})"
        return (
            f"Vendi score {number(row['vendi'])}{between}: {row['rows']:,} rows are as diverse as "
            f"{number(row['vendi'])} rows that share nothing."
        )

    @property
    def growth(self) -> str:
        """Growth from half of the rows to all, in a sentence; empty for few rows."""
        row = self.sources.row(0, named=True)
        if row["half"] is None:
            return ""
        return (
            f"Half of the rows have {number(row['half'])}: twice the rows are {row['vendi'] / row['half']:.2f} times "
            "as diverse (2 were all new, 1 nothing new)."
        )

    @property
    def near_duplicates(self) -> int:
        """Number of rows that are a near-duplicate of another."""
        ends = [self.pairs.select(pl.col(run).alias("run"), pl.col(row).alias("row"))
                for run, row in (("run", "row"), ("other_run", "other_row"))]  # fmt: skip
        return pl.concat(ends).n_unique()

    @property
    def summary_lines(self) -> list[tuple[str, str]]:
        """Score, model and notes, each a name and a line of text."""
        return [
            ("diversity", self.headline),
            *([("", self.growth)] if self.growth else []),
            ("model", str(self.about["model"])),
            ("sketches", f"{self.about['dim']:,} coordinates of each gradient"),
            ("near-duplicates", self._near_duplicates_in_words),
            *(("note", note) for note in self.notes),
        ]

    @property
    def _near_duplicates_in_words(self) -> str:
        pairs, least = self.pairs.height, self.about["settings"]["duplicate"]
        if not pairs:
            return f"no two rows with a cosine of {least:g} or more"
        return f"{pairs:,} pair{'s' * (pairs != 1)} of {self.near_duplicates:,} rows with a cosine of {least:g} or more"

    def save(self, folder: Path, texts: Mapping[str, str]) -> None:
        """Write each table as Parquet and CSV, diversity.json and further small files: all of them, or none.

        Raises `GradPrismError` where the folder holds something else already, or cannot be written.
        """
        with written_folder(folder, DIVERSITY) as new:
            write_tables(new, {name: getattr(self, name) for name in ("sources", "unions", "pairs", "rows")})
            for name, text in texts.items():
                write_whole(new / name, text.encode())
            write_whole(new / DIVERSITY_FILE, record_bytes({"format_version": FORMAT_VERSION, **self.summary()}))

    def summary(self) -> dict[str, Any]:
        """Return the sources, unions, counts and notes, as `--json` prints them."""
        return {
            "vendi": self.vendi,
            "sources": self.sources.to_dicts(),
            "unions": self.unions.to_dicts(),
            "near_duplicate_pairs": self.pairs.height,
            "near_duplicate_rows": self.near_duplicates,
            "notes": list(self.notes),
            "about": dict(self.about),
        }

    def __repr__(self) -> str:
        """Return the score, the sources and the notes as text."""
        return f"{lines_as_text(self.summary_lines)}\n{self.sources}"

    def _repr_html_(self) -> str:
        return lines_as_html(self.summary_lines) + str(self.sources._repr_html_())
