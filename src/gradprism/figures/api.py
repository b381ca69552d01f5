"""Figures of saved comparisons, or of runs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gradprism.comparison.comparison_files import is_comparison
from gradprism.comparison.opening import Given, comparisons_of
from gradprism.core.errors import GradPrismError
from gradprism.files.paths import to_path

if TYPE_CHECKING:
    from gradprism.figures import Drawn


def draw_figures(
    *given: Given,
    out: str | Path | None = None,
    style: str = "neurips",
    formats: Sequence[str] = ("pdf", "svg", "png"),
    only: Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
) -> "list[Drawn]":
    """Draw every figure of comparisons or runs into files, each with its numbers as CSV, and captions.md.

    `given`: comparisons (as objects or folders) and runs; runs of one model are compared, several models are drawn side
    by side. `out`: a folder; by default `figures` in the folder of a single comparison. `style`: neurips, acl, icml or
    slides. `only`: names of figures, or their beginnings. Raises `GradPrismError`.
    """
    from gradprism import figures

    folder = _figure_folder(given, out)
    return figures.draw_figures(comparisons_of(given, progress), folder, style=style, formats=formats, only=only,
                        progress=progress)  # fmt: skip


def _figure_folder(given: Sequence[Given], out: str | Path | None) -> Path:
    if out is not None:
        return to_path(out)
    if len(given) == 1 and isinstance(given[0], str | Path) and is_comparison(given[0]):
        return to_path(given[0]) / "figures"
    raise GradPrismError(
        "Expected --out, a folder for the figures: only a single saved comparison has its own, DIR/figures."
    )
