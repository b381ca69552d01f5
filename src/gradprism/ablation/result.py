"""An `Ablation`: what each arm came to, beside rows drawn at random at the same tokens."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gradprism.ablation.settings import RANDOM, AblateRecipe
from gradprism.ablation.tables import budgets_of
from gradprism.core.numbers import number
from gradprism.core.summary_lines import lines_as_html, lines_as_text

EFFECTS = {
    "eval": pl.String, "arm": pl.String, "verdict": pl.String, "seeds": pl.Int64, "rows": pl.Int64,
    "loss_before": pl.Float64, "loss": pl.Float64, "loss_random": pl.Float64, "difference": pl.Float64,
    "low": pl.Float64, "high": pl.Float64, "p": pl.Float64, "p_holm": pl.Float64, "visible": pl.Float64,
    "share_of_seeds": pl.Float64, "tokens_to_match": pl.Float64, "tokens": pl.Int64,
}  # fmt: skip
"""A row for each evaluation set and arm: losses in nats a response token, the arm's less that of random rows; `p_holm`
for all arms of that set together; `visible`, the smallest difference found in 80 of 100 such ablations;
`share_of_seeds`, the part of the variance that seeds make; and `tokens_to_match`, after which the arm's mean curve is
as low as that of random rows at its end."""
SCORE_EFFECTS = {
    "task": pl.String, "metric": pl.String, "arm": pl.String, "verdict": pl.String, "seeds": pl.Int64, "rows": pl.Int64,
    "score_before": pl.Float64, "score": pl.Float64, "score_random": pl.Float64, "difference": pl.Float64,
    "low": pl.Float64, "high": pl.Float64, "p": pl.Float64, "p_holm": pl.Float64, "visible": pl.Float64,
    "share_of_seeds": pl.Float64, "higher_is_better": pl.Boolean,
}  # fmt: skip
"""A row for each metric of a task and arm, as in `EFFECTS`: mean scores of a task's items."""
CURVES = {
    "eval": pl.String, "arm": pl.String, "step": pl.Int64, "tokens": pl.Int64, "seeds": pl.Int64,
    "loss": pl.Float64, "lowest": pl.Float64, "highest": pl.Float64,
}  # fmt: skip
"""Mean loss over seeds after each evaluation, with the lowest and the highest seed."""
BETTER, WORSE, OPEN, UNKNOWN = "beats random", "is worse than random", "not shown", "unknown"
_P = 0.05


@dataclass(frozen=True)
class Ablation:
    """Arms trained at equal tokens, and their losses on evaluation sets."""

    recipe: AblateRecipe
    record: Mapping[str, Any]
    losses: pl.DataFrame
    """`gradprism.ablation.tables.LOSSES`: every evaluation row, arm and seed, along the training."""
    steps: pl.DataFrame
    """`gradprism.ablation.tables.STEPS`: every step of the optimiser."""
    rows: pl.DataFrame
    """`gradprism.ablation.tables.ROWS`: what was trained on, in order."""
    scores: pl.DataFrame
    """`gradprism.ablation.tables.SCORES`: every item of every task of lm-evaluation-harness, before and after."""
    jobs: pl.DataFrame
    """`gradprism.ablation.tables.JOB`: how each training ended."""
    refused: Mapping[str, str]
    """Arms that could not be had, with the reason."""

    @property
    def path(self) -> Path:
        """Folder of the ablation."""
        return Path(self.recipe.out)

    @property
    def arms(self) -> tuple[str, ...]:
        """Arms that were trained with some seed to the end, `random` first."""
        ended = set(self.jobs.filter(status="ok")["arm"])
        return tuple(arm for arm in self.recipe.arms if arm in ended)

    @cached_property
    def curves(self) -> pl.DataFrame:
        """Mean loss along the training; columns of `CURVES`."""
        if self.losses.is_empty():
            return pl.DataFrame(schema=CURVES)
        keys = ["eval", "arm", "step"]
        of_seeds = self.losses.group_by(*keys, "seed", maintain_order=True).agg(
            pl.col("tokens").first(), loss=pl.col("nll").sum() / pl.col("n_tokens").sum()
        )
        return of_seeds.group_by(keys, maintain_order=True).agg(
            # steps hold whole rows, so that after as many of them seeds differ by some tokens
            tokens=pl.col("tokens").mean().round().cast(pl.Int64),
            seeds=pl.len().cast(pl.Int64),
            loss=pl.col("loss").mean(),
            lowest=pl.col("loss").min(),
            highest=pl.col("loss").max(),
        ).select(*CURVES)  # fmt: skip

    @cached_property
    def effects(self) -> pl.DataFrame:
        """Every arm against random rows on every evaluation set; columns of `EFFECTS`."""
        own = self.losses.with_columns(value=pl.col("nll") / pl.col("n_tokens"), weight=pl.col("n_tokens"))
        parts = [self._effects_on(name, own.filter(eval=name)) for name in self.recipe.evals]
        return pl.concat([pl.DataFrame(schema=EFFECTS), *parts]).with_columns(verdict=_verdict(pl.lit(False)))

    def _effects_on(self, name: str, own: pl.DataFrame) -> pl.DataFrame:
        from gradprism.stats.arm_difference import tokens_to_reach

        rows = []
        for row in self._against_random(own):
            curve = self.curves.filter(eval=name, arm=row["arm"])
            tokens, losses = curve["tokens"].cast(pl.Float64).to_numpy(), curve["loss"].to_numpy()
            matched = tokens_to_reach(tokens, losses, row["random"])
            rows.append({
                **row, "eval": name, "loss_before": row["before"], "loss": row["value"], "loss_random": row["random"],
                "tokens_to_match": _known(matched), "tokens": self.recipe.train.tokens,
            })  # fmt: skip
        return _with_holm(rows, EFFECTS)

    @cached_property
    def score_effects(self) -> pl.DataFrame:
        """Every arm against random rows in every metric of every task; columns of `SCORE_EFFECTS`."""
        parts = [pl.DataFrame(schema=SCORE_EFFECTS)]
        keys = self.scores.select("task", "metric", "higher_is_better").unique(maintain_order=True)
        for task, metric, higher in keys.iter_rows():
            own = self.scores.filter(task=task, metric=metric).with_columns(weight=pl.lit(1))
            rows = [
                {**row, "task": task, "metric": metric, "score_before": row["before"], "score": row["value"],
                 "score_random": row["random"], "higher_is_better": higher}
                for row in self._against_random(own)
            ]  # fmt: skip
            parts.append(_with_holm(rows, SCORE_EFFECTS))
        return pl.concat(parts).with_columns(verdict=_verdict(pl.col("higher_is_better")))

    def _against_random(self, own: pl.DataFrame) -> Iterator[dict[str, Any]]:
        """Compare each arm's `value` of rows after its last step with those of random rows, in means by `weight`."""
        from gradprism.stats.arm_difference import arm_difference  # scipy, which opening an ablation does without

        if RANDOM not in self.arms or own.is_empty():
            return
        last, first = own["step"].max(), own["step"].min()
        random, weights = _matrix(own.filter(step=last, arm=RANDOM))
        before, _ = _matrix(own.filter(step=first, arm=RANDOM))
        shares = weights / weights.sum()
        for arm in self.arms:
            if arm == RANDOM:
                continue
            values, _ = _matrix(own.filter(step=last, arm=arm))
            found = arm_difference(values, random, weights)
            yield {
                "arm": arm, "seeds": len(values), "rows": len(weights), "before": float(before.mean(0) @ shares),
                "value": float(values.mean(0) @ shares), "random": float(random.mean(0) @ shares),
                "difference": found.value, "low": _known(found.low), "high": _known(found.high), "p": _known(found.p),
                "visible": _known(found.visible), "share_of_seeds": _known(found.share_of_seeds),
            }  # fmt: skip

    @property
    def budgets(self) -> pl.DataFrame:
        """Count what each arm trained on: rows, response and prompt tokens, median response, means over seeds."""
        return budgets_of(self.rows)

    @property
    def sentences(self) -> list[tuple[str, str]]:
        """Say what was found: each evaluation set, and each metric of a task, with a sentence."""
        losses = [(name, sentence_on(self.effects.filter(eval=name), "nats a token")) for name in self.recipe.evals]
        keys = self.score_effects.select("task", "metric").unique(maintain_order=True)
        scores = [
            (f"{task} ({metric})", sentence_on(self.score_effects.filter(task=task, metric=metric), metric))
            for task, metric in keys.iter_rows()
        ]
        return [*losses, *scores]

    @property
    def problems(self) -> list[str]:
        """Arms that were not had, and trainings that failed, each with its reason."""
        failed = self.jobs.filter(status="failed")
        return [
            *(f"{arm}: {reason}" for arm, reason in self.refused.items()),
            *(f"{arm}, seed {seed}: {reason}" for arm, seed, reason in failed.select("arm", "seed", "reason").rows()),
        ]

    @property
    def summary_lines(self) -> list[tuple[str, str]]:
        """Findings, problems and the place of the page, each a name and a line of text."""
        return [*self.sentences, *(("failed", text) for text in self.problems), ("page", str(self.path / "README.md"))]

    def __repr__(self) -> str:
        """Return the findings as text."""
        return lines_as_text(self.summary_lines)

    def _repr_html_(self) -> str:
        """Return the findings and the tables of effects as HTML for a notebook."""
        tables = [table for table in (self.effects, self.score_effects) if not table.is_empty()]
        return lines_as_html(self.summary_lines) + "".join(table._repr_html_() for table in tables)


def sentence_on(effects: pl.DataFrame, unit: str) -> str:
    """Say which arms beat random rows, by how much, and what could not have been seen."""
    if effects.is_empty():
        return "nothing was compared with random rows."
    better, worse = (effects.filter(verdict=verdict).sort("p_holm") for verdict in (BETTER, WORSE))
    said = [f"{_listed(better, unit)} {'beats' if better.height == 1 else 'beat'} random rows"] if better.height else []
    if worse.height:
        said.append(f"{_listed(worse, unit)} {'is' if worse.height == 1 else 'are'} worse than random rows")
    unclear = effects.filter(pl.col("verdict").is_in([OPEN, UNKNOWN]))
    if unclear.height:
        largest = max(unclear["visible"].drop_nulls().to_list(), default=None)
        missed = "" if largest is None else f" (a difference below {number(largest)} would often be missed)"
        others = f"{unclear.height} other{'s' * (unclear.height > 1)}" if said else f"{unclear.height} tried"
        said.append(f"of {others} nothing is shown{missed}")
    if not better.height:
        said = ["no arm beats random rows here", *said]
    return "; ".join(said) + "."


def _listed(effects: pl.DataFrame, unit: str) -> str:
    said = []
    for row in effects.iter_rows(named=True):
        matched = row.get("tokens_to_match")
        share = f", as good after {matched / row['tokens']:.0%} of the tokens" if matched else ""
        share *= row["difference"] < 0
        said.append(f"{row['arm']} ({row['difference']:+.3f} {unit} [{row['low']:+.3f}, {row['high']:+.3f}]{share})")
    return ", ".join(said)


def _with_holm(rows: list[dict[str, Any]], schema: Mapping[str, Any]) -> pl.DataFrame:
    """Make a table of the arms on one set of rows, with Holm's p; columns that `rows` lack are null."""
    from gradprism.stats.multiplicity import holm

    table = pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema, orient="row")
    adjusted = holm(table["p"].fill_null(np.nan).to_numpy())
    return table.with_columns(p_holm=pl.Series("p_holm", adjusted, pl.Float64).fill_nan(None))


def _verdict(higher_is_better: pl.Expr) -> pl.Expr:
    decided, is_higher = pl.col("p_holm") < _P, pl.col("difference") > 0
    return (
        pl.when(pl.col("p_holm").is_null() | higher_is_better.is_null()).then(pl.lit(UNKNOWN))
        .when(decided).then(pl.when(is_higher == higher_is_better).then(pl.lit(BETTER)).otherwise(pl.lit(WORSE)))
        .otherwise(pl.lit(OPEN))
    )  # fmt: skip


def _matrix(own: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the values (seeds, rows) of one arm after one step, and the rows' weights."""
    ordered = own.sort("seed", "row")
    seeds = ordered["seed"].n_unique()
    shape = seeds, len(ordered) // seeds
    weights = ordered["weight"].cast(pl.Float64).to_numpy().reshape(shape)
    return ordered["value"].to_numpy().reshape(shape), weights[0]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
