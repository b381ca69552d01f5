"""Open the rows of targets, and make their mean gradients on the model that measures."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import Say
from gradprism.data.example_set import ExampleSet, open_examples
from gradprism.data.settings import ReadSettings
from gradprism.prism.settings import TargetSettings
from gradprism.runs.record import refuse_other_machine

if TYPE_CHECKING:
    from gradprism.prism.analyzer import GradientAnalyzer
    from gradprism.prism.target import Target


def open_targets(targets: TargetSettings, read: ReadSettings) -> dict[str, ExampleSet]:
    """Open all rows of each target, with the columns that the data name. Raises `GradPrismError` where one has none."""
    own = ReadSettings(columns=read.columns, max_row_bytes=read.max_row_bytes)
    found = {name: open_examples((file,), own) for name, file in targets.files.items()}
    for name, examples in found.items():
        if not len(examples):
            raise GradPrismError(f"--target {name}={targets.files[name]}: it has no rows; expected some.")
    return found


def targets_identity(targets: TargetSettings, opened: Mapping[str, ExampleSet]) -> dict[str, Any]:
    """Return the entry of a run's identity on its targets; nothing where there are none."""
    how = {"mean": targets.target_mean, "rank": targets.target_rank}
    of = {name: {"fingerprint": examples.fingerprint, "rows": len(examples)} | how for name, examples in opened.items()}
    return {"targets": of} if of else {}


def mean_gradients(
    analyzer: "GradientAnalyzer", targets: TargetSettings, read: ReadSettings, identity: Mapping[str, Any], say: Say
) -> "list[Target]":
    """Return the targets of a run. Raises `GradPrismError` where this machine has other rows than `identity`."""
    opened = open_targets(targets, read)
    refuse_other_machine(identity, targets_identity(targets, opened))
    made = []
    for name, examples in opened.items():
        say(f"Target {name}: the mean gradient of {len(examples):,} rows")
        made.append(analyzer.target(name, list(examples), targets.target_mean, targets.target_rank))
    return made
