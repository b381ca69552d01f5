"""Files of a selection: each group in the input's own schema, the rows left out with reasons, and the data card."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from gradprism.core.errors import GradPrismError
from gradprism.data.example import Example
from gradprism.data.example_set import ExampleSet
from gradprism.data.record import Row
from gradprism.data.writing import WRITTEN_SUFFIXES, arrow_schema, refuse_replacing, written_whole
from gradprism.files.atomic import target_file, write_whole
from gradprism.files.folder import FolderKind, written_folder
from gradprism.files.paths import to_path
from gradprism.selection.data_card import data_card
from gradprism.selection.selection import Selection
from gradprism.selection.settings import SelectRecipe
from gradprism.selection.trainers import Answers, TrainerFormat, format_for, scored_turns

LEFT_OUT, RANDOM = "left_out", "random"


def check_out(out: str | None) -> None:
    """Raise `GradPrismError` for a name of no file, or of a format that cannot be written, before any data is read."""
    if out is not None and Path(out).suffix not in WRITTEN_SUFFIXES:
        raise GradPrismError(f"--out {out}: expected a name that ends in {' or '.join(WRITTEN_SUFFIXES)}.")
    if out is not None:
        target_file(to_path(out))


def write_selection(
    selection: Selection, recipe: SelectRecipe, examples: ExampleSet, taken_names: frozenset[str], answers: Answers
) -> Selection:
    """Write all files, each whole or not at all; the data is read once more, and its texts stream.

    Rows keep their own fields unchanged, in the order of the data. Added to them, with a prefix that no column of
    theirs (`taken_names`) has: the row number, the response's length, the metrics, and the reason in the rows left
    out. For a trainer the groups are written in its form; `answers` are those of a conversation that are trained on.
    Raises `GradPrismError` where a file would replace the data itself, or cannot be written.
    """
    out = to_path(recipe.out)
    files = files_of(out, selection)
    added = _added_columns(selection, taken_names)
    form = format_for(recipe.trainer, _chosen(selection, examples), answers) if recipe.trainer else None
    registration = _registration(form, files)
    refuse_replacing([*files.values(), *map(out.with_name, registration), _card(out)], examples.sources)
    with written_folder(out.parent, FolderKind("selection"), name=out.name) as new:
        homes = {name: new / file.name for name, file in files.items()}
        _write(homes, selection, examples, added, partial(_row_for, form, answers) if form else None)
        for name, text in registration.items():
            write_whole(new / name, text.encode())
        write_whole(new / _card(out).name, data_card(selection, recipe, examples, files).encode())
    return replace(selection, files=(*files.values(), *map(out.with_name, registration), _card(out)))


def _chosen(selection: Selection, examples: ExampleSet) -> Iterator[Example]:
    """Yield the rows that go into some group."""
    homes = selection.table.select(pl.col("group").is_not_null() | pl.col("baseline").fill_null(False)).to_series()
    return (example for example, is_in in zip(examples, homes, strict=True) if is_in)


def _registration(form: TrainerFormat | None, files: Mapping[str, Path]) -> dict[str, str]:
    """Return what registers the groups with a trainer, by the names of the files that hold it."""
    groups = {path.stem: path for name, path in files.items() if name != LEFT_OUT}
    return form.registration(groups, next(iter(files.values())).parent) if form else {}


def _row_for(form: TrainerFormat, answers: Answers, example: Example) -> Row:
    return {"id": example.example_id, **form.row(example, scored_turns(example, answers))}


def files_of(out: Path, selection: Selection) -> dict[str, Path]:
    """Return the file of each group: `out` itself for a single group, else OUT.GROUP beside it."""
    groups = {name: _beside(out, name) for name in selection.groups}
    if len(groups) == 1:
        groups = dict.fromkeys(groups, out)
    random = {RANDOM: _beside(out, RANDOM)} if selection.settings.random else {}
    return groups | random | {LEFT_OUT: _beside(out, LEFT_OUT)}


def _beside(out: Path, name: str) -> Path:
    return out.with_name(f"{out.stem}.{name}{out.suffix}")


def _card(out: Path) -> Path:
    return out.with_name(f"{out.stem}.card.md")


def _added_columns(selection: Selection, taken_names: frozenset[str]) -> pl.DataFrame:
    """Return the columns to add to every row, `reason` last, under a prefix that no column of the data has."""
    metrics = [name for name in selection.metrics if name not in {f"column:{taken}" for taken in taken_names}]
    combined = ["mean rank"] if "mean rank" in selection.table.columns else []
    chosen = selection.table.select(
        "row", pl.col("response_length").alias(f"response_{selection.length_unit}"), *metrics, *combined, "reason"
    )
    prefixes = ("gradprism", *(f"gradprism{n}" for n in range(2, len(taken_names) + 3)))
    free = next(p for p in prefixes if not taken_names & {f"{p}.{name}" for name in chosen.columns})
    return chosen.rename(lambda name: f"{free}.{name}")


def _write(
    files: Mapping[str, Path],
    selection: Selection,
    examples: ExampleSet,
    added: pl.DataFrame,
    for_trainer: Callable[[Example], Row] | None,
) -> None:
    schemas = _schemas(files, examples, added) if files[LEFT_OUT].suffix == ".parquet" else dict.fromkeys(files)
    reason = added.columns[-1]
    with ExitStack() as stack:
        writers = {name: stack.enter_context(written_whole(path, schemas[name])) for name, path in files.items()}
        for example, fields, more, names in _rows_with_files(selection, examples, added):
            why = more.pop(reason)
            for name in names:
                if name == LEFT_OUT:
                    writers[name].write({**fields, **more, reason: why})
                else:
                    writers[name].write(for_trainer(example) if for_trainer else {**fields, **more})


def _rows_with_files(
    selection: Selection, examples: ExampleSet, added: pl.DataFrame
) -> Iterator[tuple[Example, Row, dict[str, Any], list[str]]]:
    """Yield each row as an example, its own fields, the added ones, and the files that it goes into."""
    homes = selection.table.select("group", "baseline").iter_rows()
    rows = zip(examples.records(), added.iter_rows(named=True), homes, strict=True)
    for (example, record), more, (group, drawn) in rows:
        yield example, record.fields or {}, more, [group or LEFT_OUT, *([RANDOM] if drawn else [])]


def _schemas(files: Mapping[str, Path], examples: ExampleSet, added: pl.DataFrame) -> dict[str, pa.Schema]:
    own = arrow_schema(examples.sources, (record.fields or {} for _, record in examples.records()))
    row, *numbers, reason = added.columns
    more = [pa.field(row, pa.int64()), *(pa.field(name, pa.float64()) for name in numbers)]
    schema = pa.schema([*own, *more])
    return {name: schema.append(pa.field(reason, pa.string())) if name == LEFT_OUT else schema for name in files}
