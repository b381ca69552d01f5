"""Show the progress of a job on stderr: a bar in a terminal, plain lines when piped, nothing when quiet."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from gradprism.core.console import HarmlessConsole, escaped
from gradprism.core.progress import NoProgress, Progress

_SECONDS_BETWEEN_LINES = 10.0


class Meter:
    """Measures examples and tokens per second, and raises a pending interrupt after the current batch."""

    def __init__(self) -> None:
        """Start all counts at zero."""
        self.rows = self.done = self.before = self.tokens = 0
        self.unit = "rows"
        self.began = time.perf_counter()
        self.interrupted = False

    def start(self, rows: int, done: int, unit: str = "rows") -> None:
        """Start the clock, with `done` of the rows finished before."""
        self.unit = unit
        self.rows, self.done, self.before, self.tokens = rows, done, done, 0
        self.began = time.perf_counter()

    def batch(self, examples: int, tokens: int | None) -> None:
        """Count a batch. Raises `KeyboardInterrupt` if an interrupt came during it."""
        self.done += examples
        self.tokens += tokens or 0
        if tokens == 0:  # skipped rows cost nothing and say nothing about the speed
            self.before += examples
        if self.interrupted:
            raise KeyboardInterrupt

    @property
    def rates(self) -> tuple[float, float, float]:
        """Examples per second, tokens per second, and seconds left."""
        seconds = max(time.perf_counter() - self.began, 1e-9)
        speed = (self.done - self.before) / seconds
        return speed, self.tokens / seconds, (self.rows - self.done) / speed if speed else 0.0

    @property
    def speeds(self) -> tuple[str, ...]:
        """Examples per second (other units per hour) and tokens per second as text, without what is not counted."""
        examples, tokens, _ = self.rates
        rate = f"{examples:.1f} examples/s" if self.unit == "rows" else f"{3600 * examples:.1f} {self.unit}/h"
        return (*([rate] if examples or self.unit == "rows" else []), *([f"{tokens:,.0f} tokens/s"] if tokens else []))


class PlainLines:
    """A `Progress` that prints a line every few seconds, for logs and pipes."""

    def __init__(self, meter: Meter):
        """Print the counts of `meter`."""
        self._meter = meter
        self._last = 0.0
        self._note = ""

    def say(self, text: str) -> None:
        """Print the name of a stage."""
        print(escaped(text), file=sys.stderr, flush=True)  # noqa: T201

    def start(self, rows: int, done: int, what: str, unit: str = "rows") -> None:
        """Print what is computed, for how many rows, and how many of them are done."""
        self._meter.start(rows, done, unit)
        if rows:
            self.say(f"{what}: {rows:,} {unit}" + (f", {done:,} already done" if done else ""))

    def note(self, text: str) -> None:
        """Add a note to the lines that follow."""
        self._note = f", {text}" if text else ""

    def batch(self, examples: int, tokens: int | None) -> None:
        """Count a batch, and print a line if the last one is ten seconds old or all rows are done."""
        self._meter.batch(examples, tokens)
        meter, now = self._meter, time.perf_counter()
        began_long_ago = now - meter.began >= _SECONDS_BETWEEN_LINES
        overdue = now - self._last >= _SECONDS_BETWEEN_LINES and (examples or began_long_ago)
        if overdue or (meter.done == meter.rows and examples):
            self._last = now
            left = [f"{_clock(meter.rates[-1])} left"] if meter.rates[0] else []
            said = ", ".join([f"{meter.done:,}/{meter.rows:,} {meter.unit}", *meter.speeds, *left])
            self.say(said + self._note)


class _RatesColumn(ProgressColumn):
    def __init__(self, meter: Meter):
        super().__init__()
        self._meter = meter

    def render(self, task: Task) -> Text:
        return Text("  ".join(self._meter.speeds), style="cyan")


class _RowsColumn(ProgressColumn):
    """A column that stays empty for work without rows."""

    def __init__(self, column: ProgressColumn):
        super().__init__()
        self._column = column

    def render(self, task: Task) -> RenderableType:
        return Text() if task.total == 0 else self._column.render(task)


class Bar:
    """A `Progress` that shows a live bar with examples per second, tokens per second and the time left."""

    def __init__(self, meter: Meter, progress: RichProgress):
        """Add a bar with the counts of `meter` to a display."""
        self._meter = meter
        self._progress = progress
        self._task = progress.add_task("", total=None)
        self._what = ""

    def say(self, text: str) -> None:
        """Show the name of a stage beside the bar."""
        self._progress.update(self._task, description=escaped(text))

    def start(self, rows: int, done: int, what: str, unit: str = "rows") -> None:
        """Set the total, and the rows that are done."""
        self._meter.start(rows, done, unit)
        self._what = what
        self._progress.reset(self._task, total=rows, completed=done, description=what)

    def note(self, text: str) -> None:
        """Show a note behind the name of the work."""
        self._progress.update(self._task, description=escaped(f"{self._what} ({text})" if text else self._what))

    def batch(self, examples: int, tokens: int | None) -> None:
        """Advance the bar. Raises `KeyboardInterrupt` if an interrupt came during the batch."""
        self._progress.update(self._task, advance=examples)
        self._meter.batch(examples, tokens)


@contextmanager
def show_progress(quiet: bool) -> Iterator[Progress]:
    """Yield the progress that suits stderr; meanwhile the first Ctrl-C stops after the current batch."""
    meter = Meter()
    console = HarmlessConsole(stderr=True)
    with _deferred_interrupt(meter):
        if quiet:
            yield _Quiet(meter)
        elif not console.is_terminal:
            yield PlainLines(meter)
        else:
            with _bar(meter, console) as progress:
                yield Bar(meter, progress)


class _Quiet(NoProgress):
    """A `Progress` that prints nothing, and still stops on interrupts."""

    def __init__(self, meter: Meter):
        self._meter = meter

    def start(self, rows: int, done: int, what: str, unit: str = "rows") -> None:
        self._meter.start(rows, done, unit)

    def batch(self, examples: int, tokens: int | None) -> None:
        self._meter.batch(examples, tokens)


def _bar(meter: Meter, console: Console) -> RichProgress:
    counts = (BarColumn(bar_width=14), MofNCompleteColumn(), _RatesColumn(meter), TimeRemainingColumn(compact=True))
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), *map(_RowsColumn, counts))
    return RichProgress(*columns, console=console, transient=True)


@contextmanager
def _deferred_interrupt(meter: Meter) -> Iterator[None]:
    """Defer the first Ctrl-C to the end of the batch; a second one, or one before work has begun, acts at once."""

    def defer(number: int, frame: FrameType | None) -> None:
        if meter.interrupted or not meter.rows:
            raise KeyboardInterrupt
        meter.interrupted = True
        print("\nStopping after the current batch (Ctrl-C again: at once)", file=sys.stderr)  # noqa: T201

    try:
        previous = signal.signal(signal.SIGINT, defer)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
