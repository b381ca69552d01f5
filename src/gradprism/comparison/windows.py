"""Windows of equally many tokens: measure the rows again with their lengths made equal, a length control by design.

A window is the last tokens of the prompt and the first of the response, the same numbers for every row (the settings
`prompt_tokens` and `response_tokens` of a text). Every gradient is then of as many tokens, and rows that have fewer are
left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from gradprism.comparison.group_matrix import GroupMatrix, read_groups
from gradprism.comparison.grouping import GroupRows
from gradprism.core.errors import GradPrismError
from gradprism.core.progress import NoProgress, Progress
from gradprism.core.settings import checked, read_yaml
from gradprism.runs.layout import RECIPE_FILE
from gradprism.runs.record import examples_of
from gradprism.runs.run import Run

_FEWEST = 5  # rows of a group, below which nothing could be found


@dataclass(frozen=True)
class Window:
    """Tokens of prompt and response that every row of a window has."""

    prompt_tokens: int
    response_tokens: int

    def __str__(self) -> str:
        """Return the window in words."""
        return f"the first {self.response_tokens:,} response tokens after the last {self.prompt_tokens:,} of the prompt"

    def rows_left(self, group: GroupMatrix) -> int:
        """Count the rows of a group that are long enough."""
        return int((_tokens(group) >= (self.prompt_tokens, self.response_tokens)).all(axis=1).sum())


def window_of(groups: Sequence[GroupMatrix], response_tokens: int | None = None) -> Window | None:
    """Return the longest window that leaves at least half of the rows of every group; None where no row has a length.

    First the response: so many tokens as half of the rows of every group have, unless given. Then the prompt: so many
    as nine in ten of those rows have, that few more are lost.
    """
    tokens = [_tokens(group) for group in groups]
    if not all(len(each) for each in tokens):
        return None
    response = response_tokens or int(min(np.floor(np.median(each[:, 1])) for each in tokens))
    left = [each[each[:, 1] >= response, 0] for each in tokens]
    if response < 1 or not all(len(each) for each in left):
        return None
    return Window(max(1, int(min(np.quantile(each, 0.1) for each in left))), response)


def advice(first: GroupMatrix, second: GroupMatrix) -> str:
    """Say which window would tell a difference from length, and how many rows would remain; empty where none would."""
    window = window_of([first, second])
    if window is None or min(window.rows_left(each) for each in (first, second)) < _FEWEST:
        return ""
    left = " and ".join(
        f"{window.rows_left(each):,} of {each.examples.height:,} {each.name} rows" for each in (first, second)
    )
    return (
        f"compare --window {window.response_tokens} could decide: it measures {window} of every row (as spectra does "
        f"with --prompt-tokens {window.prompt_tokens} --response-tokens {window.response_tokens}); {left} remain"
    )


def measure_windows(
    groups: Sequence[GroupRows], window: Window, measures: Sequence[str], observer: Progress | None = None
) -> dict[str, GroupMatrix]:
    """Measure the rows of each group in a window, and return their values by the name of the group.

    Each run is measured again by its recipe into a run beside it, `RUN-window-P-N`, which is resumed where it is there.
    Raises `GradPrismError` where data or model are not at hand.
    """
    runs = {group.run.path: group.run for group in groups}
    windowed = {path: _windowed_run(run, window, observer or NoProgress()) for path, run in runs.items()}
    chosen = [_rows_left(group, windowed[group.run.path]) for group in groups]
    matrices, _ = read_groups(chosen, [], measures)
    return {matrix.name: matrix for matrix in matrices}


def command_of(run: Run, window: Window) -> str:
    """Say which command measures a run in windows where its data and model are."""
    model, sources = run.record["model"].get("name") or "MODEL", run.record["data"].get("sources") or ["DATA"]
    return (
        f"Where data and model are: gradprism spectra {' '.join(map(str, sources))} --model {model} --prompt-tokens "
        f"{window.prompt_tokens} --response-tokens {window.response_tokens} --out {windowed_path(run.path, window)}"
    )


def windowed_path(run: Path, window: Window) -> Path:
    """Return where the windows of a run are."""
    return run.with_name(f"{run.name}-window-{window.prompt_tokens}-{window.response_tokens}")


def _windowed_run(run: Run, window: Window, observer: Progress) -> Run:
    from gradprism.measurement.api import run_recipe
    from gradprism.measurement.settings import SpectraRecipe

    values = read_yaml(run.path / RECIPE_FILE) if (run.path / RECIPE_FILE).is_file() else {}
    if values.get("verb") != "spectra" or not values.get("data"):
        raise GradPrismError(
            f"The run {run.path} was not measured from files by `gradprism spectra`, so that it cannot be measured "
            "again in windows. Expected a run with such a recipe."
        )
    recipe = checked(SpectraRecipe, values)
    if examples_of(recipe).fingerprint != run.record["data"]["fingerprint"]:
        raise GradPrismError(
            f"The data of {run.path} have changed since it was measured, so that windows would be of other rows. "
            "Measure the run again, or restore its data."
        )
    text = {"prompt_tokens": window.prompt_tokens, "response_tokens": window.response_tokens}
    changes = {
        "text": recipe.text.model_copy(update=text),
        "prism": recipe.prism.model_copy(update={"spectrum": False}),
        "out": str(windowed_path(run.path, window)),
    }
    return run_recipe(recipe.model_copy(update=changes), observer)


def _rows_left(group: GroupRows, windowed: Run) -> GroupRows:
    measured = windowed.scan("examples").filter(pl.col("status") == "ok", pl.col("row").is_in(group.rows.implode()))
    return GroupRows(group.name, windowed, group.rule, measured.select("row").sort("row").collect()["row"])


def _tokens(group: GroupMatrix) -> np.ndarray:
    """Return prompt and response tokens of the rows that have both, (n, 2)."""
    counts = group.examples.select("n_prompt_tokens", "n_response_tokens").drop_nulls()
    return counts.to_numpy().astype(float)
