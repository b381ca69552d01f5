"""Subsets of a run or of data files: the chosen rows with their metrics, the rows left out, and a data card."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need
from gradprism.core.python_options import PythonOptions
from gradprism.data.example_set import ExampleSet, open_examples
from gradprism.data.settings import IN_MEMORY, ReadSettings
from gradprism.files.paths import absolute_path, names_path, to_path
from gradprism.runs.layout import RUN_FILE
from gradprism.runs.own_settings import notes_on_settings
from gradprism.runs.run import Run, open_run
from gradprism.runs.source_data import open_source_data
from gradprism.runs.values import find_metric, metric_names, numbers, unknown_metric
from gradprism.selection.exclusions import PERPLEXITY, Candidates, RowSketches, where_names
from gradprism.selection.files import check_out, write_selection
from gradprism.selection.selection import Selection
from gradprism.selection.settings import DEFAULT_QUALITY, SelectRecipe, SelectSettings
from gradprism.selection.subsets import select_rows
from gradprism.selection.survey import Survey, survey_of
from gradprism.set_diversity.sketched_rows import has_direction, refuse_without_sketches

_OPTIONS = PythonOptions(SelectRecipe, but=("by",))


@_OPTIONS
def select(
    data_or_run: Any,
    by: str | Sequence[str] = (),
    *,
    out: str | Path | None = None,
    data: Any = None,
    columns: str | Mapping[str, str] = "",
    split: str | None = None,
    config: str | None = None,
    rows: str | None = None,
    sample: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    max_row_bytes: int = 2**26,
    top: int | str | None = None,
    bottom: int | str | None = None,
    quantile: str | None = None,
    where: str | None = None,
    tokens: int | None = None,
    combine: Literal["rank", "and", "or"] = "rank",
    round_robin: bool = False,
    diverse: bool = False,
    quality: float = DEFAULT_QUALITY,
    per_cluster: int | None = None,
    clusters: int | None = None,
    stratify: str | None = None,
    stratify_equal: bool = False,
    match_length: bool = False,
    caliper: float = 0.05,
    given: Literal["length"] | None = None,
    random: bool = False,
    dedup: float | None = None,
    keep_ifd_above_1: bool = False,
    max_perplexity: float | None = None,
) -> Selection:
    """Select rows of a run by its metrics, or of data by the data's own columns.

    `data_or_run`: a run directory or an opened `Run`; or data as `gradprism.spectra` takes them, then with
    `column:NAME` metrics only, and lengths in characters.
    `by`: metric to rank by, highest first, `"-METRIC"` where lower is better; or several.
    `out`: FILE.jsonl or FILE.parquet; files beside it get the other groups, the rows left out and the data card.
    Nothing is written where None.
    `data`: replaces the data that the run's recipe names, where they have moved.
    The options are those of the command, e.g. `top=200, bottom="10%", match_length=True, stratify="kind", seed=1`.
    Raises `GradPrismError`.
    """
    options = _OPTIONS.given(locals())
    names = _names_of(data_or_run)
    recipe = SelectRecipe.from_options(names or IN_MEMORY, None if out is None else str(out), by, **options)
    return run_recipe(recipe, data_or_run if names is None else None, data=data)


def run_recipe(recipe: SelectRecipe, objects: Any = None, *, data: Any = None) -> Selection:
    """Run the selection that a recipe describes. `objects` are its data where these are Python objects."""
    check_out(recipe.out)
    if objects is None and recipe.data == IN_MEMORY:
        raise GradPrismError("The recipe was made of Python objects, which it does not hold. Expected files or a run.")
    recipe = _absolute(recipe)
    run, examples = _open_inputs(recipe, objects, data)
    survey = survey_of(examples, _columns_named(recipe.select))
    candidates = _Resolver(run, survey).candidates(recipe.select)

    def texts(rows: frozenset[int]) -> Iterator[tuple[int, str]]:
        for example in examples:
            if example.row in rows:
                yield example.row, "\n".join(turn.text for turn in example.turns)

    selection = select_rows(candidates, recipe.select, recipe.read.seed, texts)
    if run is not None:
        cut = [PERPLEXITY] if recipe.select.max_perplexity is not None else []
        used = (*recipe.select.metrics, *where_names(recipe.select.where), *cut, "length")
        selection = replace(selection, notes=(*selection.notes, *notes_on_settings(run, used)))
    return selection if recipe.out is None else write_selection(selection, recipe, examples, survey.names)


def _names_of(data_or_run: Any) -> tuple[str, ...] | None:
    """Return paths and hub ids as text; None for Python objects."""
    if isinstance(data_or_run, Run):
        return (str(data_or_run.path),)
    if names_path(data_or_run):
        return (str(data_or_run),)
    if isinstance(data_or_run, list | tuple) and data_or_run and all(map(names_path, data_or_run)):
        return tuple(map(str, data_or_run))
    return None


def _absolute(recipe: SelectRecipe) -> SelectRecipe:
    out = None if recipe.out is None else str(to_path(recipe.out).resolve())
    return recipe.model_copy(update={"data": tuple(map(absolute_path, recipe.data)), "out": out})


def _open_inputs(recipe: SelectRecipe, objects: Any, data: Any) -> tuple[Run | None, ExampleSet]:
    """Open a run and its data, or data alone. Raises `GradPrismError` for several runs, or options of reading."""
    runs = [name for name in recipe.data if (to_path(name) / RUN_FILE).is_file()]
    if not runs:
        if data is not None:
            raise GradPrismError(
                "`data` replaces the data of a run, and none was given. Expected a run to select from."
            )
        return None, open_examples(recipe.data if objects is None else objects, recipe.read)
    if len(recipe.data) > 1:
        raise GradPrismError(f"Given {len(recipe.data)} inputs, of them the run {runs[0]}. Expected one run, or data.")
    others = recipe.read.model_copy(update={"seed": 0})
    if others != ReadSettings():
        raise GradPrismError(
            f"The rows of the run {runs[0]} were chosen when it was made. Expected none of "
            f"{', '.join('--' + name for name in ReadSettings.model_fields if name != 'seed')}; see --where."
        )
    run = open_run(runs[0])
    return run, open_source_data(run, data)


def _columns_named(settings: SelectSettings) -> set[str]:
    """Return the columns of the data that the settings may name."""
    named = {*settings.metrics, *where_names(settings.where), settings.stratify or ""}
    return {name.removeprefix("column:") for name in named if name}


@dataclass(frozen=True)
class _Resolver:
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
