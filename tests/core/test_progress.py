import io
import signal
import sys
from contextlib import redirect_stderr

import pytest
from rich.console import Console
from rich.progress import Progress as RichProgress

from gradprism.core.numbers import number
from gradprism.core.progress_bar import Bar, Meter, show_progress


def test_piped_progress_is_plain_lines() -> None:
    with redirect_stderr(io.StringIO()) as err, show_progress(quiet=False) as observer:
        observer.say("Loading")
        observer.start(10, 4, "Gradients")
        observer.batch(6, 600)
    lines = err.getvalue().splitlines()
    assert lines[:2] == ["Loading", "Gradients: 10 rows, 4 already done"]
    assert lines[2].startswith("10/10 rows, ")
    assert "examples/s" in lines[2]
    assert "tokens/s" in lines[2]
    assert "\r" not in err.getvalue()


def test_quiet_says_nothing() -> None:
    with redirect_stderr(io.StringIO()) as err, show_progress(quiet=True) as observer:
        observer.say("Loading")
        observer.start(2, 0, "Gradients")
        observer.batch(2, 10)
    assert err.getvalue() == ""


def test_an_interrupt_waits_for_the_batch_and_the_handler_is_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with redirect_stderr(io.StringIO()) as err, show_progress(quiet=True) as observer:
        observer.start(5, 0, "Gradients")
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            observer.batch(1, 1)
    assert "after the current batch" in err.getvalue()
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_before_work_begins_acts_at_once() -> None:
    with show_progress(quiet=True), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_the_bar_shows_rates_and_time_left() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    from gradprism.core.progress_bar import _bar

    meter = Meter()
    progress: RichProgress = _bar(meter, console)
    with progress:
        bar = Bar(meter, progress)
        bar.say("Loading")
        bar.start(100, 10, "Gradients")
        meter.began -= 10  # seconds
        bar.batch(40, 4000)
        progress.refresh()
        drawn = console.file.getvalue()  # type: ignore[attr-defined]
    assert "50/100" in drawn
    assert "\n" not in drawn.strip()  # one line, also on 80 columns
    assert "examples/s" in drawn
    assert sys.stderr is not console.file


def test_work_without_rows_has_a_name_and_no_counts() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    from gradprism.core.progress_bar import _bar

    meter = Meter()
    progress: RichProgress = _bar(meter, console)
    with progress:
        Bar(meter, progress).start(0, 0, "7 of 12: comparisons/smollm2-135m/whole/wiz-ifd-gpt2")
        progress.refresh()
        drawn = console.file.getvalue().split("\r")[-1]  # type: ignore[attr-defined]
    assert "7 of 12: comparisons/smollm2-135m/whole/wiz-ifd-gpt2" in drawn
    assert "0/0" not in drawn
    assert "examples/s" not in drawn


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0.00"),
        (1234.5, "1,234"),
        (12.345, "12.3"),
        (2e-5, "2.00e-05"),
        (5e7, "5.00e+07"),
    ],
)
def test_numbers_keep_three_digits(value: float | None, text: str) -> None:
    assert number(value) == text
