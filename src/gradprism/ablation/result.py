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
        from gradprism.stats.multiplicity import holm  # scipy, which opening an ablation does without

        tables = [pl.DataFrame([*self._effects_on(name)], schema=EFFECTS, orient="row") for name in self.recipe.evals]
        adjusted = [holm(table["p"].fill_null(np.nan).to_numpy()) for table in tables]
        table = pl.concat(tables).with_columns(p_holm=pl.Series(np.concatenate(adjusted)).fill_nan(None))
        return table.with_columns(verdict=_verdict())

    def _effects_on(self, name: str) -> Iterator[dict[str, Any]]:
        from gradprism.stats.arm_difference import arm_difference, tokens_to_reach

        own = self.losses.filter(eval=name)
        if RANDOM not in self.arms or own.is_empty():
            return
        last, first = own["step"].max(), own["step"].min()
        random, weights = _matrix(own.filter(step=last, arm=RANDOM))
        before = own.filter(step=first, arm=RANDOM)
        loss_random = float(random.mean(0) @ weights / weights.sum())
        for arm in self.arms:
            if arm == RANDOM:
                continue
            losses, _ = _matrix(own.filter(step=last, arm=arm))
            found = arm_difference(losses, random, weights)
            curve = self.curves.filter(eval=name, arm=arm)
            tokens = tokens_to_reach(curve["tokens"].cast(pl.Float64).to_numpy(), curve["loss"].to_numpy(), loss_random)
            yield {
                "eval": name, "arm": arm, "verdict": None, "seeds": len(losses), "rows": len(weights),
                "loss_before": float(before["nll"].sum()) / float(before["n_tokens"].sum()),
                "loss": float(losses.mean(0) @ weights / weights.sum()), "loss_random": loss_random,
                "difference": found.value, "low": _known(found.low), "high": _known(found.high), "p": _known(found.p),
                "p_holm": None, "visible": _known(found.visible), "share_of_seeds": _known(found.share_of_seeds),
                "tokens_to_match": _known(tokens), "tokens": self.recipe.train.tokens,
            }  # fmt: skip

    @property
    def budgets(self) -> pl.DataFrame:
        """Count what each arm trained on: rows, response and prompt tokens, median response, means over seeds."""
        return budgets_of(self.rows)

    @property
    def sentences(self) -> list[str]:
        """Say what was found, the most decided first: a sentence for each evaluation set."""
        return [sentence_on(name, self.effects.filter(eval=name)) for name in self.recipe.evals]

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
        found = [(name, text) for name, text in zip(self.recipe.evals, self.sentences, strict=True)]
        return [*found, *(("failed", text) for text in self.problems), ("page", str(self.path / "README.md"))]

    def __repr__(self) -> str:
        """Return the findings as text."""
        return lines_as_text(self.summary_lines)

    def _repr_html_(self) -> str:
        """Return the findings and the table of effects as HTML for a notebook."""
        return lines_as_html(self.summary_lines) + self.effects._repr_html_()


def sentence_on(name: str, effects: pl.DataFrame) -> str:
    """Say which arms beat random rows on one evaluation set, by how much, and what could not have been seen."""
    if effects.is_empty():
        return "nothing was compared with random rows."
    better, worse = (effects.filter(verdict=verdict).sort("difference") for verdict in (BETTER, WORSE))
    said = [f"{_listed(better)} {'beats' if better.height == 1 else 'beat'} random rows"] if better.height else []
    if worse.height:
        said.append(f"{_listed(worse)} {'is' if worse.height == 1 else 'are'} worse than random rows")
    unclear = effects.filter(pl.col("verdict").is_in([OPEN, UNKNOWN]))
    if unclear.height:
        largest = max(unclear["visible"].drop_nulls().to_list(), default=None)
        missed = "" if largest is None else f" (a difference below {number(largest)} would often be missed)"
        others = f"{unclear.height} other{'s' * (unclear.height > 1)}" if said else f"{unclear.height} tried"
        said.append(f"of {others} nothing is shown{missed}")
    if not better.height:
        said = ["no arm beats random rows here", *said]
    return "; ".join(said) + "."


def _listed(effects: pl.DataFrame) -> str:
    said = []
    for row in effects.iter_rows(named=True):
        matched = row["tokens_to_match"]
        share = (
            f", as good after {matched / row['tokens']:.0%} of the tokens" if matched and row["difference"] < 0 else ""
        )
        said.append(
            f"{row['arm']} ({row['difference']:+.3f} nats a token [{row['low']:+.3f}, {row['high']:+.3f}]{share})"
        )
    return ", ".join(said)


def _verdict() -> pl.Expr:
    decided = pl.col("p_holm") < _P
    return (
        pl.when(pl.col("p_holm").is_null()).then(pl.lit(UNKNOWN))
        .when(decided & (pl.col("difference") < 0)).then(pl.lit(BETTER))
        .when(decided).then(pl.lit(WORSE))
        .otherwise(pl.lit(OPEN))
    )  # fmt: skip


def _matrix(losses: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return mean losses (seeds, rows) of one arm and evaluation, and the rows' tokens."""
    ordered = losses.sort("seed", "row")
    seeds = ordered["seed"].n_unique()
    shape = seeds, len(ordered) // seeds
    tokens = ordered["n_tokens"].cast(pl.Float64).to_numpy().reshape(shape)
    return ordered["nll"].to_numpy().reshape(shape) / tokens, tokens[0]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
