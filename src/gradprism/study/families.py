"""Measure how far models agree: on which examples have larger gradients, and on the shape of curves over layers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.core.errors import GradPrismError
from gradprism.prism.measures import MEAN, MEASURES
from gradprism.stats.bootstrap import percentile_interval, times_drawn
from gradprism.stats.drawn import drawn_quantiles
from gradprism.stats.rank_correlation import Correlation, partial_spearman, spearman
from gradprism.study.features import correlation_columns, feature_matrix, layer_means, log_lengths, varying

AGREEMENT = pl.Schema(  # of two models: Spearman correlation of layer means over the same examples
    {
        "first_model": pl.String,
        "second_model": pl.String,
        "measure": pl.String,
        "projection": pl.String,  # `mean` too
        "n": pl.Int64,  # examples that both have measured
        "spearman": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "partial": pl.Float64,  # given log prompt and response tokens, each the mean of both models' logs
        "partial_low": pl.Float64,
        "partial_high": pl.Float64,
        "partial_p": pl.Float64,
    }
)

_CURVES = {
    "first_model": pl.String,
    "first_set": pl.String,
    "second_model": pl.String,
    "second_set": pl.String,
}
_KIND = {
    "kind": pl.String,  # same model | same family | different family | different models (where families are not known)
    "sets": pl.String,  # same | different
    "measure": pl.String,
    "projection": pl.String,
}
CURVES = pl.Schema({**_CURVES, **_KIND, "correlation": pl.Float64})  # Pearson, of logs of mean curves over depth

CURVE_SUMMARY = pl.Schema(
    {
        **_KIND,  # `sets` also `any`
        "n_pairs": pl.Int64,  # that have a correlation
        "n_sets": pl.Int64,  # in those
        "median": pl.Float64,
        "median_low": pl.Float64,  # 95%, percentiles, sets drawn with replacement
        "median_high": pl.Float64,
        "below_same_model": pl.Float64,  # median of the same model (other sets) - this one
        "below_low": pl.Float64,  # from the same draws
        "below_high": pl.Float64,
    }
)

FEWEST_SETS = 5  # of fewer, too few different draws exist for an interval
POINTS = 41  # of depth at which curves are compared
_DRAWN = 2**18  # draws of pairs at a time
SAME_MODEL, SAME_FAMILY, OTHER_FAMILY, OTHER_MODEL = "same model", "same family", "different family", "different models"


def agreement_table(comparisons_by_model: Mapping[str, Comparison]) -> pl.DataFrame:
    """Return the table AGREEMENT: a row for every two models, measure and projection that both have, groups pooled.

    Rows are the same example where group and row are. The models count tokens differently, so that partial
    correlations are given the mean of both models' log counts. Raises `GradPrismError` where a row of one is not the
    same example in another.
    """
    parts = [_agreement(one, two) for one, two in combinations(comparisons_by_model.items(), 2)]
    return pl.concat(parts) if parts else pl.DataFrame(schema=AGREEMENT)


def _agreement(one: tuple[str, Comparison], two: tuple[str, Comparison]) -> pl.DataFrame:
    both = _same_examples(one, two)
    known = {*layer_means(two[1], MEASURES)}
    found = [feature for feature in layer_means(one[1], MEASURES) if feature in known]
    values, others = (feature_matrix(side, found) for side in both)
    lengths = (log_lengths(both[0]) + log_lengths(both[1])) / 2
    values[~np.isfinite(lengths).all(axis=1)] = np.nan  # raw and partial are of the same rows
    raw = _diagonal(spearman(values, others))
    partial = _diagonal(partial_spearman(values, others, varying(lengths)))
    columns = {
        "first_model": [one[0]] * len(found),
        "second_model": [two[0]] * len(found),
        **correlation_columns(found, raw, partial),
    }
    return pl.DataFrame(columns, schema=AGREEMENT).fill_nan(None)


def _same_examples(one: tuple[str, Comparison], two: tuple[str, Comparison]) -> list[pl.DataFrame]:
    """Return the examples that both models have measured, in the same order."""
    keys = ["group", "row"]
    both = [comparison.examples.unique(keys, keep="first", maintain_order=True) for _, comparison in (one, two)]
    shared = both[0].select(*keys, "example_id")
    shared = shared.join(both[1].select(*keys, other="example_id"), on=keys, maintain_order="left")
    for group, row, *names in shared.filter(pl.col("example_id") != pl.col("other")).rows():
        raise GradPrismError(
            f"Row {row} of {group} is {names[0]!r} for {one[0]} and {names[1]!r} for {two[0]}. Expected the same "
            "examples: compare models on runs of the same data."
        )
    return [shared.select(keys).join(each, on=keys, maintain_order="left") for each in both]


def _diagonal(found: Correlation) -> Correlation:
    """Return the correlation of each feature with itself, out of all with all."""
    return Correlation(*(np.diagonal(each) for each in (found.value, found.low, found.high, found.p, found.n)))


@dataclass(frozen=True)
class _Curve:
    """Mean of one measure over layers; depths from 0, the first layer, to 1, the last."""

    model: str
    set: str
    depths: np.ndarray
    means: np.ndarray


def curve_table(
    levels_by: Mapping[tuple[str, str], Comparison | pl.DataFrame],
    families: Mapping[str, str | None] | None = None,
    projections: Sequence[str] = (MEAN,),
    measures: Sequence[str] = MEASURES,
) -> pl.DataFrame:
    """Return the table CURVES: a row for every two of (model, set), measure and projection that both have.

    `levels_by` gives the table LEVELS of each model and set, or a comparison that has the set among its groups; of
    several groups the one named as the set counts. Curves are interpolated linearly at `POINTS` depths, layer over
    last layer, and correlated as logs. Null where a curve is constant there or has a mean that is not above 0.
    `families` names the family of each model, and one without is a family of its own; where no two models share one,
    kinds are the same and different models.
    """
    family_of = {model: (families or {}).get(model) for model, _ in levels_by}
    named = [family for family in family_of.values() if family is not None]
    shared = len(set(named)) < len(named)
    wanted = pl.col("measure").is_in(measures) & pl.col("projection").is_in(projections)
    levels = {key: _levels(key, given).filter(wanted) for key, given in levels_by.items()}
    parts = [
        _correlations(curves, measure, projection, family_of if shared else {})
        for measure in measures
        for projection in projections
        if (curves := [*_curves(levels, measure, projection)])
    ]
    return pl.concat(parts) if parts else pl.DataFrame(schema=CURVES)


def _levels(key: tuple[str, str], given: Comparison | pl.DataFrame) -> pl.DataFrame:
    """Return the rows of one model and set by layer, with the depth of each."""
    levels = given.levels if isinstance(given, Comparison) else given
    groups = levels["group"].unique(maintain_order=True).to_list()
    if len(groups) > 1 and key[1] not in groups:
        raise GradPrismError(f"{key[0]}, {key[1]}: no such group; there are {', '.join(groups)}.")
    named = levels.filter(pl.col("group") == key[1]) if len(groups) > 1 else levels
    last = given.about["model"]["layers"] - 1 if isinstance(given, Comparison) else named["layer"].max()
    depth = pl.col("layer") / pl.lit(last, dtype=pl.Float64)  # of a single layer NaN: no curve
    return named.filter(pl.col("layer").is_not_null()).with_columns(depth=depth).sort("layer")


def _curves(levels: Mapping[tuple[str, str], pl.DataFrame], measure: str, projection: str) -> Iterator[_Curve]:
    of_both = (pl.col("measure") == measure) & (pl.col("projection") == projection) & pl.col("mean").is_not_null()
    for (model, name), table in levels.items():
        found = table.filter(of_both)
        if found.height > 1:
            yield _Curve(model, name, found["depth"].to_numpy(), found["mean"].to_numpy())


def _correlations(
    curves: Sequence[_Curve], measure: str, projection: str, families: Mapping[str, str | None]
) -> pl.DataFrame:
    first, second = np.triu_indices(len(curves), k=1)
    models, sets = (np.array([getattr(curve, name) for curve in curves]) for name in ("model", "set"))
    columns = {
        "first_model": models[first], "first_set": sets[first], "second_model": models[second],
        "second_set": sets[second], "correlation": _pearson(_on_grid(curves))[first, second],
    }  # fmt: skip
    kinds = {(one, two): _kind(one, two, families) for one in {*models} for two in {*models}}
    kind = [kinds[pair] for pair in zip(columns["first_model"], columns["second_model"], strict=True)]
    same = pl.col("first_set") == pl.col("second_set")
    frame = pl.DataFrame(columns).with_columns(
        pl.Series("kind", kind, dtype=pl.String),
        sets=pl.when(same).then(pl.lit("same")).otherwise(pl.lit("different")),
        measure=pl.lit(measure),
        projection=pl.lit(projection),
    )
    return frame.select(CURVES.names()).cast(CURVES).fill_nan(None)


def _kind(one: str, two: str, families: Mapping[str, str | None]) -> str:
    if one == two:
        return SAME_MODEL
    first, second = families.get(one), families.get(two)
    if not families:
        return OTHER_MODEL
    return SAME_FAMILY if first is not None and first == second else OTHER_FAMILY


def _on_grid(curves: Sequence[_Curve]) -> np.ndarray:
    """Return logs of the curves (curves, POINTS), over the depths that all of them have; NaN where there is none."""
    grid = np.linspace(max(curve.depths[0] for curve in curves), min(curve.depths[-1] for curve in curves), POINTS)
    values = np.stack([np.interp(grid, curve.depths, curve.means) for curve in curves])
    return np.log(np.where(values > 0, values, np.nan))


def _pearson(values: np.ndarray) -> np.ndarray:
    """Return correlations of the rows with each other; NaN of those that are constant, or have a NaN."""
    centred = values - values.mean(axis=1, keepdims=True)
    size = np.linalg.norm(centred, axis=1, keepdims=True)
    rounding = 1e-12 * np.linalg.norm(values, axis=1, keepdims=True)
    unit = centred / np.where(size > rounding, size, np.nan)
    return np.asarray(np.clip(unit @ unit.T, -1.0, 1.0))  # (curves, points) @ (points, curves)


def curve_summary(curves: pl.DataFrame, resamples: int = 999, seed: int = 0) -> pl.DataFrame:
    """Return the table CURVE_SUMMARY of a table CURVES: medians of each kind of pair.

    Sets are drawn with replacement, and each pair counts as often as its sets go together: two sets the product of
    their draws, one set of two models its own. A set drawn twice is no pair of different sets. Models are fixed:
    intervals say nothing of models that are not there. No interval where there are fewer than `FEWEST_SETS` sets,
    or more than a tenth of the draws hold no pair.
    """
    sets = pl.concat([curves["first_set"], curves["second_set"]]).unique().sort()
    indices = [np.searchsorted(sets.to_numpy(), curves[end].to_numpy()) for end in ("first_set", "second_set")]
    numbered = curves.with_columns(pl.Series("one", indices[0]), pl.Series("two", indices[1]))
    times = times_drawn(len(sets), resamples, np.random.default_rng(seed)).astype(np.int32)
    known = numbered.drop_nulls("correlation")
    parts = known.partition_by("measure", "projection", as_dict=True, maintain_order=True)
    rows = [
        {"measure": measure, "projection": projection, **row}
        for (measure, projection), part in parts.items()
        for row in _medians(part, times)
    ]
    return pl.DataFrame(rows, schema=CURVE_SUMMARY).fill_nan(None)


def _medians(pairs: pl.DataFrame, times: np.ndarray) -> Iterator[dict[str, object]]:
    """Yield a row for each kind and `sets`, those of the same model first."""
    reference = None
    for kind, which, part in _kinds(pairs):
        drawn = _drawn_medians(part, times)
        median = float(np.median(part["correlation"].to_numpy()))
        reference = (median, drawn) if kind == SAME_MODEL else reference
        row = {"kind": kind, "sets": which, "n_pairs": part.height, "n_sets": _n_sets(part), "median": median}
        yield row | _interval("median", drawn) | _below(reference, kind, median, drawn)


def _kinds(pairs: pl.DataFrame) -> Iterator[tuple[str, str, pl.DataFrame]]:
    for kind in (SAME_MODEL, SAME_FAMILY, OTHER_FAMILY, OTHER_MODEL):
        for which in ("same", "different", "any"):
            part = pairs.filter((pl.col("kind") == kind) & ((pl.col("sets") == which) | (which == "any")))
            if part.height and not (kind == SAME_MODEL and which == "any"):
                yield kind, which, part


def _below(
    reference: tuple[float, np.ndarray] | None, kind: str, median: float, drawn: np.ndarray
) -> dict[str, float | None]:
    if reference is None or kind == SAME_MODEL:
        return dict.fromkeys(("below_same_model", "below_low", "below_high"))
    return {"below_same_model": reference[0] - median, **_interval("below", reference[1] - drawn)}


def _drawn_medians(pairs: pl.DataFrame, times: np.ndarray) -> np.ndarray:
    """Return the median of the correlations in every draw of sets (draws,); NaN where no pair is in it."""
    one, two = pairs["one"].to_numpy(), pairs["two"].to_numpy()
    order = np.argsort(values := pairs["correlation"].to_numpy())
    one, two, values = one[order], two[order], values[order]
    step = max(1, _DRAWN // len(values))
    found = np.full(len(times), np.nan)
    for start in range(0, len(times), step):
        block = times[start : start + step]
        count = np.where(one == two, block[:, one], block[:, one] * block[:, two])
        found[start : start + step] = drawn_quantiles(values, count, [0.5])[:, 0]
    return found if _n_sets(pairs) >= FEWEST_SETS else np.full(len(times), np.nan)


def _interval(name: str, drawn: np.ndarray) -> dict[str, float | None]:
    low, high = percentile_interval(drawn[:, None])
    return {f"{name}_low": float(low[0]), f"{name}_high": float(high[0])}


def _n_sets(pairs: pl.DataFrame) -> int:
    return pl.concat([pairs["one"], pairs["two"]]).n_unique()
