"""The tables of one training, and the sink that publishes them in a folder of its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import polars as pl

from gradprism.ablation.settings import folder_of
from gradprism.files.atomic import write_errors, write_whole
from gradprism.files.parquet import DamagedFileError, Label, parquet_bytes, read_label, read_parquet

if TYPE_CHECKING:
    from gradprism.ablation.arms import Training, TrainRow

Trained: TypeAlias = Mapping[str, pl.DataFrame]
"""The tables of trainings, by name: `losses`, `steps`, `rows`, `scores` and, last to be written, `job`."""

LOSSES = {
    "arm": pl.String, "seed": pl.Int64, "step": pl.Int64, "tokens": pl.Int64, "eval": pl.String, "row": pl.Int64,
    "nll": pl.Float64, "n_tokens": pl.Int64,
}  # fmt: skip
"""Summed loss of each evaluation row (nats) over its `n_tokens` response tokens, after `tokens` trained ones."""
STEPS = {
    "arm": pl.String, "seed": pl.Int64, "step": pl.Int64, "tokens": pl.Int64, "loss": pl.Float64,
    "grad_norm": pl.Float64, "learning_rate": pl.Float64,
}  # fmt: skip
"""What each step of the optimiser trained on, and its mean loss (nats a response token)."""
ROWS = {
    "arm": pl.String, "seed": pl.Int64, "step": pl.Int64, "row": pl.Int64, "example_id": pl.String,
    "n_prompt_tokens": pl.Int64, "n_response_tokens": pl.Int64, "cut": pl.Boolean,
}  # fmt: skip
"""Rows in the order in which they were trained on; `cut` where a response was cut for equal tokens."""
SCORES = {
    "arm": pl.String, "seed": pl.Int64, "step": pl.Int64, "task": pl.String, "metric": pl.String, "row": pl.Int64,
    "value": pl.Float64, "higher_is_better": pl.Boolean,
}  # fmt: skip
"""Every item of every task of lm-evaluation-harness, before the first step and after the last."""
JOB = {
    "arm": pl.String, "seed": pl.Int64, "status": pl.String, "reason": pl.String, "rows_digest": pl.String,
    "seconds": pl.Float64, "device": pl.String,
}  # fmt: skip
"""One row: how a training ended."""
TABLES = {"losses": LOSSES, "steps": STEPS, "rows": ROWS, "scores": SCORES, "job": JOB}


def rows_of(training: "Training") -> pl.DataFrame:
    """Return the rows of a training in their order."""
    found = [
        (training.arm, training.seed, number, *_counts(each))
        for number, step in enumerate(training.steps, 1)
        for each in step
    ]
    return pl.DataFrame(found, schema=ROWS, orient="row")


def _counts(each: "TrainRow") -> tuple[int, str, int, int, bool]:
    n_response = each.encoded.n_response_tokens
    return each.row, each.example_id, each.encoded.n_tokens - n_response, n_response, each.cut


def budgets_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Count what each arm trains on: rows, response and prompt tokens, median response, means over seeds.

    `rows` has the columns of `ROWS`.
    """
    of_seeds = rows.group_by("arm", "seed", maintain_order=True).agg(
        rows=pl.col("row").n_unique(),
        response_tokens=pl.col("n_response_tokens").sum(),
        prompt_tokens=pl.col("n_prompt_tokens").sum(),
        median_response=pl.col("n_response_tokens").median(),
    )
    return of_seeds.group_by("arm", maintain_order=True).agg(
        seeds=pl.len(), **{name: pl.col(name).mean() for name in of_seeds.columns[2:]}
    )


def training_folder(arm: str, seed: int) -> Path:
    """Return where the tables of a training are, below the folder of the ablation."""
    return Path("arms") / folder_of(arm) / f"seed-{seed}"


@dataclass
class TrainedArms:
    """Publishes each training in ARM/seed-N of a folder, which the caller has locked. A `ResumableSink`.

    A training counts as done once its `job` is there and names the digest of these settings and rows.
    """

    folder: Path
    digest: str
    trainings: "Sequence[Training]"
    keep_models: bool = False
    sessions: list[Mapping[str, Any]] = field(default_factory=list)
    publish_elsewhere: Callable[[int, Trained], None] | None = None  # by the process that has the folder alone

    def publish(self, index: int, part: Trained) -> None:
        """Write the tables of one training, replacing earlier ones; its job last."""
        with write_errors(self.folder, "the ablation"):
            for name in TABLES:
                path = self._path(index, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, parquet_bytes(part[name], Label(self._digest_of(index), name, index, ())))

    @property
    def done(self) -> frozenset[int]:
        """Indices of the trainings that are there."""
        return frozenset(index for index in range(len(self.trainings)) if self._is_there(index))

    @property
    def digests(self) -> dict[str, str]:
        """Digests that each training must name to be one of these, by its folder."""
        return {
            training_folder(each.arm, each.seed).as_posix(): self._digest_of(index)
            for index, each in enumerate(self.trainings)
        }

    def parts_with_failures(self) -> frozenset[int]:
        """Return the indices of the trainings that have failed."""
        return frozenset(i for i in self.done if self.read(i)["job"].item(0, "status") == "failed")

    def unfinished(self) -> frozenset[int]:
        """Return nothing: a training is there, or is not."""
        return frozenset()

    def kept(self, index: int, failed: bool) -> tuple[Trained, frozenset[int]]:
        """Return the tables of a training without any rows: a failed one is trained again, whole."""
        return {name: pl.DataFrame(schema=schema) for name, schema in TABLES.items()}, frozenset()

    def add_session(self, entry: Mapping[str, Any]) -> None:
        """Keep the entry of one session."""
        self.sessions.append(entry)

    def check(self) -> None:
        """Do nothing: the lock of a folder on a disk is not lost."""

    def read(self, index: int) -> Trained:
        """Read the tables of one training."""
        return {name: read_parquet(self._path(index, name)) for name in TABLES}

    def _is_there(self, index: int) -> bool:
        try:
            labels = [read_label(self._path(index, name)) for name in TABLES]
        except (OSError, DamagedFileError):
            return False
        lacks_model = self.keep_models and not self._path(index, "job").with_name("model").is_dir()
        is_ours = all(label is not None and label.run == self._digest_of(index) for label in labels)
        return is_ours and (not lacks_model or self.read(index)["job"].item(0, "status") == "failed")

    def _digest_of(self, index: int) -> str:
        return f"{self.digest}-{self.trainings[index].digest}"

    def _path(self, index: int, table: str) -> Path:
        training = self.trainings[index]
        return self.folder / training_folder(training.arm, training.seed) / f"{table}.parquet"
