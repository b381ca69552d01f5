"""Make the steps of a study: an ordinary recipe each, every one after those that it needs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from pydantic import BaseModel

from gradprism.comparison.settings import CompareRecipe
from gradprism.core.settings import Settings
from gradprism.data.formats import SUFFIXES, data_suffix
from gradprism.data.settings import ReadSettings, TextSettings
from gradprism.files.paths import is_remote, to_path
from gradprism.measurement.settings import SpectraRecipe
from gradprism.models.settings import CheckpointSettings
from gradprism.scoring.settings import ScoreRecipe
from gradprism.selection.settings import SelectRecipe, SelectSettings
from gradprism.study.settings import StudyRecipe, StudySet, StudyText

Kind = TypeVar("Kind", bound=BaseModel)


class ReportSettings(Settings):
    """One report of the comparisons of several models."""

    comparisons: tuple[str, ...]
    out: str


StepRecipe: TypeAlias = SpectraRecipe | ScoreRecipe | SelectRecipe | CompareRecipe | ReportSettings


@dataclass(frozen=True)
class Step:
    """One run, score, selection, comparison or report."""

    name: str  # path in the study's folder
    recipe: StepRecipe
    needs: tuple[str, ...] = ()  # names of other steps


def steps_of(recipe: StudyRecipe) -> list[Step]:
    """Return all steps: scores and selections, then runs, comparisons, and reports of the first text."""
    return [*_scores(recipe), *_selections(recipe), *_runs_and_comparisons(recipe), *_reports(recipe)]


def run_name(model: str, text: str, name: str) -> str:
    """Return the name of the run of one set."""
    return f"runs/{model}/{text}/{name}"


def comparison_name(model: str, text: str, contrast: str) -> str:
    """Return the name of the comparison of two runs."""
    return f"comparisons/{model}/{text}/{contrast}"


def _scores(recipe: StudyRecipe) -> Iterator[Step]:
    for pool, where in recipe.pools.items():
        for name, score in recipe.scores.items():
            values = {key: value for key, value in score if key != "metric"}
            made = ScoreRecipe(
                data=_sources(recipe, where), metric=score.metric, name=name, read=_read(where),
                execution=recipe.execution, engine=recipe.engine, out=_path(recipe, f"pools/{pool}"), **values,
            )  # fmt: skip
            yield Step(f"pools/{pool}/scores/{name}", made)


def _selections(recipe: StudyRecipe) -> Iterator[Step]:
    for name, where in recipe.sets.items():
        if where.select:
            out = _path(recipe, f"sets/{name}.jsonl")
            made = SelectRecipe(data=_sources(recipe, where), read=_read(where), select=where.select, out=out)
            yield Step(f"sets/{name}", made)
    for pool in recipe.pools:
        for score in recipe.scores:
            made = SelectRecipe(
                data=(_path(recipe, f"pools/{pool}"),),
                select=SelectSettings(by=(score,), top=str(recipe.ends), bottom=str(recipe.ends)),
                out=_path(recipe, f"sets/{pool}-{score}.jsonl"),
            )
            yield Step(f"sets/{pool}-{score}", made, (f"pools/{pool}/scores/{score}",))


def _runs_and_comparisons(recipe: StudyRecipe) -> Iterator[Step]:
    """Yield runs text by text, so that the first is complete for every model before the second begins."""
    for text, how in recipe.texts.items():
        for model, checkpoint in recipe.models.items():
            for name in filter(how.takes, recipe.all_sets):
                data, read, needs = _rows_of_set(recipe, name, how)
                made = SpectraRecipe(
                    data=data, read=read, text=_narrowed(TextSettings, how),
                    checkpoint=_narrowed(CheckpointSettings, checkpoint),
                    prism=recipe.prism, execution=recipe.execution, engine=recipe.engine, part_rows=recipe.part_rows,
                    out=_path(recipe, run_name(model, text, name)),
                )  # fmt: skip
                yield Step(run_name(model, text, name), made, needs)
    for text, how in recipe.texts.items():
        for model in recipe.models:
            for name, contrast in recipe.all_contrasts.items():
                sets = contrast.first, contrast.second
                if not all(map(how.takes, sets)):
                    continue
                needs = tuple(run_name(model, text, each) for each in sets)
                runs = {each: _path(recipe, run) for each, run in zip(sets, needs, strict=True)}
                out = _path(recipe, comparison_name(model, text, name))
                made_of = CompareRecipe(runs=runs, compare=recipe.compare, out=out)
                yield Step(comparison_name(model, text, name), made_of, needs)


def _reports(recipe: StudyRecipe) -> Iterator[Step]:
    """Yield a report of each contrast, with all models."""
    text, how = next(iter(recipe.texts.items()))
    for name, contrast in recipe.all_contrasts.items():
        if how.takes(contrast.first) and how.takes(contrast.second):
            needs = tuple(comparison_name(model, text, name) for model in recipe.models)
            out = f"reports/{name}.html"
            made = ReportSettings(comparisons=tuple(_path(recipe, each) for each in needs), out=_path(recipe, out))
            yield Step(out, made, needs)


def _rows_of_set(
    recipe: StudyRecipe, name: str, how: StudyText
) -> tuple[tuple[str, ...], ReadSettings, tuple[str, ...]]:
    """Return the data of a set, the rows to read, and the step that makes it if one does."""
    if name in recipe.sets and recipe.sets[name].select:
        return (_path(recipe, f"sets/{name}.jsonl"),), _with_fewer_rows(ReadSettings(), how), (f"sets/{name}",)
    if name in recipe.sets:
        where = recipe.sets[name]
        return _sources(recipe, where), _with_fewer_rows(_read(where), how), ()
    pool, score, end = recipe.chosen_sets[name]
    file = _path(recipe, f"sets/{pool}-{score}.{end}.jsonl")
    return (file,), _with_fewer_rows(ReadSettings(), how), (f"sets/{pool}-{score}",)


def _with_fewer_rows(read: ReadSettings, how: StudyText) -> ReadSettings:
    changes: dict[str, int] = {}
    if how.rows:
        changes["limit"] = min(read.limit or how.rows, how.rows)
    if how.sample:
        changes["sample"] = min(read.sample or how.sample, how.sample)
    return read.model_copy(update=changes)


def _read(where: StudySet) -> ReadSettings:
    return _narrowed(ReadSettings, where)


def _sources(recipe: StudyRecipe, where: StudySet) -> tuple[str, ...]:
    """Return files as paths below the root; URLs and hub ids unchanged."""
    found = []
    for source in where.sources:
        below = to_path(source) if is_remote(to_path(source)) else to_path(recipe.root) / source
        found.append(str(below) if data_suffix(below) in SUFFIXES or below.exists() else source)
    return tuple(found)


def _path(recipe: StudyRecipe, name: str) -> str:
    return str(to_path(recipe.out) / name)


def _narrowed(kind: type[Kind], values: BaseModel) -> Kind:
    """Return the settings that another class of settings also has."""
    return kind(**{name: getattr(values, name) for name in kind.model_fields})
