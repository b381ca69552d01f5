"""Two groups side by side: every feature's difference with its interval, effect size and p, raw and at equal length.

Length is controlled in three ways, since each has its own weakness: pairs matched on response tokens (few remain
where the groups hardly overlap), regression on group and log lengths (linear: it extrapolates there), and the
Spearman correlation with the group given both lengths (monotone, and blind to size).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from gradprism.analysis.cohort import Cohort, Features
from gradprism.analysis.comparison_tables import EFFECTS
from gradprism.analysis.length_match import length_pairs
from gradprism.analysis.statistics.bootstrap import Resampled, bca_interval, resample_means
from gradprism.analysis.statistics.effect_size import auc, auc_interval, cliffs_delta
from gradprism.analysis.statistics.multiplicity import benjamini_hochberg
from gradprism.analysis.statistics.permutation import permutation_p, sign_flip_p
from gradprism.analysis.statistics.rank_correlation import partial_spearman, spearman
from gradprism.analysis.statistics.regression import group_effect
from gradprism.compare_recipe import CompareSettings
from gradprism.tables import MEASURES

LENGTHS = ("length", "prompt_length")  # never controlled for themselves
Columns = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Side:
    """One group of a contrast and the resampled means of its features."""

    cohort: Cohort
    means: Resampled

    @property
    def values(self) -> np.ndarray:
        """(n, features)."""
        return self.cohort.values


@dataclass(frozen=True)
class Matched:
    """How many pairs agree in response length, and their median tokens in each group."""

    pairs: int
    median_first: float | None
    median_second: float | None


def contrast(
    first: Side, second: Side, settings: CompareSettings, rng: np.random.Generator
) -> tuple[pl.DataFrame, Matched]:
    """The table EFFECTS of two groups, and what matching left."""
    features = first.cohort.features
    families = [(measure, layer is None) for measure, _, layer in features.keys]
    pairs = _pairs(first.cohort, second.cohort, settings.caliper)
    controlled = {
        **_matched(first, second, pairs, settings, rng),
        **_regressed(first, second, features, settings.confidence),
        **_ranked(first, second, settings.confidence),
    }
    of_lengths = np.array([measure in LENGTHS for measure, _, _ in features.keys])
    columns = {
        **_raw(first, second, settings, rng),
        **{name: _without(values, of_lengths) for name, values in controlled.items()},
    }
    for name in ("", "matched_", "regression_", "partial_"):
        columns[f"{name}q"] = benjamini_hochberg(columns[f"{name}p"], families)
    frame = features.frame.with_columns(
        pl.lit(first.cohort.members.name).alias("first"),
        pl.lit(second.cohort.members.name).alias("second"),
        *(pl.Series(name, values).fill_nan(None) if values.dtype.kind == "f" else pl.Series(name, values)
          for name, values in columns.items()),
    )  # fmt: skip
    return frame.select(EFFECTS.names()).cast(EFFECTS), _matching(first.cohort, second.cohort, pairs)


def _raw(first: Side, second: Side, settings: CompareSettings, rng: np.random.Generator) -> dict[str, np.ndarray]:
    low, high = bca_interval(first.means, second.means, confidence=settings.confidence)
    area = auc(first.values, second.values)
    auc_low, auc_high = auc_interval(first.values, second.values, settings.confidence)
    return {
        "n_first": np.isfinite(first.values).sum(axis=0),
        "n_second": np.isfinite(second.values).sum(axis=0),
        "mean_first": first.means.observed,
        "mean_second": second.means.observed,
        "difference": first.means.observed - second.means.observed,
        "difference_low": low,
        "difference_high": high,
        "auc": area,
        "auc_low": auc_low,
        "auc_high": auc_high,
        "cliffs_delta": cliffs_delta(area),
        "p": permutation_p(first.values, second.values, settings.resamples, rng),
    }


def _pairs(first: Cohort, second: Cohort, caliper: float) -> tuple[np.ndarray, np.ndarray]:
    one, other = (cohort.examples["n_response_tokens"].to_numpy().astype(float) for cohort in (first, second))
    return length_pairs(one, other, math.log1p(caliper))


def _matched(
    first: Side, second: Side, pairs: tuple[np.ndarray, np.ndarray], settings: CompareSettings, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    differences = first.values[pairs[0]] - second.values[pairs[1]]
    n = np.isfinite(differences).sum(axis=0)
    if len(differences) < 2:
        none = np.full(differences.shape[1], np.nan)
        return {"matched_pairs": n} | {f"matched_{name}": none for name in ("difference", "low", "high", "p")}
    means = resample_means(differences, settings.resamples, rng)
    low, high = bca_interval(means, confidence=settings.confidence)
    return {
        "matched_pairs": n,
        "matched_difference": means.observed,
        "matched_low": low,
        "matched_high": high,
        "matched_p": sign_flip_p(differences, settings.resamples, rng),
    }


def _regressed(first: Side, second: Side, features: Features, confidence: float) -> dict[str, np.ndarray]:
    """Logs of the measures, whose length effect is near a power law; metrics that can be negative as they are."""
    values = np.concatenate([first.values, second.values])
    logged = _logged(values, features)
    values = np.where(logged, np.log(np.where(logged & (values > 0), values, np.nan)), values)
    group, lengths = _membership(first, second), _lengths(first, second)
    raw = group_effect(values, group, lengths[:, :0], confidence)
    controlled = group_effect(values, group, lengths[:, lengths.std(axis=0) > 0], confidence)
    return {
        "regression_scale": np.where(logged, "log", "linear"),
        "raw_effect": raw.effect,
        "regression_effect": controlled.effect,
        "regression_low": controlled.low,
        "regression_high": controlled.high,
        "regression_p": controlled.p,
    }


def _logged(values: np.ndarray, features: Features) -> np.ndarray:
    """Which columns are taken as logs: measures of spectra, and metrics that are above 0 throughout."""
    positive: np.ndarray = np.all(np.where(np.isfinite(values), values, 1.0) > 0, axis=0)
    return np.array([m in MEASURES or (p is None and positive[i]) for i, (m, p, _) in enumerate(features.keys)])


def _ranked(first: Side, second: Side, confidence: float) -> dict[str, np.ndarray]:
    values = np.concatenate([first.values, second.values])
    group, lengths = _membership(first, second).astype(float), _lengths(first, second)
    controlled = partial_spearman(values, group, lengths[:, lengths.std(axis=0) > 0], confidence)
    return {
        "spearman": spearman(values, group, confidence).value,
        "partial_spearman": controlled.value,
        "partial_low": controlled.low,
        "partial_high": controlled.high,
        "partial_p": controlled.p,
    }


def _membership(first: Side, second: Side) -> np.ndarray:
    return np.arange(len(first.values) + len(second.values)) < len(first.values)


def _lengths(first: Side, second: Side) -> np.ndarray:
    return np.concatenate([first.cohort.lengths, second.cohort.lengths])


def _without(values: np.ndarray, out: np.ndarray) -> np.ndarray:
    """No value where a length would be controlled for itself."""
    return np.where(out, np.nan, values) if values.dtype.kind == "f" else values


def _matching(first: Cohort, second: Cohort, pairs: tuple[np.ndarray, np.ndarray]) -> Matched:
    if not len(pairs[0]):
        return Matched(0, None, None)
    medians = (
        float(np.median(cohort.examples["n_response_tokens"].to_numpy()[places]))
        for cohort, places in zip((first, second), pairs, strict=True)
    )
    return Matched(len(pairs[0]), *medians)
