"""Read the folder of an ablation, as far as its trainings go."""

from pathlib import Path

import polars as pl

from gradprism.ablation.result import Ablation
from gradprism.ablation.settings import AblateRecipe
from gradprism.ablation.tables import TABLES
from gradprism.core.errors import GradPrismError
from gradprism.core.settings import checked, read_yaml
from gradprism.files.parquet import DamagedFileError, read_label, read_parquet
from gradprism.files.records import RecordModel, read_record_file
from gradprism.runs.layout import RECIPE_FILE

ABLATION_FILE = "ablation.json"


class AblationRecord(RecordModel):
    """The record of an ablation."""

    identity: dict[str, object]
    trainings: dict[str, str]
    refused: dict[str, str]
    sessions: list[dict[str, object]]


def read_ablation_record(folder: Path) -> dict[str, object]:
    """Read the record of an ablation; empty where there is none."""
    try:
        return read_record_file(folder / ABLATION_FILE, AblationRecord, 1)
    except FileNotFoundError:
        return {}


def read_ablation(folder: Path) -> Ablation:
    """Read what the recipe of a folder names and was trained. Raises `GradPrismError` where it is no ablation."""
    record = read_ablation_record(folder)
    if not record:
        raise GradPrismError(f"No ablation at {folder}: expected a folder that gradprism ablate wrote.")
    recipe = checked(AblateRecipe, read_yaml(folder / RECIPE_FILE)).model_copy(update={"out": str(folder)})
    tables: dict[str, list[pl.DataFrame]] = {name: [pl.DataFrame(schema=TABLES[name])] for name in TABLES}
    trainings = record["trainings"]
    assert isinstance(trainings, dict)
    for name, digest in trainings.items():  # what lies in the folder of another training is not of this ablation
        if _digest_in(folder / name / "job.parquet") == digest:
            for table, parts in tables.items():
                parts.append(read_parquet(folder / name / f"{table}.parquet"))
    losses, steps, rows, scores, jobs = (pl.concat(tables[name]) for name in TABLES)
    refused = record["refused"]
    assert isinstance(refused, dict)
    return Ablation(recipe, record, losses, steps, rows, scores, jobs, refused)


def _digest_in(file: Path) -> str | None:
    """Return the digest that a table names; None where there is no whole one."""
    try:
        label = read_label(file)
    except (OSError, DamagedFileError):
        return None
    return None if label is None else label.run
