"""Which steps of a study are done, so that none is done twice, nor asks for data or a hub again: STUDY/steps.json."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

from gradprism import __version__
from gradprism.core.errors import GradPrismError
from gradprism.files.atomic import disk_errors, json_bytes, replace
from gradprism.files.places import is_shared, place
from gradprism.runs.layout import RUN_FILE
from gradprism.study.kinds import kind_of
from gradprism.study.steps import Step, StepRecipe

STEPS_FILE = "steps.json"


class _Known(TypedDict):
    asked: str  # digest of the settings, of the steps before, and of the results
    files: dict[str, str]  # size and time of every file that was read


class Done:
    """The steps that were done, each by what it was asked, what it read and what it wrote.

    A step is done while all three are as they were: other settings, changed files of data or models, steps before it
    that were done again, or results that were removed make it a step to do. Files that are not there any more, and
    what a hub or a store holds, are taken to be as they were.
    """

    def __init__(self, folder: Path) -> None:
        """Read what is known of the study in a folder; nothing where its file is not there or not whole."""
        self._file = folder / STEPS_FILE
        self._steps = dict[str, _Known]()
        with suppress(OSError, ValueError, TypeError):
            self._steps = dict(json.loads(self._file.read_text(encoding="utf-8")))

    def __contains__(self, step: Step) -> bool:
        """Whether nothing is left to do of a step; those that it needs are to be looked at before."""
        known = self._steps.get(step.name)
        if known is None or known["asked"] != self._asked(step):
            return False
        now = _state(step.recipe)
        return all(now.get(name, state) == state for name, state in known["files"].items())

    @property
    def names(self) -> frozenset[str]:
        """Steps that were ever done in this folder, those that an earlier recipe had among them."""
        return frozenset(self._steps)

    def add(self, step: Step) -> None:
        """Remember a step that has just been done."""
        asked = self._asked(step)
        if asked is None:
            return
        self._steps[step.name] = {"asked": asked, "files": _state(step.recipe)}
        with disk_errors(self._file, "the study"):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            replace(self._file, json_bytes(self._steps))

    def _asked(self, step: Step) -> str | None:
        """None where results, or steps before it, are not there."""
        try:
            before = [self._steps[name]["asked"] for name in step.needs]
            settings = step.recipe.model_dump_json(exclude={"engine", "execution"})  # they change no number
            seen = [__version__, settings, *before, *kind_of(step.recipe).results(step.recipe)]
        except (OSError, KeyError, GradPrismError):
            return None
        return hashlib.sha256("\n".join(seen).encode()).hexdigest()


def _state(recipe: StepRecipe) -> dict[str, str]:
    """Size and time of the files that a step reads and no other step makes: data, models, templates."""
    named = [*getattr(recipe, "data", ())]
    for part, name in _FILES:
        settings = getattr(recipe, part, None)
        named.append(getattr(settings, name, None))
    paths = [place(name) for name in named if name is not None]
    return {str(file): _size_and_time(file) for path in paths if not is_shared(path) for file in _files(path)}


_FILES = (("checkpoint", "model"), ("checkpoint", "adapter"), ("text", "template"), ("prism", "architecture"))


def _files(path: Path) -> list[Path]:
    """The file, or those in a folder; of a run, which other steps make, none."""
    if (path / RUN_FILE).exists():
        return []
    return [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]


def _size_and_time(file: Path) -> str:
    state = file.stat()
    return f"{state.st_size} {state.st_mtime_ns}"
