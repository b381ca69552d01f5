"""Comparisons for figures and reports: saved ones, and runs, which are compared where they share a model."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from gradprism.comparison.api import compare_runs, names_of_runs
from gradprism.comparison.comparable import made_by
from gradprism.comparison.comparison import Comparison
from gradprism.comparison.comparison_files import is_comparison, open_comparison
from gradprism.comparison.settings import CompareSettings
from gradprism.core.errors import GradPrismError
from gradprism.files.paths import to_path
from gradprism.runs.layout import RUN_FILE
from gradprism.runs.run import Run, open_run
from gradprism.runs.steps import Steps, is_training, open_steps

Given = str | Path | Run | Steps | Comparison


def comparisons_of(given: Sequence[Given], progress: Callable[[str], None] | None = None) -> list[Comparison]:
    """Open a comparison for each folder that holds one, and make one for each model among the runs.

    Several runs of one model are its groups; a run alone is a comparison of one group. The steps of a training are so
    many models. Runs that are not complete yet are compared by the rows they have, and the comparison's notes say so.
    Raises `GradPrismError` where a path is none of these.
    """
    if not given:
        raise GradPrismError("Nothing given. Expected at least one run, or folder written by `gradprism compare`.")
    saved, runs = list[Comparison](), list[str]()
    for item in _with_steps_apart(given):
        if isinstance(item, Comparison):
            saved.append(item)
        elif isinstance(item, str | Path) and is_comparison(item):
            saved.append(open_comparison(item))
        else:
            runs.append(_run_path(item))
    by_model: dict[str, list[str]] = {}
    for text in runs:
        (path,) = names_of_runs([text]).values()
        by_model.setdefault(made_by(open_run(path)), []).append(text)
    for texts in by_model.values():
        group = {name: open_run(path) for name, path in names_of_runs(texts).items()}
        if progress:
            progress(f"Comparing {', '.join(group)}")
        saved.append(compare_runs(group, CompareSettings(incomplete=True)))
    return saved


def _with_steps_apart(given: Sequence[Given]) -> Iterator[str | Path | Run | Comparison]:
    """Yield what is given, and the run of each step in the place of a training's folder."""
    for item in given:
        if isinstance(item, Steps):
            yield from item.runs.values()
        elif isinstance(item, str | Path) and is_training(item):
            yield from open_steps(item).runs.values()
        else:
            yield item


def folder_of(item: Given) -> Path | None:
    """Return the folder of a saved comparison, a run or a training; None for a comparison that is only in memory."""
    if isinstance(item, Comparison):
        return None
    if isinstance(item, Run | Steps):
        return item.path
    (path,) = names_of_runs([str(item)]).values()
    return to_path(path)


def _run_path(item: str | Path | Run) -> str:
    """Return the path of a run, as NAME=PATH where it was given so. Raises `GradPrismError` for another folder."""
    path = str(item.path if isinstance(item, Run) else item)
    folder = to_path(path)
    if folder.is_dir() and not (folder / RUN_FILE).is_file():
        raise GradPrismError(
            f"{folder} is neither a comparison nor a run: it holds neither comparison.json nor {RUN_FILE}. "
            "Expected a folder that `gradprism compare` or `gradprism spectra` has written."
        )
    return path
