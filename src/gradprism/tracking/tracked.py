"""Follow a job with a tracker: its progress while it runs, and at its end its results and files."""

import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gradprism.core.errors import first_line
from gradprism.core.progress import Progress
from gradprism.core.settings import Settings
from gradprism.tracking.settings import TrackSettings
from gradprism.tracking.trackers import Tracker, begin

_SECONDS_BETWEEN = 10.0


class Tracked:
    """A `Progress` that also logs rows, examples and tokens per second, and then the results."""

    def __init__(self, progress: Progress, tracker: Tracker | None):
        """Follow `progress`; without a tracker it is `progress` and nothing else."""
        self._progress, self._tracker = progress, tracker
        self._done = self._rows = self._tokens = 0
        self._began = self._last = time.perf_counter()

    def say(self, text: str) -> None:
        """Pass it on."""
        self._progress.say(text)

    def start(self, rows: int, done: int, what: str, unit: str = "rows") -> None:
        """Pass it on, and count from here."""
        self._progress.start(rows, done, what, unit)
        self._done, self._rows, self._tokens = done, 0, 0
        self._began = self._last = time.perf_counter()

    def note(self, text: str) -> None:
        """Pass it on."""
        self._progress.note(text)

    def batch(self, examples: int, tokens: int | None) -> None:
        """Log what is done every ten seconds, and pass it on."""
        self._done += examples
        self._rows += examples
        self._tokens += tokens or 0
        now = time.perf_counter()
        if now - self._last >= _SECONDS_BETWEEN:
            self._last = now
            self.log_progress()
        self._progress.batch(examples, tokens)

    def log_progress(self) -> None:
        """Log how far the job is."""
        seconds = max(time.perf_counter() - self._began, 1e-9)
        values = {"done": self._done, "examples_per_second": self._rows / seconds,
                  "tokens_per_second": self._tokens / seconds}  # fmt: skip
        self.log({f"progress/{name}": value for name, value in values.items()}, self._done)

    def log(self, values: Mapping[str, float | None], step: int) -> None:
        """Log numbers at a step; those that are not known are left out."""
        self._do(lambda tracker: tracker.log(_named(values), step))

    def finish(self, values: Mapping[str, float | None], files: tuple[Path, ...]) -> None:
        """Log the results, and keep the files that are there."""
        self.log_progress()
        self._do(lambda tracker: tracker.summarise(_named(values)))
        for file in files:
            if file.is_file():
                self._do(lambda tracker, file=file: tracker.attach(file))  # type: ignore[misc]

    def _do(self, action: Callable[[Tracker], None]) -> None:
        """Do something with the tracker. Where that fails the job goes on without it, and that is said once."""
        if self._tracker is None:
            return
        try:
            action(self._tracker)
        except Exception as error:
            self._tracker = None
            told = f"{type(error).__name__}: {first_line(error)}"
            sys.stderr.write(f"gradprism: the tracker failed ({told}); the job goes on without it\n")


@contextmanager
def tracked(progress: Progress, settings: TrackSettings, recipe: Settings | None) -> Iterator[Tracked]:
    """Yield the progress of a job of this recipe, logged as the settings say; its run ends with the block."""
    config = _flat(recipe.model_dump(mode="json")) if recipe else {}
    tracker = begin(settings, f"{config.get('verb', 'job')} {Path(str(config.get('out', ''))).name}", config)
    following = Tracked(progress, tracker)
    ok = False
    try:
        yield following
        ok = True
    finally:
        following._do(lambda tracker: tracker.end(ok=ok))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _named(values: Mapping[str, float | None]) -> dict[str, float]:
    """Return the finite values under names that every tracker takes."""
    known = {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}
    return {re.sub(r"[^\w./ -]+", "/", name): value for name, value in known.items()}
