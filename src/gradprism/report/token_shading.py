"""Loss and gradient size of each token of single examples, read from the runs of a comparison."""

import base64
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.core.errors import GradPrismError
from gradprism.core.progress import Say
from gradprism.report.example_curves import unchanged_run
from gradprism.report.page_json import rounded
from gradprism.report.paths import first_line_without_paths, known_paths
from gradprism.runs.run import Run

MOST_TOKENS = 3000  # of an example
_BYTES = 8  # of a token on the page
_CHUNK = 16  # examples that are inflated together
_ROWS_AT_ONCE = 128
_DIGITS = 3
_COLUMNS = ("pieces", "loss", "gradient_size")


@dataclass
class ExampleTokens:
    """The tokens of each example as JSON, in the order of the table that they were read for; None where unknown.

    `missing` says by group why there are none.
    """

    tokens: list[str | None] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def json(self, rows: Sequence[int]) -> dict[str, Any] | None:
        """Pack some of the examples for the page; None where nothing was read."""
        if not self.tokens:
            return None
        some = [(row, self.tokens[row]) for row in rows]
        present = [text for _, text in some if text is not None]
        numbers = iter(range(len(present)))
        return {
            "index": [None if text is None else next(numbers) for _, text in some],
            "per_chunk": _CHUNK,
            "chunks": [_deflated(present[start : start + _CHUNK]) for start in range(0, len(present), _CHUNK)],
            "missing": self.missing,
        }


def read_tokens(
    comparison: Comparison, examples: pl.DataFrame, order: str, most_bytes: float, say: Say
) -> ExampleTokens:
    """Read the tokens of `examples`, rows of `Comparison.examples`, as many as fit in `most_bytes` of the page.

    Those that are first by the column `order` are read. A run that is gone, has changed or was measured without tokens
    leaves a sentence in `missing` and never raises.
    """
    found = ExampleTokens([None] * examples.height)
    chosen = _that_fit(examples.with_row_index("index"), order, most_bytes)
    for group in comparison.groups:
        rows = chosen.filter(pl.col("group") == group.name)
        say(f"reading the tokens of {group.name}")
        try:
            read = [row for frame in _frames(unchanged_run(group, rows), rows) for row in frame.iter_rows()]
        except (GradPrismError, OSError, pl.exceptions.PolarsError) as problem:
            found.missing[group.name] = first_line_without_paths(problem, known_paths(comparison))
            continue
        for index, *values in read:
            found.tokens[index] = _json_of(*values)
    return found


def _that_fit(examples: pl.DataFrame, order: str, most_bytes: float) -> pl.DataFrame:
    """Return the first examples by the column `order` whose tokens take no more than so many bytes together."""
    n_tokens = pl.sum_horizontal("n_prompt_tokens", "n_response_tokens").clip(upper_bound=MOST_TOKENS)
    return examples.sort(order, maintain_order=True).filter(_BYTES * n_tokens.cum_sum() <= most_bytes)


def _frames(run: Run, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield index, tokens, losses, sizes and the number of tokens left out, of examples cut to `MOST_TOKENS`."""
    n_cut = (pl.col("pieces").list.len().cast(pl.Int64) - MOST_TOKENS).clip(lower_bound=0).alias("n_cut")
    scanned = run.scan("tokens").select("row", pl.col(_COLUMNS).list.head(MOST_TOKENS), n_cut)
    for start in range(0, rows.height, _ROWS_AT_ONCE):
        some = rows.slice(start, _ROWS_AT_ONCE).select("row", "index")
        frame = scanned.filter(pl.col("row").is_in(some["row"].to_list())).collect().join(some, on="row")
        yield frame.select("index", *_COLUMNS, "n_cut")


def _json_of(pieces: list[str], losses: list[float | None], sizes: list[float], n_cut: int) -> str:
    columns = [[rounded(value, _DIGITS) for value in values] for values in (losses, sizes)]
    return json.dumps([pieces, *columns, n_cut], ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _deflated(examples: Sequence[str]) -> str:
    return base64.b64encode(zlib.compress(f"[{','.join(examples)}]".encode(), 9)).decode("ascii")
