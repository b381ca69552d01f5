"""Make the tables of a study beside those of its claims: separation, cosines, curves, agreement, predictors.

Those that claims are judged by have a row for each answer and the columns `model`, `text`, `contrast` (or the set, or
the measure), `raw` and `held`, so that their verdicts are counted as those of other claims. A comparison or run whose
table cannot be made costs its own rows alone: `failed` takes the reason.
"""

from collections.abc import Callable, Iterable, Mapping, MutableMapping

import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.length_controls import LEFT, weighted_control
from gradprism.comparison.paper_table import paper_table
from gradprism.core.errors import GradPrismError
from gradprism.prism.measures import MAIN_MEASURES
from gradprism.runs.run import Run
from gradprism.study.claims import Compared
from gradprism.study.cosines import cosine_table
from gradprism.study.families import agreement_table, curve_summary, curve_table
from gradprism.study.predictors import predictor_table
from gradprism.study.separation import separation_table
from gradprism.study.settings import NEAR, StudyRecipe

Failed = MutableMapping[str, str]
_Making = tuple[str, Callable[[], pl.DataFrame]]  # what is made, and how


def contrasts(recipe: StudyRecipe, compared: Iterable[Compared]) -> pl.DataFrame:
    """Return the paper table of every comparison, below each other."""
    found = [
        paper_table(each.comparison).select(
            *_constant(each.keys), pl.lit(recipe.all_contrasts[each.contrast].metric, dtype=pl.String).alias("metric"),
            pl.all(),
        )
        for each in compared
    ]  # fmt: skip
    return pl.concat(found, how="diagonal_relaxed") if found else pl.DataFrame()


def separation(compared: Iterable[Compared], failed: Failed) -> pl.DataFrame:
    """Compare how well effective rank and nuclear norm separate the sets of each contrast: SEPARATION."""

    def of(each: Compared) -> _Making:
        return f"separation of {each.name}", lambda: _with_keys(each.keys, separation_table(each.comparison))

    return _concatenated(map(of, compared), failed)


def judged_separation(table: pl.DataFrame) -> pl.DataFrame:
    """Judge SEPARATION raw and length-controlled; undecided without common support."""
    low, high = pl.col("held_difference_low"), pl.col("held_difference_high")
    little = pl.max_horizontal(low.abs(), high.abs()) <= LEFT * pl.col("difference").abs()
    held = (
        pl.when(low > 0).then(pl.lit("shown")).when(high < 0).then(pl.lit("opposite"))
        .when(little).then(pl.lit("length")).otherwise(pl.lit("undecided"))
    )  # fmt: skip
    decided = low.is_not_null() & ~pl.col("held_extrapolates").fill_null(True)
    return table.with_columns(
        _shown(pl.col("difference_low") > 0, pl.col("difference_high") < 0).alias("raw"),
        pl.when(decided).then(held).otherwise(pl.lit("undecided")).alias("held"),
    )


def cosines(runs: Mapping[tuple[str, str, str], Run], failed: Failed) -> pl.DataFrame:
    """Return COSINE_SUMMARY of every run, by model, text and set."""

    def of(model: str, text: str, name: str, run: Run) -> _Making:
        keys = {"model": model, "text": text, "set": name}
        return f"cosines of {model}/{text}/{name}", lambda: _with_keys(keys, cosine_table(run))

    return _concatenated((of(*key, run) for key, run in runs.items()), failed)


def judged_cosines(table: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Judge of each set and pair whether the size of cosines is near 0, whatever their signs."""
    near, far = pl.col("median_abs_high") <= NEAR, pl.col("median_abs_low") > NEAR
    return table.filter(kind=kind).with_columns(
        (pl.col("set") + " " + pl.col("pair")).alias("contrast"),
        _shown(near, far).alias("raw"), pl.lit("undecided").alias("held"),
    )  # fmt: skip


def curves(recipe: StudyRecipe, compared: Iterable[Compared]) -> pl.DataFrame:
    """Return CURVE_SUMMARY of each text: how alike the curves over layers are, within a model and between models."""
    by_text: dict[str, dict[tuple[str, str], Comparison]] = {}
    for each in compared:
        for group in each.comparison.groups:
            by_text.setdefault(each.text, {}).setdefault((each.model, group.name), each.comparison)
    families = {name: model.family for name, model in recipe.models.items()}
    found = []
    for text, by_set in by_text.items():
        summed = curve_summary(curve_table(by_set, families=families, measures=MAIN_MEASURES))
        found.append(_with_keys({"text": text}, summed))
    return pl.concat(found) if found else pl.DataFrame()


def judged_curves(table: pl.DataFrame) -> pl.DataFrame:
    """Judge whether curves of different families agree less than those of one model, over all sets."""
    between = table.filter(pl.col("kind").is_in(["different family", "different models"]), sets="any")
    return between.with_columns(
        pl.lit("all").alias("model"), (pl.col("measure") + " " + pl.col("kind")).alias("contrast"),
        _shown(pl.col("below_low") > 0, pl.col("below_high") < 0).alias("raw"), pl.lit("undecided").alias("held"),
    )  # fmt: skip


def agreement(compared: Iterable[Compared], failed: Failed) -> pl.DataFrame:
    """Return AGREEMENT of each contrast and text: whether models rank the same examples alike."""
    by_contrast: dict[tuple[str, str], dict[str, Comparison]] = {}
    for each in compared:
        by_contrast.setdefault((each.text, each.contrast), {})[each.model] = each.comparison

    def of(text: str, contrast: str, models: Mapping[str, Comparison]) -> _Making:
        keys = {"text": text, "contrast": contrast}
        return f"agreement of models on {text}/{contrast}", lambda: _with_keys(keys, agreement_table(models))

    return _concatenated((of(*key, models) for key, models in by_contrast.items() if len(models) > 1), failed)


def predictors(recipe: StudyRecipe, compared: Iterable[Compared], failed: Failed) -> pl.DataFrame:
    """Return PREDICTORS of each contrast whose sets are the ends of a metric."""
    metrics = {name: contrast.metric for name, contrast in recipe.all_contrasts.items()}

    def of(each: Compared, metric: str) -> _Making:
        def make() -> pl.DataFrame:
            table = _with_keys(each.keys | {"metric": metric}, predictor_table(each.comparison, metric))
            return table.with_columns(pl.lit(_has_support(each.comparison)).alias("support"))

        return f"predictors of {metric} in {each.name}", make

    return _concatenated((of(each, metric) for each in compared if (metric := metrics[each.contrast])), failed)


def _has_support(comparison: Comparison) -> bool:
    """Return whether the sets have common support in length."""
    return weighted_control(comparison.effects.row(0, named=True)).has_support


def _concatenated(makings: Iterable[_Making], failed: Failed) -> pl.DataFrame:
    """Return the tables that can be made, below each other; without columns where none can."""
    tables = []
    for name, make in makings:
        try:
            tables.append(make())
        except (GradPrismError, OSError, pl.exceptions.PolarsError) as error:
            failed[name] = str(error)
    return pl.concat(tables) if tables else pl.DataFrame()


def _with_keys(keys: Mapping[str, str], table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with constant first columns that tell which part of the study it belongs to."""
    return table.select(*_constant(keys), pl.all())


def _constant(keys: Mapping[str, str]) -> list[pl.Expr]:
    return [pl.lit(value).alias(name) for name, value in keys.items()]


def _shown(claimed: pl.Expr, opposite: pl.Expr) -> pl.Expr:
    """Return what an interval shows, given where it lies on the claimed side and where on the other."""
    return pl.when(claimed).then(pl.lit("shown")).when(opposite).then(pl.lit("opposite")).otherwise(pl.lit("not shown"))
