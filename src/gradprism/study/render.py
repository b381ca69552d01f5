"""Show the result of a study in a terminal."""

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gradprism.files.paths import to_path
from gradprism.study.claims import Count
from gradprism.study.files import PAGE
from gradprism.study.overview import cuts
from gradprism.study.result import CONTROLLED, RAW, JudgedClaim, StudyResult


def study_of(result: StudyResult) -> RenderableType:
    """Lay out the verdicts, the failed steps, and the place of the page."""
    recipe = result.recipe
    lines: list[RenderableType] = [Text(recipe.title, style="bold")]
    columns = ("raw", "length-controlled", *cuts(result.judged))
    for number, each in enumerate(result.judged):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=not number, header_style="dim")
        for name in columns:
            table.add_column(name, justify="right", min_width=len(name))
        table.add_row(*(_fraction(each, name) for name in (RAW, CONTROLLED, *columns[2:])))
        lines += [Text(f"\n{each.claim.says}"), Text(f"  {each.verdict}", style="bold"), Padding(table, (0, 0, 0, 4))]
    said = "n/m: of m comparisons n show the claim; in brackets: too few are decided for a verdict"
    lines.append(Text(f"\n{said}", style="dim"))
    lines += [Text(f"{name}: {reason.splitlines()[0]}", style="yellow") for name, reason in result.failed.items()]
    return Group(*lines, Text(f"\nThe study is in {recipe.out}; begin with {to_path(recipe.out) / PAGE}."))


def _fraction(each: JudgedClaim, column: str) -> str:
    found = each.counts.get(column, Count())
    if not found.all:
        return "–"
    counts = f"{found.shown}/{found.all}"
    return counts if each.rests_on(column) else f"({counts})"
