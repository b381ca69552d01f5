"""Comparisons whose runs and data are on the disk, with made-up numbers and any texts, for the report on them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.findings import findings
from gradprism.core.settings import recipe_text
from gradprism.data.example_set import open_examples
from gradprism.data.settings import ReadSettings
from gradprism.measurement.settings import SpectraRecipe
from gradprism.models.settings import CheckpointSettings
from gradprism.prism.tables import EXAMPLES, SIMILARITY, SPECTRA, TOKENS, Tables
from gradprism.runs.record import data_record
from gradprism.runs.writer import RunWriter
from tests.made_comparisons import PROJECTIONS, made_comparison

WORDS = ("light", "prism", "layer", "gradient", "token", "because", "therefore", "water", "energy", "step", "reason")
PART_ROWS = 128
FOUND_AGAIN: dict[str, object] = {
    "q": 0.001, "weighted_n_first": 20.4, "weighted_n_second": 18.2, "weighted_imbalance": 0.01,
    "weighted_effect": 0.09, "weighted_low": 0.03, "weighted_high": 0.15, "weighted_p": 0.001, "weighted_q": 0.004,
}  # fmt: skip
"""Values of EFFECTS in which overlap weights find the raw difference again."""
WINDOWS: dict[str, object] = {
    "window_tokens": 64, "window_n_first": 9, "window_n_second": 8, "window_effect": 0.1, "window_low": -0.4,
    "window_high": 0.6, "window_q": 0.5,
}  # fmt: skip
"""Values of EFFECTS in which windows of equally many tokens cannot say."""


def made_report(
    folder: Path,
    n: int = 6,
    layers: int = 3,
    rank: int = 20,
    texts: Mapping[str, Sequence[tuple[str, str]]] = {},
    tokens: Sequence[str] = (),
    sketches: Mapping[str, np.ndarray] = {},
) -> Comparison:
    """A comparison of two groups `high` and `low`; `texts` replaces the first prompts and responses of a group.

    The runs of the groups `tokens` hold the tokens of their texts, those of `sketches` a sketch of each row.
    """
    comparison = made_comparison(("high", "low"), n, layers)
    for place, group in enumerate(("high", "low")):
        rows = [*texts.get(group, ()), *_texts(n, place)][:n]
        data = written(folder / f"{group}.jsonl", group, rows)
        known = rows if group in tokens else None
        table = comparison.examples.filter(group=group)
        made_run(folder / group, data, table, layers, rank, place, known, sketches.get(group))
    groups = tuple(replace(group, run=str(folder / group.name)) for group in comparison.groups)
    return replace(comparison, groups=groups)


def with_target(comparison: Comparison, name: str, values: Sequence[float], **effects: object) -> Comparison:
    """The same with the influence of every example on a target, and a row of EFFECTS on it for each contrast."""
    metric = f"influence:{name}"
    examples = comparison.examples.with_columns(pl.Series(metric, values, dtype=pl.Float64))
    made = [pl.lit(value).cast(comparison.effects.schema[column]).alias(column) for column, value in effects.items()]
    rows = comparison.effects.filter(measure="ifd").with_columns(pl.lit(metric).alias("measure"), *made)
    about = {**comparison.about, "metrics": (*comparison.about["metrics"], metric)}
    return replace(comparison, examples=examples, effects=pl.concat([comparison.effects, rows]), about=about)


def with_effects(comparison: Comparison, **values: object) -> Comparison:
    """The same with other values in columns of EFFECTS, in every row."""
    columns = [pl.lit(value).cast(comparison.effects.schema[name]).alias(name) for name, value in values.items()]
    return replace(comparison, effects=comparison.effects.with_columns(columns))


def judged(comparison: Comparison, **values: object) -> Comparison:
    """The same with these values in every row of EFFECTS, and the findings that they give."""
    changed = with_effects(comparison, **values)
    return replace(changed, findings=tuple(findings(changed.effects, comparison.measures)))


def alone(comparison: Comparison) -> Comparison:
    """The same without contrasts, as of a run that is compared with no other."""
    return replace(comparison, effects=comparison.effects.clear(), rd=comparison.rd.clear(), contrasts=(), findings=())


def written(path: Path, group: str, rows: Sequence[tuple[str, str]]) -> Path:
    lines = [json.dumps({"id": f"{group}-{i}", "prompt": p, "response": r}) for i, (p, r) in enumerate(rows)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def made_run(
    path: Path,
    data: Path,
    table: pl.DataFrame,
    layers: int,
    rank: int,
    seed: int,
    texts: Sequence[tuple[str, str]] | None = None,
    sketches: np.ndarray | None = None,
) -> None:
    """A run of `data` whose examples are those of a comparison's table; with tokens of `texts`, `sketches` (n, d)."""
    rng = np.random.default_rng(seed)
    recipe = SpectraRecipe(data=(str(data),), checkpoint=CheckpointSettings(model="tiny"), out=str(path))
    identity = {"prism.projections": ",".join(PROJECTIONS), "text.turns": "all", "read.limit": table.height}
    if texts is not None:
        identity["prism.tokens"] = True
    if sketches is not None:
        identity["prism.sketch"] = sketches.shape[1]
    description = {"identity": identity, "sessions": [], "data": data_record(open_examples(str(data), ReadSettings()))}
    with RunWriter(path, description) as writer:
        writer.write_text("recipe.yaml", recipe_text(recipe))
        for part, start in enumerate(range(0, table.height, PART_ROWS)):
            rows = table.slice(start, PART_ROWS)
            tokens = None if texts is None else _tokens(rows, texts)
            sketch = None if sketches is None else _sketches(rows, sketches)
            spectra = _spectra(rng, rows["row"].to_list(), layers, rank)
            tables = Tables(_examples(rows), spectra, _empty(), tokens, sketch)
            writer.publish(part, tables)


def _texts(n: int, seed: int) -> list[tuple[str, str]]:
    """Prompts of about 200 and responses of about 1,300 characters, of words."""
    rng = np.random.default_rng(seed)
    sentence = lambda words: " ".join(rng.choice(WORDS, words)) + "."  # noqa: E731
    return [(sentence(30), sentence(int(rng.integers(20, 400)))) for _ in range(n)]


def _examples(rows: pl.DataFrame) -> pl.DataFrame:
    known = rows.select("example_id", "row", "n_prompt_tokens", "n_response_tokens", "truncated", "loss")
    frame = known.with_columns(pl.lit("ok").alias("status"), pl.lit("{}").alias("columns"))
    missing = [pl.lit(None).cast(kind).alias(name) for name, kind in EXAMPLES.items() if name not in frame.columns]
    return frame.with_columns(missing).select(EXAMPLES.names()).cast(dict(EXAMPLES))


def _spectra(rng: np.random.Generator, rows: list[int], layers: int, rank: int) -> pl.DataFrame:
    cells = [(row, layer, name) for row in rows for layer in range(layers) for name in PROJECTIONS]
    powers = np.sort(rng.lognormal(0, 0.6, (len(cells), rank)), axis=1)[:, ::-1]
    values = powers * np.arange(1, rank + 1) ** -1.1
    shares = values / values.sum(axis=1, keepdims=True)
    measured = {
        "nuclear_norm": values.sum(axis=1), "effective_rank": np.exp(-(shares * np.log(shares)).sum(axis=1)),
        "frobenius_norm": np.sqrt((values**2).sum(axis=1)), "spectral_norm": values[:, 0],
    }  # fmt: skip
    frame = pl.DataFrame(cells, schema=["row", "layer", "projection"], orient="row").with_columns(
        *(pl.Series(name, column) for name, column in measured.items()),
        pl.Series("singular_values", values.astype(np.float32), dtype=pl.List(pl.Float32)),
    )
    missing = [pl.lit(None).cast(kind).alias(name) for name, kind in SPECTRA.items() if name not in frame.columns]
    return frame.with_columns(missing).select(SPECTRA.names()).cast(dict(SPECTRA))


def _sketches(rows: pl.DataFrame, values: np.ndarray) -> pl.DataFrame:
    own = values[rows["row"].to_numpy()].astype(np.float16)
    sketch = pl.Series("sketch", own, dtype=pl.Array(pl.Float16, values.shape[1]))
    return rows.select("example_id", "row", pl.lit(1.0).alias("norm")).with_columns(sketch)


def _tokens(rows: pl.DataFrame, texts: Sequence[tuple[str, str]]) -> pl.DataFrame:
    """Words as tokens. The loss of the i-th one, counted from 0, is i / 4, and its gradient size 2^-i."""
    found = []
    for row, name in rows.select("row", "example_id").iter_rows():
        prompt, response = (re.findall(r"\s*\S+|\s+", text) for text in texts[row])
        pieces = [*prompt, "\n", *response]
        losses = [None if i <= len(prompt) else i / 4 for i in range(len(pieces))]
        sizes = [2.0 ** -min(i, 60) for i in range(len(pieces) - 1)] + [0.0]
        found.append(
            (name, row, [0] * len(pieces), pieces, losses, sizes, [{"projection": "q", "gradient_size": sizes}])
        )
    return pl.DataFrame(found, schema=TOKENS, orient="row")


def _empty() -> pl.DataFrame:
    return pl.DataFrame(schema=SIMILARITY)
