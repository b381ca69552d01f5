"""What a study comes to: its tables, a verdict on every claim, and what could not be done."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from gradprism.comparison.comparison_files import is_comparison, open_comparison
from gradprism.comparison.paper_table import paper_table
from gradprism.core.errors import GradPrismError
from gradprism.files.places import place
from gradprism.runs.layout import RUN_FILE
from gradprism.runs.run import Run, open_run
from gradprism.study import asked
from gradprism.study.claims import (
    Compared,
    Count,
    Verdict,
    claim_table,
    count,
    decides,
    means,
    verdict,
    verdict_as_it_is,
    with_cuts_decided,
)
from gradprism.study.settings import Claim, StudyRecipe, chosen
from gradprism.study.steps import comparison_name, run_name

RAW, HELD = "raw", "held"


@dataclass(frozen=True)
class Judged:
    """A claim, the comparisons that test it, and the verdict."""

    name: str
    claim: Claim
    table: pl.DataFrame  # `claims.claim_table`
    raw: Count  # as it is, in the first text
    held: Count  # at equal length
    cut: Mapping[str, Count]  # in texts that cut every response; what was not compared there is undecided
    deciding: frozenset[str]  # which of these controls the verdict rests on: HELD, texts
    verdict: Verdict

    @property
    def counts(self) -> dict[str, Count]:
        """As it is, and of each control, by name."""
        return {RAW: self.raw, HELD: self.held, **self.cut}

    def rests_on(self, name: str) -> bool:
        """Whether the verdict does: where no sets are compared, no count has to decide anything."""
        return name == RAW or name in self.deciding or not is_of_length(self.claim)


@dataclass(frozen=True)
class Outcome:
    """All that is to be said of a study."""

    recipe: StudyRecipe
    runs: Mapping[tuple[str, str, str], Run]  # by model, text and set
    compared: tuple[Compared, ...]
    judged: tuple[Judged, ...]
    tables: Mapping[str, pl.DataFrame]  # `contrasts`: of every comparison its paper table; and those of `asked`
    failed: Mapping[str, str] = field(default_factory=dict)  # steps and why

    @property
    def verdicts(self) -> pl.DataFrame:
        """A row a claim: the verdict, and the counts it rests on."""
        rows = []
        for each in self.judged:
            row: dict[str, Any] = {"claim": each.name, "says": each.claim.says, "verdict": each.verdict}
            for name, found in each.counts.items():
                counts = {"shown": found.shown, "opposite": found.opposite, "length": found.length, "all": found.all}
                row |= {f"{name}: {word}": n for word, n in counts.items()}
                row |= {} if name == RAW else {f"{name}: decides": name in each.deciding}
            rows.append(row)
        return pl.DataFrame(rows, infer_schema_length=None)


def outcome_of(recipe: StudyRecipe, failed: Mapping[str, str]) -> Outcome:
    """Read the runs and comparisons that there are, and judge; what cannot be read or judged is told as failed."""
    failed = dict(failed)
    runs = _opened(recipe, failed)
    compared = tuple(_compared(recipe, failed))
    if not compared:
        return Outcome(recipe, runs, (), (), {}, failed)
    tables = {
        "contrasts": _joined([_contrast_table(each, recipe) for each in compared]),
        "separation": asked.separation(compared, failed),
        "predictors": asked.predictors(recipe, compared, failed),
        "agreement": asked.agreement(compared, failed),
        "curves": asked.curves(recipe, compared),
        "cosines": asked.cosines(runs, failed) if _asks_for_cosines(recipe) else pl.DataFrame(),
    }
    judged = tuple(
        _judged(name, claim, recipe, _table(claim, recipe, compared, tables)) for name, claim in recipe.claims.items()
    )
    tables = {name: each for name, each in tables.items() if each.width}
    return Outcome(recipe, runs, compared, judged, tables, failed)


def _table(
    claim: Claim, recipe: StudyRecipe, compared: tuple[Compared, ...], tables: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """The rows that test a claim; none where the table that they are of could not be made."""
    if claim.measure in ("separation", "families") or claim.measure.endswith("_cosine"):
        table = tables[{"separation": "separation", "families": "curves"}.get(claim.measure, "cosines")]
        return _of_table(claim, recipe, table) if table.width else table
    return claim_table(claim, recipe, compared)


def _of_table(claim: Claim, recipe: StudyRecipe, table: pl.DataFrame) -> pl.DataFrame:
    contrasts = dict(chosen(recipe.all_contrasts, claim.contrasts))
    if claim.measure == "separation":
        return asked.judged_separation(table.filter(pl.col("contrast").is_in([*contrasts])))
    if claim.measure == "families":
        return asked.judged_curves(table)
    sets = {name for contrast in contrasts.values() for name in (contrast.first, contrast.second)}
    return asked.judged_cosines(table.filter(pl.col("set").is_in([*sets])), claim.measure.removesuffix("_cosine"))


def _asks_for_cosines(recipe: StudyRecipe) -> bool:
    return any(claim.measure.endswith("_cosine") for claim in recipe.claims.values())


def _opened(recipe: StudyRecipe, failed: dict[str, str]) -> dict[tuple[str, str, str], Run]:
    """The runs that there are, by model, text and set; of a failed step none, whatever lies there from before."""
    runs = {}
    for text in recipe.texts:
        for model in recipe.models:
            for name in recipe.all_sets:
                step = run_name(model, text, name)
                folder = place(recipe.out) / step
                if step in failed or not (folder / RUN_FILE).is_file():
                    continue
                try:
                    runs[model, text, name] = run = open_run(folder)
                    run.counts  # noqa: B018 - read now, while a damaged file costs its own run alone
                except (GradPrismError, OSError, pl.exceptions.PolarsError) as error:
                    runs.pop((model, text, name), None)
                    failed[step] = str(error)
    return runs


def _joined(tables: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(tables, how="diagonal_relaxed") if tables else pl.DataFrame()


def _compared(recipe: StudyRecipe, failed: dict[str, str]) -> Iterator[Compared]:
    for text in recipe.texts:
        for model in recipe.models:
            for contrast in recipe.all_contrasts:
                name = comparison_name(model, text, contrast)
                folder = place(recipe.out) / name
                if name in failed or not is_comparison(folder):
                    continue
                try:
                    yield Compared(model, text, contrast, open_comparison(folder))
                except GradPrismError as error:
                    failed[name] = str(error)


def _contrast_table(each: Compared, recipe: StudyRecipe) -> pl.DataFrame:
    where = {"model": each.model, "text": each.text, "contrast": each.contrast}
    metric = recipe.all_contrasts[each.contrast].metric
    columns = [pl.lit(value).alias(name) for name, value in where.items()]
    return paper_table(each.comparison).select(*columns, pl.lit(metric, dtype=pl.String).alias("metric"), pl.all())


def _judged(name: str, claim: Claim, recipe: StudyRecipe, table: pl.DataFrame) -> Judged:
    texts, compares = recipe.texts, is_of_length(claim)
    whole, cuts = next(iter(texts)), [text for text, how in texts.items() if how.response_tokens]
    table = with_cuts_decided(table, whole, cuts)
    counted = means(table)
    raw = _count(counted, whole, "raw")
    held = _count(counted, whole, "held") if compares else Count()
    cut = {text: found for text in cuts if text != whole and (found := _count(counted, text, "raw")).all}
    if not compares:
        return Judged(name, claim, table, raw, held, cut, frozenset(), verdict_as_it_is(raw))
    cut = {text: replace(found, undecided=found.undecided + max(raw.all - found.all, 0)) for text, found in cut.items()}
    controls = {HELD: held, **{text: found for text, found in cut.items() if texts[text].equalises}}
    deciding = frozenset(text for text, found in controls.items() if decides(found, raw))
    return Judged(name, claim, table, raw, held, cut, deciding, verdict(raw, controls.values()))


def is_of_length(claim: Claim) -> bool:
    """Whether two sets are compared, whose lengths may differ."""
    return claim.expect in ("lower", "higher") or claim.measure == "separation"


def _count(table: pl.DataFrame, text: str, column: str) -> Count:
    return count(table.filter(text=text)[column].to_list()) if column in table.columns else Count()
