"""Record which steps of a study are done, so that none is done twice nor reads its data again: STUDY/steps.json."""

import hashlib
from contextlib import suppress
from pathlib import Path

from pydantic import Field
from typing_extensions import TypedDict  # pydantic asks for it before Python 3.12

from gradprism import __version__
from gradprism.core.errors import GradPrismError
from gradprism.files.atomic import write_errors, write_whole
from gradprism.files.paths import is_remote, to_path
from gradprism.files.records import RecordModel, read_record_file, record_bytes
from gradprism.runs.layout import RUN_FILE
from gradprism.study.kinds import kind_of
from gradprism.study.steps import Step, StepRecipe

STEPS_FILE = "steps.json"


class _DoneStep(TypedDict):
    asked: str  # digest of the settings, of the steps before, and of the results
    files: dict[str, str]  # size and time of every file that was read


class _Steps(RecordModel):
    """The model of steps.json: steps by name."""

    __pydantic_extra__: dict[str, _DoneStep] = Field(init=False)


class Done:
    """The steps that are done, each by its settings, the files it read and its results.

    A step is done while all three are unchanged: other settings, changed files of data or models, steps before it
    that were done again, or results that were removed make it a step to do. Files that are not there any more, and
    what a hub or a store holds, count as unchanged.
    """

    def __init__(self, folder: Path) -> None:
        """Read what is known of the study in a folder; nothing where its file is not there or not whole."""
        self._file = folder / STEPS_FILE
        self._steps = dict[str, _DoneStep]()
        with suppress(FileNotFoundError, GradPrismError):
            self._steps = read_record_file(self._file, _Steps)

    def __contains__(self, step: Step) -> bool:
        """Return whether a step is done, given that those it needs are."""
        known = self._steps.get(step.name)
        if known is None or known["asked"] != self._digest(step):
            return False
        now = _files_read(step.recipe)
        return all(now.get(name, state) == state for name, state in known["files"].items())

    @property
    def names(self) -> frozenset[str]:
        """Names of all steps that were ever done in this folder, by this recipe or an earlier one."""
        return frozenset(self._steps)

    def add(self, step: Step) -> None:
        """Record a step that has just been done."""
        digest = self._digest(step)
        if digest is None:
            return
        self._steps[step.name] = {"asked": digest, "files": _files_read(step.recipe)}
        with write_errors(self._file, "the study"):
            write_whole(self._file, record_bytes(self._steps))

    def _digest(self, step: Step) -> str | None:
        """Return the digest of settings, steps before and results; None where one of these is missing."""
        try:
            before = [self._steps[name]["asked"] for name in step.needs]
            settings = step.recipe.model_dump_json(exclude={"engine", "execution"})  # they change no number
            seen = [__version__, settings, *before, *kind_of(step.recipe).results(step.recipe)]
        except (OSError, KeyError, GradPrismError):
            return None
        return hashlib.sha256("\n".join(seen).encode()).hexdigest()


def _files_read(recipe: StepRecipe) -> dict[str, str]:
    """Return size and time of the files that a step reads and no other step makes: data, models, templates."""
    named = [*getattr(recipe, "data", ())]
    for part, name in _FILES:
        settings = getattr(recipe, part, None)
        named.append(getattr(settings, name, None))
    paths = [to_path(name) for name in named if name is not None]
    return {str(file): _size_and_time(file) for path in paths if not is_remote(path) for file in _files_in(path)}


_FILES = (("checkpoint", "model"), ("checkpoint", "adapter"), ("text", "template"), ("prism", "architecture"))


def _files_in(path: Path) -> list[Path]:
    """Return the file, or the files in a folder; none of a run, which other steps make."""
    if (path / RUN_FILE).exists():
        return []
    return [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]


def _size_and_time(file: Path) -> str:
    state = file.stat()
    return f"{state.st_size} {state.st_mtime_ns}"
