"""The names of files in a run directory, and the reader of its record."""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gradprism.core.errors import GradPrismError
from gradprism.files.paths import is_remote, list_names
from gradprism.files.records import read_record_file
from gradprism.runs.record_models import RunRecord

FORMAT_VERSION = 1
RUN_FILE = "run.json"
COMPARISON_FILE = "comparison.json"  # of a folder that `gradprism compare` has written
SCORE_FILE = "score.json"
RECIPE_FILE = "recipe.yaml"
DAMAGED = "damaged"  # folder of a run for files that are not what was written
OPTIONAL_TABLES = {"tokens": "prism.tokens", "sketches": "prism.sketch"}  # and the entry of the identity that asks
TABLES = ("similarity", "spectra", "examples")  # in the order of publication: `examples` completes a part


def tables_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the tables of a run's parts, in the order of publication: with those that its identity asks for."""
    identity = record.get("identity", {})
    own = [table for table, setting in OPTIONAL_TABLES.items() if identity.get(setting)]
    return (*own, *(score_table(influence_on(target)) for target in identity.get("targets", ())), *TABLES)


def influence_on(target: str) -> str:
    """Return the name of the scores of a target, `influence:NAME`."""
    return f"influence:{target}"


def is_influence(metric: str) -> bool:
    """Return whether a metric is the scores of a target: cosines, which are compared by differences, not ratios."""
    return metric.startswith(influence_on(""))


def influence_in_words(made: Mapping[str, Any]) -> str:
    """Say what the scores of a target are, by its entry in an identity."""
    unit = ", each divided by its norm" if made["mean"] == "unit" else ""
    return f"cosine of the row's gradient with the mean gradient of {made['rows']:,} target rows{unit}"


def part_path(run: Path, table: str, index: int) -> Path:
    """Return the path of a part, such as `RUN/examples/part-00007.parquet`; a metric's table is `scores/METRIC`."""
    return run / table / f"part-{index:05d}.parquet"


def score_table(metric: str) -> str:
    """Return the name of the table of a metric's scores, `scores/METRIC`."""
    return f"scores/{metric}"


def scored_metrics(run: Path) -> list[str]:
    """Return the names of the metrics in a run, complete or not."""
    scores = run / "scores"
    return [
        name
        for name in list_names(scores)
        if (scores / name / SCORE_FILE).is_file() or published_parts(run, score_table(name))
    ]


def published_parts(run: Path, table: str = "examples") -> list[int]:
    """Return the indices of the published parts, ascending. Of the spectra's tables `examples` is written last."""
    names = list_names(run / table)
    return sorted(int(match[1]) for name in names if (match := re.fullmatch(r"part-(\d+)\.parquet", name)))


def read_record(path: Path) -> dict[str, Any]:
    """Read run.json. Raises `GradPrismError` where it is missing, damaged, or of another format version."""
    try:
        if not is_remote(path) and path.is_file():
            raise NotADirectoryError
        return read_record_file(path / RUN_FILE, RunRecord, FORMAT_VERSION)
    except (FileNotFoundError, NotADirectoryError):
        raise GradPrismError(_no_run(path)) from None


def _no_run(path: Path) -> str:
    if is_remote(path) or path.is_dir():
        return f"{path} is not a run: it holds no {RUN_FILE}."
    if not path.exists():
        return f"{path} is not a run: there is no such folder."
    return (
        f"{path} is not a run but a file. Expected the folder of a run; data are measured into one first: "
        f"gradprism spectra {path} --model MODEL --out RUN."
    )


def identity_of(run: Path) -> Mapping[str, Any]:
    """Return the identity of a run's spectra; empty where there is no run, it cannot be read, or has no spectra."""
    if not (run / RUN_FILE).is_file():
        return {}
    with suppress(GradPrismError):
        identity: Mapping[str, Any] = read_record(run).get("identity", {})
        return identity
    return {}
