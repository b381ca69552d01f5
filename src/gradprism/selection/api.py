"""Subsets of a run or of data files: the chosen rows with their metrics, the rows left out, and a data card."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from gradprism.core.errors import GradPrismError
from gradprism.core.python_options import PythonOptions
from gradprism.data.example_set import ExampleSet, open_examples
from gradprism.data.settings import IN_MEMORY, ReadSettings
from gradprism.files.paths import absolute_path, names_path, to_path
from gradprism.runs.layout import RUN_FILE
from gradprism.runs.own_settings import notes_on_settings
from gradprism.runs.run import Run, open_run
from gradprism.runs.source_data import open_source_data
from gradprism.selection.exclusions import PERPLEXITY, where_names
from gradprism.selection.files import check_out, write_selection
from gradprism.selection.resolver import Resolver, columns_named
from gradprism.selection.selection import Selection
from gradprism.selection.settings import DEFAULT_QUALITY, SelectRecipe
from gradprism.selection.subsets import select_rows
from gradprism.selection.survey import survey_of, texts_of

_OPTIONS = PythonOptions(SelectRecipe, but=("by",))


@_OPTIONS
def select(
    data_or_run: Any,
    by: str | Sequence[str] = (),
    *,
    out: str | Path | None = None,
    data: Any = None,
    trainer: Literal["trl", "llama-factory", "axolotl", "open-instruct"] | None = None,
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
    `trainer`: writes the groups in the form that this trainer reads, as `--for` does.
    The options are those of the command, e.g. `top=200, bottom="10%", match_length=True, stratify="kind", seed=1`.
    Raises `GradPrismError`.
    """
    options = _OPTIONS.given(locals())
    names = _names_of(data_or_run)
    where = None if out is None else str(out)
    recipe = SelectRecipe.from_options(names or IN_MEMORY, where, by, trainer=trainer, **options)
    return run_recipe(recipe, data_or_run if names is None else None, data=data)


def run_recipe(recipe: SelectRecipe, objects: Any = None, *, data: Any = None) -> Selection:
    """Run the selection that a recipe describes. `objects` are its data where these are Python objects."""
    check_out(recipe.out)
    if objects is None and recipe.data == IN_MEMORY:
        raise GradPrismError("The recipe was made of Python objects, which it does not hold. Expected files or a run.")
    recipe = _absolute(recipe)
    run, examples = _open_inputs(recipe, objects, data)
    survey = survey_of(examples, columns_named(recipe.select))
    candidates = Resolver(run, survey).candidates(recipe.select)
    selection = select_rows(candidates, recipe.select, recipe.read.seed, texts_of(examples))
    if run is not None:
        cut = [PERPLEXITY] if recipe.select.max_perplexity is not None else []
        used = (*recipe.select.metrics, *where_names(recipe.select.where), *cut, "length")
        selection = replace(selection, notes=(*selection.notes, *notes_on_settings(run, used)))
    if recipe.out is None:
        return selection
    last = run is not None and run.record.get("identity", {}).get("text.turns") == "last"
    return write_selection(selection, recipe, examples, survey.names, "last" if last else "all")


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
