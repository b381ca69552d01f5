"""What a study comes to: its tables, a verdict on every claim, and what could not be done."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from gradprism.analysis.comparison_files import is_comparison, open_comparison
from gradprism.analysis.paper_table import paper_table
from gradprism.places import place
from gradprism.study.claims import Compared, Count, Verdict, claim_table, count, verdict
from gradprism.study.steps import comparison_name
from gradprism.study_recipe import Claim, StudyRecipe


@dataclass(frozen=True)
class Judged:
    """A claim, the comparisons that test it, and the verdict."""

    name: str
    claim: Claim
    table: pl.DataFrame  # `claims.claim_table`
    raw: Count
    held: Count
    cut: Mapping[str, Count]  # by texts that cut every response to one length
    verdict: Verdict


@dataclass(frozen=True)
class Outcome:
    """All that is to be said of a study."""

    recipe: StudyRecipe
    compared: tuple[Compared, ...]
    judged: tuple[Judged, ...]
    contrasts: pl.DataFrame  # of every comparison its paper table, beside model, text, contrast and metric
    failed: Mapping[str, str] = field(default_factory=dict)  # steps and why

    @property
    def verdicts(self) -> pl.DataFrame:
        """A row a claim: the verdict, and the counts it rests on."""
        rows = []
        for each in self.judged:
            row: dict[str, Any] = {"claim": each.name, "says": each.claim.says, "verdict": each.verdict}
            for name, found in {"raw": each.raw, "held": each.held, **each.cut}.items():
                row |= {f"{name}: shown": found.shown, f"{name}: opposite": found.opposite, f"{name}: all": found.all}
            rows.append(row)
        return pl.DataFrame(rows, infer_schema_length=None)


def outcome_of(recipe: StudyRecipe, failed: Mapping[str, str]) -> Outcome:
    """Read the comparisons that there are, and judge."""
    compared = tuple(_compared(recipe))
    judged = tuple(_judged(name, claim, recipe, compared) for name, claim in recipe.claims.items())
    tables = [_contrast_table(each, recipe) for each in compared]
    contrasts = pl.concat(tables, how="diagonal_relaxed") if tables else pl.DataFrame()
    return Outcome(recipe, compared, judged, contrasts, failed)


def _compared(recipe: StudyRecipe) -> Iterator[Compared]:
    for text in recipe.texts:
        for model in recipe.models:
            for contrast in recipe.all_contrasts:
                folder = place(recipe.out) / comparison_name(model, text, contrast)
                if is_comparison(folder):
                    yield Compared(model, text, contrast, open_comparison(folder))


def _contrast_table(each: Compared, recipe: StudyRecipe) -> pl.DataFrame:
    where = {"model": each.model, "text": each.text, "contrast": each.contrast}
    metric = recipe.all_contrasts[each.contrast].metric
    columns = [pl.lit(value).alias(name) for name, value in where.items()]
    return paper_table(each.comparison).select(*columns, pl.lit(metric, dtype=pl.String).alias("metric"), pl.all())


def _judged(name: str, claim: Claim, recipe: StudyRecipe, compared: tuple[Compared, ...]) -> Judged:
    table = claim_table(claim, recipe, compared)
    texts = recipe.texts
    whole = next(iter(texts))
    cut = {text: _count(table, text, "raw") for text, how in texts.items() if how.response_tokens and text != whole}
    cut = {text: found for text, found in cut.items() if found.all}
    raw, held = _count(table, whole, "raw"), _count(table, whole, "held")
    return Judged(name, claim, table, raw, held, cut, verdict(raw, held, cut.values()))


def _count(table: pl.DataFrame, text: str, column: str) -> Count:
    return count(table.filter(text=text)[column].to_list()) if column in table.columns else Count()
