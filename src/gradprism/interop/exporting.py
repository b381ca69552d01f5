"""A run exported to a file of gradient statistics, as the papers' own scripts write and read it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import NoProgress, Progress
from gradprism.data.example import Example
from gradprism.data.writing import JsonLinesWriter, refuse_replacing
from gradprism.files.atomic import target_file
from gradprism.files.folder import written_file
from gradprism.files.paths import is_remote, to_path
from gradprism.interop.line_writer import CosineKinds, line_of
from gradprism.runs.layout import published_parts
from gradprism.runs.parts import read_part
from gradprism.runs.run import Run, open_run
from gradprism.runs.source_data import open_source_data


@dataclass(frozen=True)
class Exported:
    """A file that was written, and what of the published form it lacks."""

    path: Path
    lines: int
    left_out: int  # rows that were not measured
    notes: tuple[str, ...]


def export_paper(
    run: str | Path | Run, out: str | Path, *, data: Any = None, observer: Progress | None = None
) -> Exported:
    """Write a run as JSON Lines in the form that Li et al. published (arXiv 2504.10766), a line a measured row.

    `out`: a file that ends in .jsonl, or its place in an object store. `data` stands in for the data of the run where
    that was moved, or was Python objects: its texts go into the file. Raises `GradPrismError`.
    """
    watch = observer or NoProgress()
    opened, target = run if isinstance(run, Run) else open_run(run), to_path(out)
    _refuse_export(opened, target)
    watch.say("Reading the data")
    examples = open_source_data(opened, data)
    refuse_replacing([target], examples.sources)
    numbered_anew = _numbered_anew(opened)
    watch.start(opened.counts.done, 0, "Exporting")
    lines = 0
    with written_file(target, "export") as file:
        writer = JsonLinesWriter(file)
        for line in _lines(opened, iter(examples), numbered_anew, watch):
            writer.write(line)
            lines += 1
    return Exported(target, lines, opened.counts.rows - lines, tuple(_notes(opened)))


def _refuse_export(run: Run, target: Path) -> None:
    if not run.has_spectra or not run.counts.ok:
        raise GradPrismError(f"The run {run.path} has no spectra. Expected a run of gradprism spectra or import.")
    if not target.name.endswith(".jsonl"):
        raise GradPrismError(f"Given --out {target}. Expected the name of a file that ends in .jsonl.")
    target_file(target)
    if not is_remote(target) and not target.parent.is_dir():
        raise GradPrismError(f"Given --out {target}. Expected an existing folder: there is no folder {target.parent}.")


def _numbered_anew(run: Run) -> bool:
    """Say whether lines have other numbers in the file than their rows in the run: then each is given its id."""
    rows = run.scan("examples").filter(pl.col("status") == "ok").select("row").collect()["row"]
    return bool((rows != pl.int_range(len(rows), eager=True)).any())


def _lines(run: Run, examples: Iterator[Example], numbered_anew: bool, watch: Progress) -> Iterator[dict[str, Any]]:
    """Yield lines with one part of the run in memory at a time; its rows are those of the data, in order."""
    kinds, whole = _cosine_kinds(run), _has_whole_spectra(run)
    for index in published_parts(run.path):
        table, spectra, similarity = (
            read_part(run.path, name, index) for name in ("examples", "spectra", "similarity")
        )
        if not whole:
            spectra = spectra.with_columns(singular_values=None)
        of_row = {name: frame.partition_by("row", as_dict=True) for name, frame in
                  (("spectra", spectra), ("similarity", similarity))}  # fmt: skip
        for row in table.iter_rows(named=True):
            example = next(example for example in examples if example.row == row["row"])
            if row["status"] == "ok":
                key = (row["row"],)
                cosines = of_row["similarity"].get(key, similarity.clear())
                yield line_of(example, row, of_row["spectra"][key], cosines, kinds, numbered_anew)
            watch.batch(1, None)


def _cosine_kinds(run: Run) -> CosineKinds:
    found = set(run.scan("similarity").select(pl.col("kind").unique()).collect()["kind"])
    return CosineKinds(bool(found & {"adjacent", "all_layers"}), "same_layer" in found)


def _has_whole_spectra(run: Run) -> bool:
    """Return whether the run holds all singular values of every gradient, as a line has them."""
    spectra = run.scan("spectra")
    missing = pl.col("singular_values").is_null()
    if "tail_count" in spectra.collect_schema().names():
        missing |= pl.col("tail_count").is_not_null()
    return not spectra.select(missing.any()).collect().item()


def _notes(run: Run) -> Iterator[str]:
    """Yield what published files have and this one has not, and the option that measures it."""
    if run.scan("spectra").select(pl.col("grad_max").is_null().all()).collect().item():
        yield "M_max and M_min are null: gradprism spectra --entry-stats measures them."
    if not _has_whole_spectra(run):
        yield "S_sum, S_max, S_min in place of S_list, as in the earlier paper: the run holds not all singular values."
    kinds = set(run.scan("similarity").select(pl.col("kind").unique()).collect()["kind"])
    if "adjacent" in kinds and "all_layers" not in kinds:
        yield "cosine_sim has neighbouring layers, and null elsewhere: gradprism spectra --all-layers measures all."
