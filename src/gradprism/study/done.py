"""Which steps of a study are done, so that none is done twice, nor asks for data or a hub again: STUDY/steps.json."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gradprism import __version__
from gradprism.analysis.comparison_files import COMPARISON_FILE
from gradprism.compare_recipe import CompareRecipe
from gradprism.errors import GradPrismError
from gradprism.places import is_shared, place
from gradprism.recipe import ScoreRecipe, recipe_text
from gradprism.select_recipe import SelectRecipe
from gradprism.store.disk import disk_errors, json_bytes, replace
from gradprism.store.layout import RUN_FILE, SCORE_FILE, published_parts, score_table
from gradprism.study.steps import ReportSettings, Step

if TYPE_CHECKING:
    from gradprism.recipe import Recipe

STEPS_FILE = "steps.json"


class Done:
    """The steps that were done, each by what it was asked, what it read and what it wrote.

    A step is done while all three are as they were: other settings, changed files of data, steps before it that were
    done again, or results that were removed make it a step to do. Data and models of a hub are taken as they were.
    """

    def __init__(self, folder: Path) -> None:
        """Read what is known of the study in a folder; nothing where its file is not there or not whole."""
        self._file = folder / STEPS_FILE
        self._stamps = dict[str, str]()
        with suppress(OSError, ValueError, TypeError):
            self._stamps = dict(json.loads(self._file.read_text(encoding="utf-8")))

    def __contains__(self, step: Step) -> bool:
        """Whether nothing is left to do of a step; those that it needs are to be looked at before."""
        known = self._stamps.get(step.name)
        return known is not None and known == self._stamp(step)

    def add(self, step: Step) -> None:
        """Remember a step that has just been done."""
        stamp = self._stamp(step)
        if stamp is None:
            return
        self._stamps[step.name] = stamp
        with disk_errors(self._file, "the study"):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            replace(self._file, json_bytes(self._stamps))

    def _stamp(self, step: Step) -> str | None:
        """Digest of a step's settings, data and results, and of the steps before it; None where some are not there."""
        try:
            before = [self._stamps[name] for name in step.needs]
            seen = [__version__, recipe_text(step.recipe), *before, *_read(step.recipe), *_written(step.recipe)]
        except (OSError, KeyError, GradPrismError):
            return None
        return hashlib.sha256("\n".join(seen).encode()).hexdigest()


def _read(recipe: "Recipe | ReportSettings") -> Iterator[str]:
    """Size and time of the files of data that are here; what runs hold is the affair of the steps that made them."""
    sources: tuple[str, ...] = getattr(recipe, "data", ())
    for path in map(place, sources):
        if not is_shared(path) and path.is_file():
            state = path.stat()
            yield f"{path} {state.st_size} {state.st_mtime_ns}"


def _written(recipe: "Recipe | ReportSettings") -> Iterator[str]:
    """State of the results."""
    out = place(str(recipe.out))
    if isinstance(recipe, ReportSettings):
        yield _digest(out)
    elif isinstance(recipe, CompareRecipe):
        yield _digest(out / COMPARISON_FILE)
    elif isinstance(recipe, SelectRecipe):
        ends = ("high", "low") if recipe.select.is_two_groups else ()
        for file in [out.with_name(f"{out.stem}.{end}{out.suffix}") for end in ends] or [out]:
            yield _digest(file)
    elif isinstance(recipe, ScoreRecipe):
        table = score_table(recipe.name or recipe.metric)
        yield f"{published_parts(out, table)} {_digest(out / table / SCORE_FILE)}"
    else:
        yield f"{published_parts(out)} {_digest(out / RUN_FILE)}"


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
