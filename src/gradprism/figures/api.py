"""Draw the figures of comparisons or runs: into files, or one in memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.comparison_files import is_comparison
from gradprism.comparison.opening import Given, comparisons_of, folder_of
from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need
from gradprism.core.settings import one_or_several
from gradprism.figures.plot import Missing, Plot
from gradprism.figures.styles import Style, style_named
from gradprism.files.atomic import write_whole
from gradprism.files.csv_tables import csv_bytes
from gradprism.files.folder import FolderKind, written_folder
from gradprism.files.paths import to_path
from gradprism.runs.run import open_run
from gradprism.runs.steps import is_training

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("pdf", "svg", "png")


@dataclass(frozen=True)
class Drawn:
    """The files of a figure, or the reason why there are none."""

    name: str
    files: tuple[Path, ...]
    csv: Path | None
    caption: str
    reason: str | None = None

    def __repr__(self) -> str:
        """Name the figure and its files, or the reason why there are none."""
        return f"Drawn({self.name}: {self.reason or ', '.join(str(file) for file in self.files)})"

    def moved_to(self, folder: Path) -> "Drawn":
        """Return the figure with its files in another folder."""
        files = tuple(folder / file.name for file in self.files)
        return replace(self, files=files, csv=self.csv and folder / self.csv.name)


def draw_figures(
    *given: Given,
    out: str | Path | None = None,
    style: str = "neurips",
    formats: str | Sequence[str] = FORMATS,
    only: str | Sequence[str] = (),
    progress: Callable[[str], None] | None = None,
) -> list[Drawn]:
    """Write OUT/NAME.pdf, .svg and .png of every figure, OUT/NAME.csv with the numbers in it, and OUT/captions.md.

    `given`: comparisons (as objects or folders) and runs; runs of one model are compared, several models are drawn side
    by side, and so are the steps of a training, for which its folder stands. `out`: a folder; by default `figures` in
    the folder of a single comparison. `style`: neurips, acl, icml, slides, web or web-dark. `formats`, `only`: one or
    several, as a text with commas or a sequence; `only` are names of figures, or their beginnings. `progress` is called
    with each name before its figure is drawn.

    captions.md also has the notes of the comparisons, the names of further figures, and the captions of figures that
    were in OUT before, those of other comparisons by themselves. A figure that cannot be drawn is returned with its
    reason and no files. The same comparison gives the same bytes.

    Raises `GradPrismError` for an unknown style, format or figure, without matplotlib, and where `out` cannot be
    written.
    """
    from gradprism.figures.captions import CAPTIONS

    folder, chosen_style = _figure_folder(given, out), style_named(style)
    formats = one_or_several(formats)
    _check_formats(formats)
    comparisons = comparisons_of(given, progress)
    plots = _catalogue(comparisons)
    wanted = _chosen(plots, one_or_several(only))
    with written_folder(folder, FolderKind("figures")) as new:
        drawn = [_draw_files(plot, new, chosen_style, formats, progress) for plot in wanted]
        content = _captions(folder, drawn, comparisons, plots)
        write_whole(new / CAPTIONS, content.encode("utf-8", "replace"))
    return [one.moved_to(folder) for one in drawn]


def _figure_folder(given: Sequence[Given], out: str | Path | None) -> Path:
    if out is not None:
        return to_path(out)
    if len(given) == 1 and isinstance(given[0], str | Path) and is_comparison(given[0]):
        return to_path(given[0]) / "figures"
    for item in given:  # what is no run is said first
        if isinstance(item, str | Path) and not is_comparison(item) and not is_training(item):
            open_run(str(folder_of(item)))
    raise GradPrismError(
        "Expected --out, a folder for the figures: only a single saved comparison has its own, DIR/figures."
    )


def figure(
    comparisons: Comparison | Sequence[Comparison], name: str, style: str = "neurips"
) -> "tuple[Figure, pl.DataFrame]":
    """Return one figure by its name, and exactly the numbers in it; `write_figure` writes it with the same style.

    Raises `GradPrismError` for an unknown or ambiguous name, and for a figure that cannot be drawn.
    """
    from gradprism.figures.files import make

    plots = _chosen(_catalogue((comparisons,) if isinstance(comparisons, Comparison) else comparisons), (name,))
    if len(plots) > 1:
        raise GradPrismError(f"{name!r} stands for {len(plots)} figures: {', '.join(p.name for p in plots)}. Name one.")
    plot = plots[0]
    if isinstance(plot, Missing):
        raise GradPrismError(f"The figure {plot.name!r} cannot be drawn: {plot.reason}.")
    return make(plot, style_named(style)), plot.data


def write_figure(figure: "Figure", file: Path, style: str = "neurips") -> None:
    """Write a figure in the format that the file's name ends in, whole, with fonts and sizes of the style.

    Raises `GradPrismError` for an unknown style or format.
    """
    from gradprism.figures.files import figure_bytes

    file_format = file.suffix.lstrip(".")
    _check_formats([file_format])
    write_whole(file, figure_bytes(figure, file_format, style_named(style)))


def available(comparisons: Comparison | Sequence[Comparison]) -> list[str]:
    """Return the names of all figures that can be drawn, beginning with those drawn by default."""
    return _by_default(_catalogue((comparisons,) if isinstance(comparisons, Comparison) else comparisons))


def _by_default(plots: Mapping[str, Plot | Missing]) -> list[str]:
    drawable = [plot for plot in plots.values() if isinstance(plot, Plot)]
    return [plot.name for plot in sorted(drawable, key=lambda plot: not plot.default)]


def _catalogue(comparisons: Sequence[Comparison]) -> Mapping[str, Plot | Missing]:
    need("matplotlib", "report")
    from gradprism.figures.catalogue import catalogue

    return catalogue(comparisons)


def _chosen(plots: Mapping[str, Plot | Missing], only: Sequence[str]) -> list[Plot | Missing]:
    from gradprism.figures.catalogue import chosen

    return chosen(plots, only)


def _check_formats(formats: Sequence[str]) -> None:
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        given = ", ".join(map(repr, unknown)) or "no format"
        raise GradPrismError(f"Unknown format: {given}. Choose among {', '.join(FORMATS)}.")


def _draw_files(
    plot: Plot | Missing, out: Path, style: Style, formats: Sequence[str], progress: Callable[[str], None] | None
) -> Drawn:
    if isinstance(plot, Missing):
        return Drawn(plot.name, (), None, "", plot.reason)
    from gradprism.figures.files import figure_bytes, make

    if progress is not None:
        progress(plot.name)
    made = make(plot, style)
    files = tuple(out / f"{plot.name}.{name}" for name in formats)
    for file, name in zip(files, formats, strict=True):
        write_whole(file, figure_bytes(made, name, style))
    csv = out / f"{plot.name}.csv"
    write_whole(csv, csv_bytes(plot.data))
    return Drawn(plot.name, files, csv, plot.caption)


def _captions(
    out: Path, drawn: Sequence[Drawn], comparisons: Sequence[Comparison], plots: Mapping[str, Plot | Missing]
) -> str:
    from gradprism.figures.captions import Entry, Unseen, captions, escaped, fingerprints

    of = fingerprints(comparisons)
    entries = [
        Entry(one.name, escaped(one.caption), tuple(file.name for file in (*one.files, one.csv)), of)
        for one in drawn
        if one.csv is not None
    ]
    missing = [(plot.name, plot.reason) for plot in plots.values() if isinstance(plot, Missing)]
    return captions(out, entries, comparisons, Unseen(missing, _by_default(plots)))
