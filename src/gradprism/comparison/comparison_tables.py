"""Tables of a comparison: the public format of `gradprism compare --out DIR`, one schema each.

Everywhere: `measure` is a spectral measure (`gradprism.prism.measures`), a cosine (`adjacent_cosine`,
`same_layer_cosine`) or the name of a metric (`ifd`, `length`, ...). `projection` is q, k, v, o, ... or `mean` (over
those measured); of cosines also a pair (`k-v`, `q-o`); null for a metric. `layer` is null for the mean over layers, and
for a metric. A number that could not be computed is null, never 0. `*_low` and `*_high` are the ends of a 95% interval.
"""

from typing import Any

import polars as pl


def _schema(columns: dict[str, Any]) -> pl.Schema:
    return pl.Schema(columns)


_FEATURE = {"measure": pl.String, "projection": pl.String, "layer": pl.Int16}
_PAIR = {"first": pl.String, "second": pl.String}  # the two groups of a contrast

LEVELS = _schema(
    {
        "group": pl.String,
        **_FEATURE,
        "n": pl.Int64,  # examples that have a value
        "mean": pl.Float64,
        "mean_low": pl.Float64,  # BCa bootstrap over examples
        "mean_high": pl.Float64,
        "sd": pl.Float64,
        "median": pl.Float64,
        "q25": pl.Float64,
        "q75": pl.Float64,
    }
)

EFFECTS = _schema(
    {
        **_PAIR,
        **_FEATURE,
        "n_first": pl.Int64,
        "n_second": pl.Int64,
        "mean_first": pl.Float64,
        "mean_second": pl.Float64,
        "difference": pl.Float64,  # mean_first - mean_second
        "difference_low": pl.Float64,  # BCa bootstrap over examples
        "difference_high": pl.Float64,
        "auc": pl.Float64,  # probability that a random row of `first` exceeds one of `second`, ties half
        "auc_low": pl.Float64,
        "auc_high": pl.Float64,
        "cliffs_delta": pl.Float64,  # 2 auc - 1
        "regression_scale": pl.String,  # of every effect. log: differences of logs; linear: of the measure itself
        "raw_effect": pl.Float64,  # without any control of length
        "raw_effect_low": pl.Float64,
        "raw_effect_high": pl.Float64,
        "paired_rows": pl.Int64,  # of a paired comparison: rows that the effect is of, the same ones on both sides
        "paired_higher": pl.Int64,  # of them, rows where the first is above the second
        "p": pl.Float64,  # of raw_effect, by permutation (paired: by sign flips), two-sided
        "q": pl.Float64,  # p after Benjamini-Hochberg over the layers and projections of the measure
        # overlap weights with regression on splines of log lengths: the control on which verdicts rest
        "weighted_n_first": pl.Float64,  # effective sample size of each group
        "weighted_n_second": pl.Float64,
        "weighted_imbalance": pl.Float64,  # largest difference of weighted mean lengths, in standard deviations
        "weighted_effect": pl.Float64,
        "weighted_low": pl.Float64,
        "weighted_high": pl.Float64,
        "weighted_p": pl.Float64,
        "weighted_q": pl.Float64,
        # pairs of rows of like lengths
        "matched_pairs": pl.Int64,
        "matched_difference": pl.Float64,  # mean over pairs
        "matched_difference_low": pl.Float64,
        "matched_difference_high": pl.Float64,
        "matched_effect": pl.Float64,  # on the scale of the effects, adjusted for what is left of the gap in length
        "matched_low": pl.Float64,
        "matched_high": pl.Float64,
        "matched_p": pl.Float64,  # sign flips, of matched_effect
        "matched_q": pl.Float64,
        # windows of equally many tokens, measured again (--window); null without
        "window_tokens": pl.Int64,  # response tokens of every row
        "window_n_first": pl.Int64,  # rows long enough
        "window_n_second": pl.Int64,
        "window_effect": pl.Float64,
        "window_low": pl.Float64,
        "window_high": pl.Float64,
        "window_p": pl.Float64,
        "window_q": pl.Float64,
        # regression on group, log prompt tokens, log response tokens
        "regression_n": pl.Int64,  # rows it is of: without those that have no value, or whose log has none
        "regression_effect": pl.Float64,
        "regression_low": pl.Float64,
        "regression_high": pl.Float64,
        "regression_p": pl.Float64,
        "regression_q": pl.Float64,
        # Spearman correlation of the measure with membership in `first`
        "partial_n": pl.Int64,
        "spearman": pl.Float64,
        "spearman_low": pl.Float64,
        "spearman_high": pl.Float64,
        "partial_spearman": pl.Float64,  # given prompt and response tokens
        "partial_low": pl.Float64,
        "partial_high": pl.Float64,
        "partial_p": pl.Float64,
        "partial_q": pl.Float64,
    }
)

MAD = _schema(  # of a group's mean curve; no interval where noise makes the resampled curves rougher than it
    {
        "group": pl.String,
        "measure": pl.String,
        "projection": pl.String,
        "mad": pl.Float64,  # mean absolute difference of neighbouring layers (total variation / (L-1))
        "mad_low": pl.Float64,  # BCa bootstrap over examples
        "mad_high": pl.Float64,
        # the mean over the neighbouring pairs that lie inside a third of the layers, in order of depth; null where a
        # third has no pair, and in comparisons of an earlier version
        "mad_early": pl.Float64,
        "mad_early_low": pl.Float64,
        "mad_early_high": pl.Float64,
        "mad_middle": pl.Float64,
        "mad_middle_low": pl.Float64,
        "mad_middle_high": pl.Float64,
        "mad_late": pl.Float64,
        "mad_late_low": pl.Float64,
        "mad_late_high": pl.Float64,
    }
)

RD = _schema(  # of two mean curves: (first - second) / second, layer by layer
    {
        **_PAIR,
        "measure": pl.String,
        "projection": pl.String,
        "rd": pl.Float64,  # mean over layers
        "rd_low": pl.Float64,
        "rd_high": pl.Float64,
        "rd_absolute": pl.Float64,  # mean of its absolute value
        "largest_layers": pl.List(pl.Int16),  # where its absolute value is largest, largest first
        "largest": pl.List(pl.Float64),  # what it is there
    }
)

EXAMPLES = _schema(  # and a column `measure:projection` for each layer mean, and one for each metric
    {
        "group": pl.String,
        "row": pl.Int64,
        "example_id": pl.String,
        "n_prompt_tokens": pl.Int32,
        "n_response_tokens": pl.Int32,
        "truncated": pl.Boolean,
        "loss": pl.Float64,
    }
)

DECAY = _schema(  # singular values relative to the largest, over examples and layers
    {
        "group": pl.String,
        "projection": pl.String,
        "index": pl.Int32,  # 1 is the largest
        "n": pl.Int64,  # gradients; of one that has fewer values the others are 0
        "median": pl.Float64,
        "q25": pl.Float64,
        "q75": pl.Float64,
    }
)

PAIRS = _schema(  # of a paired comparison; and a column `measure:projection` with the effect in the row's layer mean
    {
        "example_id": pl.String,
        "row_first": pl.Int64,  # number of the row in the run of the first group
        "row_second": pl.Int64,
        "group": pl.String,  # by --by; null without, and for rows in no group
        "n_prompt_tokens": pl.Int32,
        "n_response_tokens": pl.Int32,
        "truncated": pl.Boolean,
        "cosine": pl.Float64,  # of the row's gradients in the two models, estimated from sketches; null without
        "cosine_error": pl.Float64,  # standard error of that estimate
    }
)

INTERACTIONS = _schema(  # of two groups of pairs: effects are mean paired effects, of the first minus of the second
    {
        **EFFECTS,
        "gap_first": pl.Float64,  # effect of first over second group of rows in the run of the first side, raw
        "gap_second": pl.Float64,
    }
)

MAD_CHANGES = _schema(  # of the mean curves of a paired contrast
    {
        **_PAIR,
        "measure": pl.String,
        "projection": pl.String,
        "mad_first": pl.Float64,
        "mad_second": pl.Float64,
        "difference": pl.Float64,  # mad_first - mad_second
        "difference_low": pl.Float64,  # BCa bootstrap over pairs
        "difference_high": pl.Float64,
        "p": pl.Float64,  # by exchange of the two sides of pairs, two-sided
        "q": pl.Float64,  # p after Benjamini-Hochberg over the projections of the measure
    }
)

COSINES = ("adjacent_cosine", "same_layer_cosine")
