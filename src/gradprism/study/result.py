"""Read the result of a study: its tables, a verdict on every claim, and the steps that failed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import polars as pl

from gradprism.comparison.comparison_files import is_comparison, open_comparison
from gradprism.core.errors import GradPrismError
from gradprism.files.paths import to_path
from gradprism.runs.layout import RUN_FILE
from gradprism.runs.run import Run, open_run
from gradprism.study import tables as study_tables
from gradprism.study.claims import (
    Compared,
    Count,
    Verdict,
    claim_table,
    count,
    decides,
    means,
    raw_verdict,
    verdict,
    with_cuts_decided,
)
from gradprism.study.settings import Claim, StudyRecipe, matching
from gradprism.study.steps import comparison_name, run_name

RAW, CONTROLLED = "raw", "held"


@dataclass(frozen=True)
class JudgedClaim:
    """A claim, the comparisons that test it, and the verdict."""

    name: str
    claim: Claim
    table: pl.DataFrame  # `claims.claim_table`
    raw: Count  # in the first text
    controlled: Count  # length-controlled, in the first text
    cut: Mapping[str, Count]  # in texts that cut every response; what was not compared there is undecided
    deciding: frozenset[str]  # the length controls that the verdict rests on: CONTROLLED, texts
    verdict: Verdict

    @property
    def counts(self) -> dict[str, Count]:
        """Counts raw and under each length control, by name."""
        return {RAW: self.raw, CONTROLLED: self.controlled, **self.cut}

    def rests_on(self, name: str) -> bool:
        """Return whether the verdict rests on these counts; always where no sets are compared."""
        return name == RAW or name in self.deciding or not is_of_length(self.claim)


@dataclass(frozen=True)
class StudyResult:
    """Runs, comparisons, tables and verdicts of a study."""

    recipe: StudyRecipe
    runs: Mapping[tuple[str, str, str], Run]  # by model, text and set
    compared: tuple[Compared, ...]
    judged: tuple[JudgedClaim, ...]
    tables: Mapping[str, pl.DataFrame]  # those of `study.tables`, by name
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


def read_result(recipe: StudyRecipe, failed: Mapping[str, str]) -> StudyResult:
    """Read the runs and comparisons that there are, and judge the claims; name what cannot be read as failed."""
    failed = dict(failed)
    runs = _opened(recipe, failed)
    compared = tuple(_compared(recipe, failed))
    if not compared:
        return StudyResult(recipe, runs, (), (), {}, failed)
    tables = {
        "contrasts": study_tables.contrasts(recipe, compared),
        "separation": study_tables.separation(compared, failed),
        "predictors": study_tables.predictors(recipe, compared, failed),
        "agreement": study_tables.agreement(compared, failed),
        "curves": study_tables.curves(recipe, compared),
        "cosines": study_tables.cosines(runs, failed) if _has_cosine_claims(recipe) else pl.DataFrame(),
    }
    judged = tuple(
        judge(name, claim, recipe, _table_of_claim(claim, recipe, compared, tables))
        for name, claim in recipe.claims.items()
    )
    tables = {name: each for name, each in tables.items() if each.width}
    return StudyResult(recipe, runs, compared, judged, tables, failed)


def _table_of_claim(
    claim: Claim, recipe: StudyRecipe, compared: tuple[Compared, ...], tables: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """Return the rows that test a claim; none where the table that they are in could not be made."""
    contrasts = dict(matching(recipe.all_contrasts, claim.contrasts))
    is_cosine = claim.measure.endswith("_cosine")
    name = "cosines" if is_cosine else {"separation": "separation", "families": "curves"}.get(claim.measure)
    if name is None:
        return claim_table(claim, recipe, compared)
    if not (table := tables[name]).width:
        return table
    if name == "separation":
        return study_tables.judged_separation(table.filter(pl.col("contrast").is_in([*contrasts])))
    if name == "curves":
        return study_tables.judged_curves(table)
    sets = {name for contrast in contrasts.values() for name in (contrast.first, contrast.second)}
    kind = claim.measure.removesuffix("_cosine")
    return study_tables.judged_cosines(table.filter(pl.col("set").is_in([*sets])), kind)


def _has_cosine_claims(recipe: StudyRecipe) -> bool:
    return any(claim.measure.endswith("_cosine") for claim in recipe.claims.values())


def _opened(recipe: StudyRecipe, failed: dict[str, str]) -> dict[tuple[str, str, str], Run]:
    """Open the runs that there are, by model, text and set; of a failed step none, whatever lies there from before."""
    runs = {}
    for text, model, name in product(recipe.texts, recipe.models, recipe.all_sets):
        step = run_name(model, text, name)
        folder = to_path(recipe.out) / step
        if step in failed or not (folder / RUN_FILE).is_file():
            continue
        try:
            run = open_run(folder)
            run.counts  # noqa: B018 - read now, while a damaged file costs its own run alone
            runs[model, text, name] = run
        except (GradPrismError, OSError, pl.exceptions.PolarsError) as error:
            failed[step] = str(error)
    return runs


def _compared(recipe: StudyRecipe, failed: dict[str, str]) -> Iterator[Compared]:
    for text, model, contrast in product(recipe.texts, recipe.models, recipe.all_contrasts):
        name = comparison_name(model, text, contrast)
        folder = to_path(recipe.out) / name
        if name in failed or not is_comparison(folder):
            continue
        try:
            yield Compared(model, text, contrast, open_comparison(folder))
        except GradPrismError as error:
            failed[name] = str(error)


def judge(name: str, claim: Claim, recipe: StudyRecipe, table: pl.DataFrame) -> JudgedClaim:
    """Judge a claim by the rows that test it."""
    texts, compares = recipe.texts, is_of_length(claim)
    whole, cuts = recipe.first_text, [text for text, how in texts.items() if how.response_tokens]
    table = with_cuts_decided(table, whole, cuts)
    counted = means(table)
    raw = _count_in(counted, whole, "raw")
    controlled = _count_in(counted, whole, "held") if compares else Count()
    cut = {text: found for text in cuts if text != whole and (found := _count_in(counted, text, "raw")).all}
    if not compares:
        return JudgedClaim(name, claim, table, raw, controlled, cut, frozenset(), raw_verdict(raw))
    cut = {text: replace(found, undecided=found.undecided + max(raw.all - found.all, 0)) for text, found in cut.items()}
    controls = {CONTROLLED: controlled, **{text: found for text, found in cut.items() if texts[text].is_length_control}}
    deciding = frozenset(text for text, found in controls.items() if decides(found, raw))
    return JudgedClaim(name, claim, table, raw, controlled, cut, deciding, verdict(raw, controls.values()))


def is_of_length(claim: Claim) -> bool:
    """Return whether a claim compares two sets, whose lengths may differ."""
    return claim.expect in ("lower", "higher") or claim.measure == "separation"


def _count_in(table: pl.DataFrame, text: str, column: str) -> Count:
    return count(table.filter(text=text)[column].to_list()) if column in table.columns else Count()
