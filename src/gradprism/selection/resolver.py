"""Gather the numbers that a selection names: metrics of a run, and columns of the data."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need
from gradprism.runs.run import Run
from gradprism.runs.values import find_metric, metric_names, numbers, unknown_metric
from gradprism.selection.exclusions import PERPLEXITY, Candidates, RowSketches, where_names
from gradprism.selection.settings import SelectSettings
from gradprism.selection.survey import Survey
from gradprism.set_diversity.sketched_rows import has_direction, refuse_without_sketches


def columns_named(settings: SelectSettings) -> set[str]:
    """Return the columns of the data that the settings may name."""
    named = {*settings.metrics, *where_names(settings.where), settings.stratify or ""}
    return {name.removeprefix("column:") for name in named if name}


@dataclass(frozen=True)
class Resolver:
    """Resolver of the names in the settings: metrics of a run, columns of the data, or neither."""

    run: Run | None
    survey: Survey

    def candidates(self, settings: SelectSettings) -> Candidates:
        """Gather every number that the settings name, a row each."""
        metrics = {name: self._metric(name) for name in settings.metrics}
        if settings.max_perplexity is not None:
            metrics[PERPLEXITY] = self._perplexity()
        columns = dict[str, pl.Series]()
        for name in where_names(settings.where):
            if name not in metrics and (table := self._of_run(name)) is not None:
                metrics[name] = table
            elif name not in metrics:
                columns[name] = self._column(name, "metric or column")
        if settings.stratify:
            columns[settings.stratify] = self._column(settings.stratify, "column")
        length, prompt_length, unit = self._lengths(settings)
        return Candidates(
            self.survey.rows,
            values=pl.DataFrame([table["value"].alias(name) for name, table in metrics.items()]),
            reasons=pl.DataFrame([table["reason"].alias(name) for name, table in metrics.items()]),
            columns=pl.DataFrame([column.alias(name) for name, column in columns.items()]),
            length=length.alias("length"),
            length_unit=unit,
            prompt_length=prompt_length,
            sketches=self._sketches(settings) if settings.ways else None,
        )

    def _sketches(self, settings: SelectSettings) -> RowSketches | None:
        """Return the sketches of a run. Raises `GradPrismError` where they are needed, and it has none."""
        if self.run is None or not (settings.needs_sketches or self.run.has_sketches):
            return None
        need("scipy", "diversity")
        refuse_without_sketches(self.run)
        sketches = self.run.sketches
        usable = np.flatnonzero(has_direction(sketches.values))
        found = pl.DataFrame({"row": sketches.rows[usable], "at": usable})
        at = self.survey.rows.select("row").join(found, on="row", how="left").sort("row")["at"].fill_null(-1)
        return RowSketches(sketches.values, at.to_numpy())

    def _metric(self, spec: str) -> pl.DataFrame:
        """Return `value` and `reason` of a metric, a row each. Raises `GradPrismError` for an unknown name."""
        column = self.survey.columns.get(spec.removeprefix("column:"))
        if spec.startswith("column:") and column is not None:
            return numbers(column, spec)
        table = self._of_run(spec)
        if table is None:
            raise unknown_metric(spec, self._known())
        return table

    def _of_run(self, spec: str) -> pl.DataFrame | None:
        """Return a metric of the run for all rows of the data; of data alone only its length in characters."""
        if spec.startswith("column:"):
            return None
        if self.run is None:
            return numbers(self.survey.characters, spec) if spec == "length" else None
        table = find_metric(self.run, spec)
        if table is None:
            return None
        joined = self.survey.rows.select("row").join(table, on="row", how="left").sort("row")
        missing = joined["value"].is_null() & joined["reason"].is_null()
        return joined.select("value", reason=pl.when(missing).then(pl.lit("not scored yet")).otherwise("reason"))

    def _perplexity(self) -> pl.DataFrame:
        """Return the perplexity of each row. Raises `GradPrismError` where nothing holds a loss."""
        table = self._of_run(PERPLEXITY)
        if table is None:
            what = "the data alone have none" if self.run is None else f"the run {self.run.path} holds no loss"
            raise GradPrismError(
                f"--max-perplexity needs perplexities, and {what}. Expected a run with spectra, or with losses: "
                "gradprism score DATA --metric loss --model MODEL --out RUN, then gradprism select RUN. "
                "A column of the data can be cut by --where."
            )
        return table

    def _known(self) -> list[str]:
        columns = [f"column:{name}" for name in sorted(self.survey.numeric)]
        measured = metric_names(self.run) if self.run else ["length"]
        return list(dict.fromkeys([*measured, *columns]))

    def _column(self, name: str, kind: str) -> pl.Series:
        column = self.survey.columns.get(name.removeprefix("column:"))
        if column is None:
            columns = sorted(self.survey.names)
            raise unknown_metric(name, columns if kind == "column" else [*self._known(), *columns], kind)
        return column

    def _lengths(self, settings: SelectSettings) -> tuple[pl.Series, pl.Series | None, str]:
        """Return the lengths of responses and prompts, and the unit: characters where no run has counted tokens.

        Raises `GradPrismError` where --given needs prompts that nothing has counted.
        """
        response, prompt = (self._of_run(name) if self.run else None for name in ("length", "prompt_length"))
        if response is None:
            return self.survey.characters, self.survey.prompt_characters, "characters"
        if prompt is None and settings.given:
            raise GradPrismError(
                "--given length needs the tokens of prompts too, which this run has not counted. Expected spectra, or: "
                "gradprism score DATA --metric length --model MODEL --out RUN, then gradprism select RUN."
            )
        return response["value"], None if prompt is None else prompt["value"], "tokens"
