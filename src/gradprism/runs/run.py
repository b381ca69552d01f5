"""Read a run: its tables as polars or pandas frames, its counts, and its summary."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.core.settings import one_or_several
from gradprism.core.summary_lines import describe_text, lines_as_html, lines_as_text
from gradprism.files.parquet import scan_parts
from gradprism.files.paths import to_path
from gradprism.metrics.tables import SCORES
from gradprism.prism.measures import LAYER, MEASURES, TAIL_COLUMNS, Measure, available_measures, with_measures
from gradprism.prism.settings import PrismSettings
from gradprism.prism.tables import EXAMPLES, SIMILARITY, TOKENS, sketches_schema, spectra_schema
from gradprism.runs.checks import faults_of_scores, faults_of_spectra, raise_first
from gradprism.runs.layout import (
    OPTIONAL_TABLES,
    part_path,
    published_parts,
    read_record,
    score_table,
    scored_metrics,
    tables_of,
)
from gradprism.runs.measured_layers import describe_measured_layers
from gradprism.runs.scores import read_score_record
from gradprism.runs.sketches import Sketches, read_sketches
from gradprism.runs.wide_table import wide_table

if TYPE_CHECKING:
    import datasets
    import pandas as pd

_STORED_BY = {"tokens": "--tokens", "sketches": "--sketch 4096"}


@dataclass(frozen=True)
class Counts:
    """The numbers of rows by status, and of tokens."""

    rows: int  # chosen
    done: int  # published
    ok: int
    skipped: int
    failed: int
    truncated: int | None  # None, like the token counts, where it is not known: for imported rows
    reasons: dict[str, int]  # of skipped and failed rows
    tokens: int | None
    response_tokens: int | None


class Run:
    """A run directory, opened for reading. Tables are read when they are used, from published parts only."""

    def __init__(self, path: Path):
        """Open a run. Raises `GradPrismError` where the path is not one."""
        self.path = path
        self.record = read_record(path)
        self._checked = list[int]()  # parts whose files were found to be what was written

    def scan(self, table: str) -> pl.LazyFrame:
        """Return a table as a lazy polars frame, which reads only the columns and rows that are used."""
        schemas = self._schemas()
        if table not in schemas:
            raise GradPrismError(f"No table {table!r} in a run; there are {', '.join(schemas)}.")
        if table in OPTIONAL_TABLES and table not in tables_of(self.record):
            raise GradPrismError(
                f"The run {self.path} holds no {table}. Measure it with {_STORED_BY[table]}, which stores them."
            )
        parts = published_parts(self.path)
        if not parts:
            return pl.LazyFrame(schema=schemas[table])
        if parts != self._checked and self.has_spectra:
            raise_first(self.path, faults_of_spectra(self.path, self.record))
            self._checked = parts
        return scan_parts([part_path(self.path, table, index) for index in parts])

    def _schemas(self) -> dict[str, pl.Schema]:
        identity = self.record.get("identity", {})
        deciding = {name: identity.get(f"prism.{name}") for name in ("null_draws", "precision", "spectrum")}
        options = {name: value for name, value in deciding.items() if value is not None}
        return {
            "examples": EXAMPLES,
            "spectra": spectra_schema(PrismSettings(**options)),
            "similarity": SIMILARITY,
            "tokens": TOKENS,
            "sketches": sketches_schema(identity.get("prism.sketch", 0)),
        }

    @property
    def measures(self) -> dict[str, Measure]:
        """The measures that the run stores, or that can be computed from its columns, by name."""
        return available_measures(self.scan("spectra").collect_schema().names())

    def table(self) -> pl.DataFrame:
        """Return one wide table, a row for each example, with the names that `gradprism.select` knows.

        `row`, `example_id`; `status`, `reason`, token counts and `loss`; the mean of each measure over projections and
        layers (`effective_rank:mean`; `gradient_l2:all` for measures of whole layers); the value of each scored metric
        (`ifd`); and the data's own scalar columns (`column:kind`). A run of scores alone has only ids and scores.
        """
        return wide_table(self)

    def scan_measures(self, names: str | Sequence[str]) -> pl.LazyFrame:
        """Return measures as a lazy frame: `row`, `layer`, `projection`, and one column for each measure."""
        names, known = one_or_several(names), self.measures
        missing = [name for name in names if name not in known or known[name].of_layer]
        if missing:
            raise GradPrismError(f"The run {self.path} holds no {', '.join(missing)}; there are {', '.join(known)}.")
        spectra = self.scan("spectra").drop("singular_values")
        if any(known[name].expression for name in names):
            spectra = spectra.join(self.scan("examples").select("row", "loss"), on="row", how="left")
        return with_measures(spectra, names).select("row", "layer", "projection", *names)

    def scan_layer_measure(self, name: str, projections: str | Sequence[str] = ()) -> pl.LazyFrame:
        """Return a measure of whole layers as a lazy frame: `row`, `layer`, `projection` (`all`) and the measure.

        It is computed from these projections together; from all measured ones where none are named.
        """
        expression = self.measures[name].expression
        assert expression is not None
        spectra = self.scan("spectra")
        if projections:
            spectra = spectra.filter(pl.col("projection").is_in(one_or_several(projections)))
        whole = spectra.group_by("row", "layer").agg(expression().alias(name))
        return whole.select("row", "layer", pl.lit(LAYER).alias("projection"), name)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that were scored."""
        return tuple(scored_metrics(self.path))

    def scores(self, metric: str) -> pl.DataFrame:
        """Return the scores of one metric, a row each; `gradprism.metrics.tables.SCORES` are the columns all share."""
        return self.scan_scores(metric).sort("row").collect()

    def scan_scores(self, metric: str) -> pl.LazyFrame:
        """Return the scores of one metric as a lazy frame, which reads only the columns and rows that are used."""
        if metric not in self.metrics:
            raise GradPrismError(
                f"The run {self.path} holds no scores of {metric!r}; it has {', '.join(self.metrics) or '(none)'}."
            )
        table = score_table(metric)
        parts = published_parts(self.path, table)
        raise_first(self.path, faults_of_scores(self.path, metric, self.score_record(metric), self.record["data"]))
        return (
            scan_parts([part_path(self.path, table, index) for index in parts])
            if parts
            else pl.LazyFrame(schema=SCORES)
        )

    def score_record(self, metric: str) -> dict[str, Any]:
        """Return the record of one metric's scores: model or judge, settings, sessions."""
        return read_score_record(self.path, metric)

    @property
    def examples(self) -> pl.DataFrame:
        """The table of examples, one row each; see `gradprism.prism.tables.EXAMPLES`."""
        return self.scan("examples").collect()

    @property
    def spectra(self) -> pl.DataFrame:
        """The table of measures, one row for each projection, layer and example, without the singular values."""
        return self.scan("spectra").drop("singular_values").collect()

    @property
    def singular_values(self) -> pl.DataFrame:
        """The singular values, one row for each projection, layer and example; sums over those not stored, if any."""
        columns = ["example_id", "row", "layer", "projection", "singular_values", *TAIL_COLUMNS]
        spectra = self.scan("spectra")
        there = spectra.collect_schema().names()
        return spectra.select(name for name in columns if name in there).collect()

    @property
    def similarity(self) -> pl.DataFrame:
        """The table of cosines; see `gradprism.prism.tables.SIMILARITY`."""
        return self.scan("similarity").collect()

    @property
    def tokens(self) -> pl.DataFrame:
        """The loss and gradient size of each token, one row an example; see `gradprism.prism.tables.TOKENS`.

        Raises `GradPrismError` where the run was measured without them.
        """
        return self.scan("tokens").collect()

    @cached_property
    def sketches(self) -> Sketches:
        """The sketches of the gradients, as one array. Raises `GradPrismError` where the run was measured without."""
        self.scan("sketches")  # refuses what is not there or not whole
        return read_sketches(self.path)

    def to_pandas(self, table: str) -> "pd.DataFrame":
        """Return a whole table as a pandas frame."""
        return self.scan(table).collect().to_pandas()

    def to_datasets(self) -> "datasets.Dataset":
        """Return the wide table, `Run.table`, as a data set of Hugging Face's library."""
        import datasets

        return datasets.Dataset.from_polars(self.table())

    def to_duckdb(self, connection: Any = None) -> Any:
        """Return a DuckDB connection with a view of each table, and of the scores of each metric, to ask in SQL.

        `connection`: one of yours; a new one in memory where None. The views are `examples`, `spectra`, `similarity`,
        ..., `scores_METRIC`, and `wide` (`Run.table`). They read the run's files: nothing is copied but `wide`. Raises
        `GradPrismError` for a run in an object store, and where duckdb is not installed.
        """
        from gradprism.runs.sql import connect

        return connect(self, connection)

    @property
    def has_spectra(self) -> bool:
        """True if gradients were measured; a run may hold scores only."""
        return "identity" in self.record

    @property
    def has_tokens(self) -> bool:
        """True if the loss and gradient size of each token are stored."""
        return "tokens" in tables_of(self.record)

    @property
    def has_sketches(self) -> bool:
        """True if sketches of the gradients are stored."""
        return "sketches" in tables_of(self.record)

    @property
    def projections(self) -> tuple[str, ...]:
        """The measured projections, as the model has them; as requested while no model was loaded yet."""
        if not self.has_spectra:
            return ()
        requested = self.record["identity"]["prism.projections"].split(",")
        return tuple(self.record.get("model", {}).get("projections", requested))

    @cached_property
    def columns(self) -> pl.DataFrame:
        """The scalar columns of the data, beside `row` and `example_id`; the data's own `row` is `row (data)`."""
        examples = self.scan("examples").select("example_id", "row", "columns").collect()
        decoded = examples["columns"].str.json_decode(infer_schema_length=None)
        if not isinstance(decoded.dtype, pl.Struct):
            return examples.drop("columns")
        own = decoded.struct.unnest().rename(lambda name: f"{name} (data)" if name in ("row", "example_id") else name)
        return examples.drop("columns").hstack(own)

    @property
    def layer_means(self) -> pl.DataFrame:
        """Means of each measure over examples, for every projection and layer."""
        grouped = self.scan("spectra").group_by("projection", "layer").agg(pl.col(MEASURES).mean(), pl.len().alias("n"))
        return grouped.sort("projection", "layer").collect()

    @cached_property
    def counts(self) -> Counts:
        """The numbers of rows by status, with reasons, and of tokens."""
        examples = (
            self.scan("examples").select("status", "reason", "truncated", "n_tokens", "n_response_tokens").collect()
        )
        by_status = Counter(examples["status"].to_list())
        ok = examples.filter(pl.col("status") == "ok")
        return Counts(
            rows=self.record["data"]["rows"],
            done=examples.height,
            ok=by_status["ok"],
            skipped=by_status["skipped"],
            failed=by_status["failed"],
            truncated=_total(ok["truncated"]),
            reasons=dict(Counter(reason for reason in examples["reason"].to_list() if reason).most_common()),
            tokens=_total(ok["n_tokens"]),
            response_tokens=_total(ok["n_response_tokens"]),
        )

    @property
    def is_complete(self) -> bool:
        """True if every chosen row has been published."""
        return self.counts.done == self.counts.rows

    def __repr__(self) -> str:
        """Summarise the run in a few lines."""
        return lines_as_text(self.summary_lines)

    def _repr_html_(self) -> str:
        """Summarise the run as a small table, with the layer means, for a notebook."""
        if not self.has_spectra:
            return lines_as_html(self.summary_lines)
        means = self.layer_means.group_by("projection", maintain_order=True).agg(
            pl.col("nuclear_norm", "effective_rank", "stable_rank").mean()
        )
        return lines_as_html(self.summary_lines) + str(means._repr_html_())

    @property
    def summary_lines(self) -> list[tuple[str, str]]:
        """The summary of the run: names and texts."""
        data = self.record["data"]
        sources = ("data", f"{', '.join(data['sources'])}  {data['schema']}")
        if not self.has_spectra:
            return [("run", f"{self.path}  (scores alone)"), sources, ("rows", f"{data['rows']:,}")]
        counts, model, settings = self.counts, self.record["model"], self.record["identity"]
        state = "complete" if self.is_complete else f"{counts.done:,} of {counts.rows:,} rows so far"
        arithmetic = settings.get("arithmetic")
        return [
            ("run", f"{self.path}  ({state})"),
            ("model", f"{model['name']}  {', '.join(self._model_kind)}"),
            *(("measured", text) for text in describe_measured_layers(model, settings["prism.projections"].split(","))),
            *([("precision", f"{settings['prism.precision']} ({arithmetic})")] if arithmetic else []),
            *([("spectra", settings["spectra"])] if "spectra" in settings else []),
            sources,
            *([("imported", self.record["imported"]["in_words"])] if "imported" in self.record else []),
            *self._text_lines,
            ("cost", self._cost),
        ]

    @property
    def _model_kind(self) -> list[str]:
        """Class, number of layers and type of the model, as far as they are known."""
        model, settings = self.record["model"], self.record["identity"]
        scratch = "random weights" if settings.get("checkpoint.from_scratch") else None
        return [part for part in (model["class"], f"{model['layers']} layers", model["dtype"], scratch) if part]

    @property
    def text_settings(self) -> dict[str, Any]:
        """The settings of the text, and why its template was chosen."""
        settings = self.record["identity"]
        own = {name.removeprefix("text."): value for name, value in settings.items() if name.startswith("text.")}
        return own | {"why": self.record.get("template", {}).get("why")}

    @property
    def _text_lines(self) -> list[tuple[str, str]]:
        counts, settings = self.counts, self.record["identity"]
        rows = f"{counts.ok:,} ok, {counts.skipped:,} skipped, {counts.failed:,} failed = {counts.done:,}"
        if counts.tokens is None or "text.template" not in settings:
            return [("rows", rows), ("tokens", "not known")]
        return [
            ("template", describe_text(self.text_settings)),
            ("rows", f"{rows}; {counts.truncated:,} truncated"),
            ("tokens", f"{counts.tokens:,}, of them {counts.response_tokens:,} in responses"),
        ]

    @property
    def _cost(self) -> str:
        sessions = self.record["sessions"]
        if not sessions:
            return "not known: no session has ended by itself yet"
        seconds = sum(session["seconds"] for session in sessions)
        peak = max((session["peak_memory_mib"] or 0) for session in sessions)
        times = f"{seconds:,.1f} s" + (f" in {len(sessions)} sessions" if len(sessions) > 1 else "")
        retries = sum(session.get("retries", 0) for session in sessions)
        workers = max(session.get("workers", 1) for session in sessions)
        retried = f", {retries:,} retries of shards" if retries > 1 else ", 1 retry of a shard" if retries else ""
        of_each = f" in each of {workers} workers" if workers > 1 else ""
        return f"{times}{retried}, peak memory {peak / 1024:.1f} GiB{of_each}"

    def summary(self) -> dict[str, Any]:
        """Return the content of `--json`: counts, and the mean of each measure for every projection."""
        if not self.has_spectra:
            return {"run": str(self.path), "rows": self.record["data"]["rows"], "metrics": list(self.metrics)}
        means = self.scan("spectra").group_by("projection").agg(pl.col(MEASURES).mean())
        return {
            "run": str(self.path),
            "complete": self.is_complete,
            "counts": vars(self.counts),
            "measures": {row.pop("projection"): row for row in means.sort("projection").collect().to_dicts()},
            "sessions": self.record.get("sessions", []),
            "metrics": list(self.metrics),
        }


def _total(column: pl.Series) -> int | None:
    """Return the sum of a column; None where it has nulls."""
    return int(column.sum()) if column.count() == len(column) else None


def open_run(path: str | Path) -> Run:
    """Open a run directory, or one in an object store (`s3://bucket/run`), for reading.

    Raises `GradPrismError` where it is not a run.
    """
    return Run(to_path(path))
