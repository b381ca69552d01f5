"""Comparisons with made-up numbers, for what only draws or shows them: any number of groups, layers and examples.

Values follow a smooth curve over layers, differ a little between groups and depend on length, so that pictures look
like real ones. The statistics themselves are tested on `gradprism.compare`.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from gradprism.comparison import comparison_tables as tables
from gradprism.comparison.comparison import Comparison, Finding, Group
from gradprism.correlation.tables import CORRELATIONS
from gradprism.prism.measures import MEASURES

PROJECTIONS = ("q", "k", "v", "o")
METRICS = ("ifd", "length", "loss")


def made_comparison(
    groups: Sequence[str] = ("high", "low"), n: int = 40, layers: int = 12, seed: int = 0, model: str = "tiny-1b"
) -> Comparison:
    rng = np.random.default_rng(seed)
    features = [(m, p, layer) for m in MEASURES for p in (*PROJECTIONS, "mean") for layer in (None, *range(layers))]
    features += [("adjacent_cosine", p, layer) for p in PROJECTIONS for layer in (None, *range(layers - 1))]
    features += [("same_layer_cosine", p, layer) for p in ("k-v", "q-o") for layer in (None, *range(layers))]
    features += [(metric, None, None) for metric in METRICS]
    contrasts = tuple((groups[i], groups[j]) for i in range(len(groups)) for j in range(i + 1, len(groups)))
    level = {(g, f): _level(rng, i, f, layers) for i, g in enumerate(groups) for f in features}
    return Comparison(
        tuple(
            Group(name, f"/nowhere/{name}", "all rows", n, 2, 1, 0, 3, {"empty response": 2, "loss is not finite": 1},
                  20.0, 150.0 - 40 * i)
            for i, name in enumerate(groups)
        ),
        contrasts,
        tuple(Finding(a, b, m, "mean", kind, f"{m} of {a} and {b}: {kind}.") for a, b in contrasts
              for m, kind in (("effective_rank", "length"), ("nuclear_norm", "survives"))),
        ("made up",),
        {
            "created": "2026-11-22T12:00:00+00:00", "versions": {"gradprism": "0.1.0"},
            "model": {"name": model, "class": "LlamaForCausalLM", "layers": layers, "dtype": "float32"},
            "text": {"template": "paper", "max_length": 2048}, "precision": "exact",
            "data": [{"sources": [f"{g}.jsonl"], "schema": "prompt / response", "rows": n + 3} for g in groups],
            "runs": [f"/nowhere/{g}" for g in groups], "projections": PROJECTIONS, "layers": tuple(range(layers)),
            "measures": MEASURES, "metrics": METRICS,
            "settings": {"resamples": 999, "seed": 0, "caliper": 0.05, "confidence": 0.95},
        },
        pl.DataFrame([_level_row(g, f, level[g, f], n) for g in groups for f in features], schema=tables.LEVELS),
        pl.DataFrame([_effect_row(rng, a, b, f, level, n) for a, b in contrasts for f in features],
                     schema=tables.EFFECTS),
        pl.DataFrame([(g, m, p, *[x, x * 0.9, x * 1.1] * 4) for g in groups for m in MEASURES for p in PROJECTIONS
                      for x in [rng.uniform(0.1, 1)]], schema=tables.MAD, orient="row"),
        pl.DataFrame([(a, b, m, p, 0.1, 0.05, 0.15, 0.12, [1, 0], [0.3, -0.2]) for a, b in contrasts for m in MEASURES
                      for p in PROJECTIONS], schema=tables.RD, orient="row"),
        _examples(rng, groups, n),
        pl.DataFrame([(g, p, i, n, 0.8**i, 0.7**i, 0.9**i) for g in groups for p in PROJECTIONS for i in range(1, 60)],
                     schema=tables.DECAY, orient="row"),
        _correlations(rng),
    )  # fmt: skip


def _level(rng: np.random.Generator, place: int, feature: tuple[str, str | None, int | None], layers: int) -> float:
    measure, projection, layer = feature
    if "cosine" in measure:
        return float(rng.normal(0, 0.02))
    scale = {"effective_rank": 40.0, "length": 150.0, "stable_rank": 2.0}.get(measure, 1.5)
    bump = 1 if layer is None else 1 + 0.6 * np.sin(3 * layer / layers + len(projection or "") * 0.4)
    return float(scale * bump * (1 - 0.15 * place) * {"q": 1, "k": 0.9, "v": 0.6, "o": 1.4}.get(projection or "", 1))


def _level_row(group: str, feature: tuple, value: float, n: int) -> dict:
    spread = abs(value) * 0.1 + 1e-3
    return {
        "group": group, "measure": feature[0], "projection": feature[1], "layer": feature[2], "n": n, "mean": value,
        "mean_low": value - spread, "mean_high": value + spread, "sd": 4 * spread, "median": value * 0.97,
        "q25": value - 2 * spread, "q75": value + 2 * spread,
    }  # fmt: skip


def _effect_row(rng: np.random.Generator, a: str, b: str, feature: tuple, level: dict, n: int) -> dict:
    first, second, auc = level[a, feature], level[b, feature], float(rng.uniform(0.3, 0.9))
    p = float(rng.uniform() ** 3)
    gap = first - second
    return {
        "first": a, "second": b, "measure": feature[0], "projection": feature[1], "layer": feature[2], "n_first": n,
        "n_second": n, "mean_first": first, "mean_second": second, "difference": gap,
        "difference_low": gap - abs(gap) / 2, "difference_high": gap + abs(gap) / 2, "auc": auc,
        "auc_low": auc - 0.1, "auc_high": auc + 0.1, "cliffs_delta": 2 * auc - 1, "p": p, "q": min(1.0, 2 * p),
        "matched_pairs": n // 3, "matched_difference": gap / 3, "matched_difference_low": gap / 3 - abs(gap) / 2,
        "matched_difference_high": gap / 3 + abs(gap) / 2, "matched_effect": 0.04, "matched_low": -0.1,
        "matched_high": 0.18, "matched_p": 0.3, "matched_q": 0.4, "regression_scale": "log", "regression_n": 2 * n,
        "raw_effect": 0.1, "raw_effect_low": 0.02, "raw_effect_high": 0.18, "regression_effect": 0.03,
        "regression_low": -0.01, "regression_high": 0.07, "regression_p": 0.2, "regression_q": 0.3,
        "spearman": auc - 0.5, "spearman_low": auc - 0.6, "spearman_high": auc - 0.4, "partial_n": 2 * n,
        "partial_spearman": (auc - 0.5) / 3, "partial_low": (auc - 0.5) / 3 - 0.1,
        "partial_high": (auc - 0.5) / 3 + 0.1, "partial_p": 0.2, "partial_q": 0.3,
    }  # fmt: skip


def _examples(rng: np.random.Generator, groups: Sequence[str], n: int) -> pl.DataFrame:
    rows = []
    for place, group in enumerate(groups):
        for row in range(n):
            length = int(np.exp(rng.normal(5 - 0.5 * place, 0.8))) + 1
            means = {
                f"{m}:{p}": float(rng.lognormal(0, 0.2) * (length**0.5 if "rank" in m else 20 / length**0.5))
                for m in MEASURES
                for p in (*PROJECTIONS, "mean")
            }
            cosines = {f"adjacent_cosine:{p}": float(rng.normal(0, 0.02)) for p in PROJECTIONS}
            rows.append({"group": group, "row": row, "example_id": f"{group}-{row}", "n_prompt_tokens": 20 + row,
                         "n_response_tokens": length, "truncated": False, "loss": 1.5, **means, **cosines,
                         "ifd": float(rng.uniform()), "length": float(length)})  # fmt: skip
    return pl.DataFrame(rows, schema_overrides=tables.EXAMPLES)


def _correlations(rng: np.random.Generator) -> pl.DataFrame:
    names = ["ifd", "length", "loss", "reward", *(f"{m}:mean" for m in MEASURES)]
    rows = []
    for i, x in enumerate(names):
        for y in names[i + 1 :]:
            rho = float(rng.uniform(-1, 1))
            rows.append(
                (x, y, 80, rho, rho - 0.1, rho + 0.1, 0.01, 0.02, rho / 3, rho / 3 - 0.1, rho / 3 + 0.1, 0.3, 0.4)
            )
    return pl.DataFrame(rows, schema=CORRELATIONS, orient="row")
