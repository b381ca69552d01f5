"""Claims that are not on one measure of two sets: separation, cosines near 0, and whether models agree.

Each gives a table with a row an answer and the columns `model`, `text`, `contrast` (or the set, or the measure), `raw`
and `held`, so that verdicts are counted as those of other claims. What cannot be asked of one comparison or run costs
its own rows alone: `failed` takes the reason.
"""

from collections.abc import Callable, Iterable, Mapping, MutableMapping

import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.evidence import LEFT
from gradprism.core.errors import GradPrismError
from gradprism.runs.run import Run
from gradprism.stats.length_match import overlap_in_length
from gradprism.study.claims import Compared
from gradprism.study.cosines import cosine_table
from gradprism.study.families import agreement_table, curve_summary, curve_table
from gradprism.study.predictors import predictor_table
from gradprism.study.separation import separation_table
from gradprism.study.settings import NEAR, StudyRecipe

_MEASURES = ("nuclear_norm", "effective_rank")
Failed = MutableMapping[str, str]
_Making = tuple[str, Callable[[], pl.DataFrame]]  # what is made, and how


def separation(compared: Iterable[Compared], failed: Failed) -> pl.DataFrame:
    """How much better effective rank separates the sets of each contrast than nuclear norm does: SEPARATION."""

    def of(each: Compared) -> _Making:
        return f"separation of {each.name}", lambda: _placed(separation_table(each.comparison), each)

    return _joined(map(of, compared), failed)


def judged_separation(table: pl.DataFrame) -> pl.DataFrame:
    """As it is and at equal length; undecided where that extrapolates."""
    low, high = pl.col("held_difference_low"), pl.col("held_difference_high")
    little = pl.max_horizontal(low.abs(), high.abs()) <= LEFT * pl.col("difference").abs()
    held = (
        pl.when(low > 0).then(pl.lit("shown")).when(high < 0).then(pl.lit("opposite"))
        .when(little).then(pl.lit("length")).otherwise(pl.lit("undecided"))
    )  # fmt: skip
    decided = low.is_not_null() & ~pl.col("held_extrapolates").fill_null(True)
    return table.with_columns(
        _sign("difference").alias("raw"), pl.when(decided).then(held).otherwise(pl.lit("undecided")).alias("held")
    )


def cosines(runs: Mapping[tuple[str, str, str], Run], failed: Failed) -> pl.DataFrame:
    """COSINE_SUMMARY of every run, by model, text and set."""

    def of(model: str, text: str, name: str, run: Run) -> _Making:
        where = {"model": model, "text": text, "set": name}
        return f"cosines of {model}/{text}/{name}", lambda: _below(where, cosine_table(run))

    return _joined((of(*key, run) for key, run in runs.items()), failed)


def judged_cosines(table: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Near 0 or not, of each set and pair: by the size of cosines, whatever their signs."""
    inside, outside = pl.col("median_abs_high") <= NEAR, pl.col("median_abs_low") > NEAR
    said = pl.when(inside).then(pl.lit("shown")).when(outside).then(pl.lit("opposite")).otherwise(pl.lit("not shown"))
    return table.filter(kind=kind).with_columns(
        (pl.col("set") + " " + pl.col("pair")).alias("contrast"), said.alias("raw"), pl.lit("undecided").alias("held")
    )


def curves(recipe: StudyRecipe, compared: Iterable[Compared]) -> pl.DataFrame:
    """CURVE_SUMMARY of each text: how alike the curves over layers are, within a model and between models."""
    by_text: dict[str, dict[tuple[str, str], Comparison]] = {}
    for each in compared:
        for group in each.comparison.groups:
            by_text.setdefault(each.text, {}).setdefault((each.model, group.name), each.comparison)
    families = {name: model.family for name, model in recipe.models.items()}
    found = []
    for text, by_set in by_text.items():
        summed = curve_summary(curve_table(by_set, families=families, measures=_MEASURES))
        found.append(_below({"text": text}, summed))
    return pl.concat(found) if found else pl.DataFrame()


def judged_curves(table: pl.DataFrame) -> pl.DataFrame:
    """Whether curves of different families agree less than those of one model, on the same and on other sets."""
    if table.is_empty():
        return table
    between = table.filter(pl.col("kind").is_in(["different family", "different models"]), sets="any")
    said = (
        pl.when(pl.col("below_low") > 0).then(pl.lit("shown"))
        .when(pl.col("below_high") < 0).then(pl.lit("opposite")).otherwise(pl.lit("not shown"))
    )  # fmt: skip
    return between.with_columns(
        pl.lit("all").alias("model"), (pl.col("measure") + " " + pl.col("kind")).alias("contrast"),
        said.alias("raw"), pl.lit("undecided").alias("held"),
    )  # fmt: skip


def agreement(compared: Iterable[Compared], failed: Failed) -> pl.DataFrame:
    """AGREEMENT of each contrast and text: whether models rank the same examples alike."""
    by_place: dict[tuple[str, str], dict[str, Comparison]] = {}
    for each in compared:
        by_place.setdefault((each.text, each.contrast), {})[each.model] = each.comparison

    def of(text: str, contrast: str, models: Mapping[str, Comparison]) -> _Making:
        where = {"text": text, "contrast": contrast}
        return f"agreement of models on {text}/{contrast}", lambda: _below(where, agreement_table(models))

    return _joined((of(*key, models) for key, models in by_place.items() if len(models) > 1), failed)


def predictors(recipe: StudyRecipe, compared: Iterable[Compared], failed: Failed) -> pl.DataFrame:
    """PREDICTORS of each contrast whose sets are the ends of a metric."""
    metrics = {name: contrast.metric for name, contrast in recipe.all_contrasts.items()}

    def of(each: Compared, metric: str) -> _Making:
        def made() -> pl.DataFrame:
            overlap = pl.lit(_overlap(each.comparison)).alias("overlap")
            return _placed(_below({"metric": metric}, predictor_table(each.comparison, metric)), each).with_columns(
                overlap
            )

        return f"predictors of {metric} in {each.name}", made

    return _joined((of(each, metric) for each in compared if (metric := metrics[each.contrast])), failed)


def _overlap(comparison: Comparison) -> bool:
    """Whether the sets overlap in length, so that what is said given lengths does not extrapolate."""
    row = comparison.effects.row(0, named=True)
    return overlap_in_length(row["matched_pairs"] or 0, row["n_first"], row["n_second"])


def _joined(makings: Iterable[_Making], failed: Failed) -> pl.DataFrame:
    """One below the other what can be made; without columns where nothing can."""
    tables = []
    for name, make in makings:
        try:
            tables.append(make())
        except (GradPrismError, OSError, pl.exceptions.PolarsError) as error:
            failed[name] = str(error)
    return pl.concat(tables) if tables else pl.DataFrame()


def _placed(table: pl.DataFrame, each: Compared) -> pl.DataFrame:
    return _below({"model": each.model, "text": each.text, "contrast": each.contrast}, table)


def _below(heads: Mapping[str, str], table: pl.DataFrame) -> pl.DataFrame:
    """Which of them each row is of, as the first columns."""
    return table.select(*(pl.lit(value).alias(name) for name, value in heads.items()), pl.all())


def _sign(name: str) -> pl.Expr:
    """Whether an interval lies above 0, below it, or holds it."""
    above, below = pl.col(f"{name}_low") > 0, pl.col(f"{name}_high") < 0
    return pl.when(above).then(pl.lit("shown")).when(below).then(pl.lit("opposite")).otherwise(pl.lit("not shown"))
