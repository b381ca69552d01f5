"""Show what a run of spectra would take, in a terminal."""

from collections.abc import Iterator

from rich.console import RenderableType

from gradprism.core.numbers import duration, number, with_letter
from gradprism.core.terminal_tables import summary_table
from gradprism.measurement.estimate import Estimate

_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def estimate_of(estimate: Estimate) -> RenderableType:
    """Lay out rows, tokens, time, size and GPU hours."""
    return summary_table(_lines(estimate))


def _lines(found: Estimate) -> Iterator[tuple[str, str]]:
    about = "about " if found.is_sampled else ""
    yield "dry run", "nothing is written"
    yield "data", found.data
    yield "model", f"{found.model}  {with_letter(found.parameters)} parameters"
    done = f", of which the run holds {found.rows_done:,}" if found.rows_done else ""
    yield "rows", f"{found.rows:,}{done}; {about}{found.rows_skipped:,} would be skipped"
    how = f"from {found.rows_tokenised:,} rows spread evenly" if found.is_sampled else "all rows tokenised"
    yield "tokens", f"{about}{found.tokens:,}, of them {found.response_tokens:,} in responses  ({how})"
    workers = f" of {found.workers} workers" if found.workers > 1 else ""
    yield "time", f"about {duration(found.seconds)} on {found.device}{workers}  ({_basis(found)})"
    yield "disk", f"about {_size(found.bytes)} in {found.parts:,} parts  ({_shape(found)})"
    yield "GPU hours", f"about {number(found.gpu_hours, 2)}  ({_gpu(found)})"


def _basis(found: Estimate) -> str:
    if found.pace is None:
        return f"from a matrix product, not measured: {found.not_measured}"
    pace = found.pace
    rows = "1 row" if pace.rows == 1 else f"{pace.rows:,} rows"
    return f"measured: {rows} in {pace.seconds:.1f} s, {pace.tokens / pace.seconds:,.0f} tokens a second"


def _shape(found: Estimate) -> str:
    spectrum = f" x {found.spectrum_length:,.0f} singular values" if found.spectrum_length else ", no singular values"
    rows = found.rows - found.rows_done - found.rows_skipped
    return f"{rows:,} rows x {found.layers} layers x {found.projections} projections{spectrum}"


def _gpu(found: Estimate) -> str:
    if found.on_gpu:
        return "the time above, of every worker"
    return "on one H100 with 16 cores, by two runs in fp32 there: 135M and 7.6B"


def _size(n_bytes: int) -> str:
    size, unit = next(((size, unit) for size, unit in _UNITS if n_bytes >= size), (1, "bytes"))
    return f"{n_bytes / size:,.3g} {unit}"
