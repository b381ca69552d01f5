"""Ablations on a page: which selections beat rows drawn at random, from the folders that `gradprism ablate` wrote."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl

from gradprism.ablation.opening import ABLATION_FILE, read_ablation
from gradprism.ablation.result import Ablation
from gradprism.comparison.opening import Given
from gradprism.core.errors import GradPrismError
from gradprism.files.paths import base_name, to_path
from gradprism.report.page_json import rounded
from gradprism.runs.layout import RUN_FILE

Shown: TypeAlias = Given | Ablation


def apart(given: Sequence[Shown]) -> tuple[list[Given], list[Ablation]]:
    """Tell comparisons and runs from ablations. An ablation alone brings the run that its arms choose from.

    Raises `GradPrismError` where that is none.
    """
    ablations = [
        item if isinstance(item, Ablation) else read_ablation(to_path(item)) for item in given if _is_one(item)
    ]
    others: list[Given] = [item for item in given if not isinstance(item, Ablation) and not _is_one(item)]
    if ablations and not others:
        pools = dict.fromkeys(ablation.recipe.data[0] for ablation in ablations)
        others = [name for name in pools if (to_path(name) / RUN_FILE).is_file()]
        if not others:
            raise GradPrismError(
                f"Given the ablation {ablations[0].path} alone, whose pool is no run: its page is "
                f"{ablations[0].path / 'README.md'}. Expected a run or a comparison beside it."
            )
    return others, ablations


def ablation_data(ablation: Ablation) -> dict[str, Any]:
    """Return what the page's section shows of one ablation."""
    train = ablation.recipe.train
    return {
        "name": ablation.path.name,
        "model": base_name(ablation.recipe.checkpoint.model),
        "tokens": train.tokens,
        "steps": train.steps,
        "seeds": train.seeds,
        "lora_rank": train.lora_rank,
        "sentences": [list(pair) for pair in ablation.sentences],
        "problems": ablation.problems,
        "effects": _rows(ablation.effects),
        "score_effects": _rows(ablation.score_effects),
        "curves": _rows(ablation.curves),
        "budgets": _rows(ablation.budgets),
    }


def _rows(table: pl.DataFrame) -> list[dict[str, Any]]:
    return [
        {name: rounded(value) if isinstance(value, float) else value for name, value in row.items()}
        for row in table.iter_rows(named=True)
    ]


def _is_one(item: Shown) -> bool:
    return isinstance(item, Ablation) or (isinstance(item, str | Path) and (to_path(item) / ABLATION_FILE).is_file())
