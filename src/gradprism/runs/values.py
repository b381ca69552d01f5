"""Read a number of each row of a run by name: scores, spectral measures, lengths, and columns of the data.

| name | value |
|---|---|
| `ifd`, `reward`, ... | the value of a scored metric |
| `ifd.ppl` | another numeric column of a scored metric |
| `effective_rank:q`, `effective_rank` | a spectral measure of one projection, or the mean of all; mean over layers |
| `effective_rank:q@10-19`, `effective_rank@5` | such a measure averaged over some layers |
| `length`, `prompt_length` | tokens of the response and of the prompt |
| `loss`, `perplexity` | mean negative log-likelihood of the response tokens, and its exponential |
| `column:NAME` | a column of the data |
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.metrics.registry import known_metrics
from gradprism.metrics.tables import SCORES
from gradprism.prism.measures import LAYER, MEAN, NULL_COLUMNS, Measure, known_measures
from gradprism.runs.layout import published_parts
from gradprism.runs.run import Run, open_run
from gradprism.runs.source_data import open_source_data

_SPECTRAL = re.compile(r"(?P<measure>\w+)(:(?P<projection>\w+))?(@(?P<first>\d+)(-(?P<last>\d+))?)?")
_IN_EXAMPLES = {"length": "n_response_tokens", "prompt_length": "n_prompt_tokens", "loss": "loss"}
_IN_SCORES = {  # where the run holds no spectra
    "length": ("ifd.n_tokens", "loss.n_tokens", "perplexity.n_tokens"),
    "prompt_length": ("length.n_prompt_tokens",),
}
_COLUMNS = ("row", "value", "reason")


def metric_values(run: str | Path | Run, spec: str) -> pl.DataFrame:
    """Return `row` and `value` of a metric of a run (opened, or its path), by row; null where the value is missing.

    Rows that have not been measured yet are missing. Raises `GradPrismError` for a name that the run does not have.
    """
    return metric_table(run if isinstance(run, Run) else open_run(run), spec).select("row", "value")


def metric_table(run: Run, spec: str) -> pl.DataFrame:
    """Return `row`, `value` and, for each null, the `reason` of a metric; see `metric_values`."""
    table = find_metric(run, spec)
    if table is None:
        raise unknown_metric(spec, metric_names(run))
    return table


def find_metric(run: Run, spec: str) -> pl.DataFrame | None:
    """Return `row`, `value` and `reason` of a metric; None where the run has no metric of that name."""
    for read in (_read_score, _read_score_column, _read_data_column, _read_measure, _read_perplexity, _read_count):
        table = read(run, spec)
        if table is not None:
            return _finite(table).select(_COLUMNS).sort("row")
    return None


def score_behind(run: Run, spec: str) -> str | None:
    """Return the name of the scores that a metric is read from; None if it is read from spectra or data, or unknown."""
    scored = run.metrics
    counted = () if _has_spectra(run) else _IN_SCORES.get(spec, ())
    read = [spec, *(["loss"] if spec == "perplexity" else counted)]
    names = (name if name in scored else name.rpartition(".")[0] for name in read)
    return next((name for name in names if name in scored), None)


def metric_names(run: Run) -> list[str]:
    """Return every name that `metric_values` accepts for this run, without layer ranges.

    For a run without spectra, columns of the data are among them if the data can be opened and is unchanged.
    """
    own = [f"{metric}.{name}" for metric in run.metrics for name in _own_numbers(run.scores(metric))]
    counted = [name for name in (*_IN_EXAMPLES, "perplexity") if name not in run.metrics]
    measured = list(_names_of_measures(run)) if _has_spectra(run) else []
    return [
        *run.metrics,
        *own,
        *(name for name in counted if find_metric(run, name) is not None),
        *measured,
        *(f"column:{name}" for name in _number_columns(run)),
    ]


def unknown_metric(spec: str, known: Iterable[str], kind: str = "metric") -> GradPrismError:
    """Make the error for an unknown name: what to do, or the nearest known name, and a list of all."""
    names = list(known)
    twin = [name for name in names if name == f"column:{spec}"]
    nearest = twin or difflib.get_close_matches(spec, names, n=1)
    hint = _what_to_do(spec, names) if kind == "metric" and not twin else ""
    hint = hint or (f" Did you mean {nearest[0]!r}?" if nearest else "")
    spectral = [name for name in names if name.partition(":")[0] in known_measures()]
    listed = [name for name in names if name not in spectral]
    if spectral:
        listed += _grouped_by_projection(spectral)
    return GradPrismError(f"Unknown {kind} {spec!r}.{hint}\nThere are {', '.join(listed) or '(none)'}.")


def _what_to_do(spec: str, names: Sequence[str]) -> str:
    """Say how to name several metrics, or how to measure or score one that is not there yet; empty for others."""
    classes, parts = known_metrics(), [part.strip() for part in spec.split(",")]
    if len(parts) > 1 and any(part.removeprefix("-") in {*names, *classes, *known_measures()} for part in parts):
        return (
            f" Expected one metric: repeat the option for several, as in {' '.join(f'--by {part}' for part in parts)}."
        )
    measures, measure = known_measures(), re.split("[:@]", spec)[0]
    measured = {name.partition(":")[0] for name in names} & {*measures}
    if measure in measures and not measured:
        return " It is a measure of gradients. Measure them: gradprism spectra DATA --model MODEL --out RUN."
    if measure in measures and measure not in measured and {*measures[measure].needs} & {*NULL_COLUMNS}:
        return " It is relative to a null, which was not drawn here. Measure into another run with --null-draws 4."
    metric = classes.get(spec.partition(".")[0])
    if metric is None or metric.name in names:
        return ""
    option = {"nothing": "", "judge": " --judge MODEL", "reward model": " --reward-model MODEL"}
    needs = option.get(metric.needs, " --model MODEL")
    return f" It is not scored yet. Score it: gradprism score --metric {metric.name}{needs} --out RUN."


def _names_of_measures(run: Run) -> Iterator[str]:
    """Yield MEASURE:PROJECTION of every measure of a run, and MEASURE:all of those of whole layers."""
    for name, measure in run.measures.items():
        yield from (
            f"{name}:{projection}" for projection in ([LAYER] if measure.of_layer else [*run.projections, MEAN])
        )


def _grouped_by_projection(names: Sequence[str]) -> list[str]:
    """Shorten names to {MEASURE,...}:{PROJECTION,...}, one entry for all measures with the same projections."""
    projections: dict[str, list[str]] = {}
    for name in names:
        measure, _, projection = name.partition(":")
        projections.setdefault(measure, []).append(projection)
    together: dict[tuple[str, ...], list[str]] = {}
    for measure, its in projections.items():
        together.setdefault(tuple(its), []).append(measure)
    braced = [(_braced(measures), _braced(its)) for its, measures in together.items()]
    return [f"{measures}:{its}" for measures, its in braced]


def _braced(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{{{','.join(names)}}}"


def is_ifd(spec: str) -> bool:
    """Return whether a name stands for an IFD, by its last part, as `ifd_qwen`, `ifd.ifd_loss`, `column:ifd_gpt2`."""
    return re.split(r"[.:]", spec)[-1].lower().split("_")[0] == "ifd"


def numbers(column: pl.Series, spec: str) -> pl.DataFrame:
    """Return a column of the data as `value`, with the `reason` of each null; text is parsed as numbers.

    Raises `GradPrismError` where the column has values and none is a number.
    """
    value = column.cast(pl.Float64, strict=False).alias("value")
    if value.null_count() == len(value) > column.null_count():
        raise GradPrismError(f"{spec} holds no numbers; the first value is {column.drop_nulls()[0]!r}.")
    reason = pl.when(column.is_null()).then(pl.lit("the row has no such value")).otherwise(pl.lit("not a number"))
    return _finite(pl.select(value, reason.alias("reason")))


def _finite(table: pl.DataFrame) -> pl.DataFrame:
    """Replace NaN and infinity by null, and give each null a reason, and only nulls."""
    odd = pl.col("value").is_not_null() & ~pl.col("value").is_finite()
    reason = pl.when(odd).then(pl.lit("not a finite number")).otherwise(pl.col("reason").fill_null("no value"))
    return table.with_columns(
        value=pl.when(~odd).then("value"),
        reason=pl.when(odd | pl.col("value").is_null()).then(reason),
    )


def _read_score(run: Run, spec: str) -> pl.DataFrame | None:
    return run.scores(spec).select(_COLUMNS) if spec in run.metrics else None


def _read_score_column(run: Run, spec: str) -> pl.DataFrame | None:
    metric, _, column = spec.rpartition(".")
    if metric not in run.metrics:
        return None
    scores = run.scores(metric)
    if column not in _own_numbers(scores):
        return None
    return scores.select("row", pl.col(column).cast(pl.Float64).alias("value"), "reason")


def _own_numbers(scores: pl.DataFrame) -> list[str]:
    return [
        name for name, kind in scores.schema.items() if name not in SCORES and (kind.is_numeric() or kind == pl.Boolean)
    ]


def _read_data_column(run: Run, spec: str) -> pl.DataFrame | None:
    if not spec.startswith("column:"):
        return None
    rows, columns = _columns(run)
    name = spec.removeprefix("column:")
    if name not in columns.columns:
        return None
    return numbers(columns[name], spec).with_columns(rows.alias("row"))


def _number_columns(run: Run) -> list[str]:
    with suppress(GradPrismError):
        _, columns = _columns(run)
        return [column.name for column in columns if _holds_numbers(column)]
    return []


def _holds_numbers(column: pl.Series) -> bool:
    with suppress(GradPrismError):
        return bool(numbers(column, column.name).height)
    return False


def _columns(run: Run) -> tuple[pl.Series, pl.DataFrame]:
    """Return row numbers and the scalar columns of the data, for a run without spectra read from the data itself."""
    if _has_spectra(run):
        found = run.columns
        renamed = {"row (data)": "row", "example_id (data)": "example_id"}
        return found["row"], found.drop("row", "example_id").rename(renamed, strict=False)
    examples = [(example.row, example.columns) for example in open_source_data(run)]
    rows = pl.Series("row", [row for row, _ in examples], dtype=pl.Int64)
    return rows, pl.DataFrame([columns for _, columns in examples], infer_schema_length=None, strict=False)


def _has_spectra(run: Run) -> bool:
    return bool(published_parts(run.path))


def _read_measure(run: Run, spec: str) -> pl.DataFrame | None:
    """Average a measure over layers (and projections), without those where it is undefined."""
    match = _SPECTRAL.fullmatch(spec)
    measure = run.measures.get(match["measure"]) if match and _has_spectra(run) else None
    if not match or measure is None:
        return None
    name, projection = measure.name, match["projection"] or (LAYER if measure.of_layer else MEAN)
    if projection not in _projections_of(run, measure):
        return None
    spectra = run.scan_layer_measure(name) if measure.of_layer else run.scan_measures([name])
    spectra = spectra.rename({name: "value"})
    if projection not in (MEAN, LAYER):
        spectra = spectra.filter(pl.col("projection") == projection)
    if match["first"]:
        spectra = spectra.filter(pl.col("layer").is_between(*_layers(run, spec, match)))
    means = spectra.group_by("row").agg(pl.col("value").mean())
    examples = run.scan("examples").select("row", "reason")
    return examples.join(means, on="row", how="left").select(_COLUMNS).collect()


def _layers(run: Run, spec: str, match: re.Match[str]) -> tuple[int, int]:
    first, last = int(match["first"]), int(match["last"] or match["first"])
    ends = run.scan("spectra").select(pl.col("layer").min().alias("low"), pl.col("layer").max().alias("high"))
    low, high = ends.collect().row(0)
    if low is not None and not low <= first <= last <= high:
        raise GradPrismError(f"{spec}: expected layers FIRST-LAST within {low}-{high}, those that were measured.")
    return first, last


def _read_perplexity(run: Run, spec: str) -> pl.DataFrame | None:
    if spec != "perplexity":
        return None
    loss = _read_score(run, "loss")
    loss = _read_count(run, "loss") if loss is None else loss
    return None if loss is None else loss.with_columns(pl.col("value").exp())


def _read_count(run: Run, spec: str) -> pl.DataFrame | None:
    if spec in _IN_EXAMPLES and _has_spectra(run):
        value = pl.col(_IN_EXAMPLES[spec]).cast(pl.Float64).alias("value")
        return run.scan("examples").select("row", value, "reason").collect()
    found = (_read_score_column(run, name) for name in _IN_SCORES.get(spec, ()))
    return next((table for table in found if table is not None), None)


def _projections_of(run: Run, measure: Measure) -> list[str]:
    """Return the projections that a measure has a value for: each one and `mean`, or `all` for whole layers."""
    return [LAYER] if measure.of_layer else [*run.projections, MEAN]
