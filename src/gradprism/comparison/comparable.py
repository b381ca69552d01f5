"""Preconditions of a comparison: measured runs of one model, and the metrics that all of them have."""

from collections.abc import Iterable, Sequence

from gradprism.comparison.grouping import GroupRows
from gradprism.core.errors import GradPrismError
from gradprism.runs.run import Run
from gradprism.runs.values import metric_names

_COUNTED = ("length", "prompt_length", "loss")


def refuse_unmeasured(runs: Iterable[Run], incomplete: bool) -> None:
    """Raise `GradPrismError` where a run has no spectra, or (unless `incomplete`) not yet all of them."""
    for run in runs:
        if not run.has_spectra or not run.counts.ok:
            raise GradPrismError(f"The run {run.path} has no spectra to compare. Measure them: gradprism spectra.")
        if not run.is_complete and not incomplete:
            raise GradPrismError(
                f"The run {run.path} is incomplete: {run.counts.done:,} of {run.counts.rows:,} rows. Finish it by "
                "repeating the command that began it, or compare what there is with --incomplete."
            )


def refuse_other_models(groups: Sequence[GroupRows]) -> None:
    """Raise `GradPrismError` where two groups are of different models: their gradients have no common scale."""
    made = {group.name: made_by(group.run) for group in groups}
    first, *others = made
    for other in others:
        if made[other] != made[first]:
            raise GradPrismError(
                f"The groups {first} and {other} are of different models:\n  {made[first]}\n  {made[other]}\n"
                "Compare the groups of each model by themselves; `gradprism figures` and `gradprism report` take "
                "several comparisons and draw the models side by side."
            )


def made_by(run: Run) -> str:
    """Describe the model of a run in words. Runs can be compared where these are equal."""
    if not run.has_spectra:
        return "(no model: the run holds scores alone)"
    model, identity = run.record["model"], run.record["identity"]
    scratch = f"random weights {identity['checkpoint.init_seed']}" if identity.get("checkpoint.from_scratch") else None
    digests = [part[:16] for part in (model["revision"] or "").split("+")]  # the model's, and its adapter's
    revision = f"revision {'+'.join(digests)}" if model["revision"] else None
    kind = model["class"] or f"{model['layers']} layers"  # an imported run may know no class
    return f"{model['name']} ({', '.join(part for part in (kind, model['dtype'], revision, scratch) if part)})"


def comparable_metrics(runs: Sequence[Run]) -> tuple[list[str], list[str]]:
    """Return the scored metrics, lengths, loss and numeric columns that every run has, and a note on the others."""
    unique = list({run.path: run for run in runs}.values())
    known = [[name for name in metric_names(run) if _is_metric(run, name)] for run in unique]
    common = [name for name in known[0] if all(name in names for names in known)]
    others = dict.fromkeys(name for names in known for name in names if name not in common)
    note = f"Not compared, since only some of the runs have it: {', '.join(others)}."
    return common, [note] if others else []


def _is_metric(run: Run, name: str) -> bool:
    return name in run.metrics or name in _COUNTED or name.startswith("column:")
