"""figures: Draw the figures of comparisons or runs, for a paper or slides."""

from typing import Annotated, Literal

from cyclopts import Parameter

from gradprism.core.console import HarmlessConsole
from gradprism.core.options import Quiet, Several

EXAMPLES = (
    "gradprism figures comparisons/loss",
    "gradprism figures runs/demo -o figures --style acl --formats pdf",
)


def figures(
    given: Annotated[Several, Parameter(name="dir-or-run")],
    /,
    *,
    out: str | None = None,
    style: Literal["neurips", "acl", "icml", "slides", "web", "web-dark"] = "neurips",
    formats: str = "pdf,svg,png",
    only: Several = (),
    quiet: Quiet = False,
) -> int:
    """Draw the figures of comparisons or runs: PDF, SVG and PNG, and the numbers of each as CSV.

    Parameters
    ----------
    given
        Folders written by compare, and runs; runs of one model are compared, several models are drawn side by side.
    out
        Folder for the figures; by default DIR/figures of a single comparison.
    style
        Sizes and fonts of a conference, of slides, or of a web page on light or dark ground.
    formats
        File formats among pdf, svg and png, separated by commas.
    only
        Names of figures, or their beginnings (repeated, or separated by commas).
    quiet
        Print nothing but errors.
    """
    from gradprism.figures.api import draw_figures

    console = HarmlessConsole(quiet=quiet)
    names, kinds = _split_at_commas(only), _split_at_commas((formats,))
    with HarmlessConsole(stderr=True, quiet=quiet).status("Reading") as status:
        drawn = draw_figures(*given, out=out, style=style, formats=kinds, only=names, progress=status.update)
    folder = next((figure.csv.parent for figure in drawn if figure.csv), None)
    for figure in drawn:
        line = f"{figure.name:<40}{figure.reason or ''}".rstrip()
        console.print(line, style="dim" if figure.reason else "")
    if folder:
        console.print(f"\nThe figures, their numbers and captions are in {folder}.", soft_wrap=True)
    return 0 if folder else 1


def _split_at_commas(texts: tuple[str, ...]) -> list[str]:
    return [name.strip() for text in texts for name in text.split(",") if name.strip()]
