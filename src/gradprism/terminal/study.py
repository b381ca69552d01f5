"""What a study comes to, in a terminal."""

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gradprism.jobs.study_files import PAGE
from gradprism.places import place
from gradprism.study.claims import Count
from gradprism.study.outcome import Outcome
from gradprism.study.overview import cuts

_VERDICT = 32  # the longest


def study_of(outcome: Outcome) -> RenderableType:
    """The verdicts, what failed, and where everything is."""
    recipe = outcome.recipe
    lines: list[RenderableType] = [Text(recipe.title, style="bold")]
    columns = ("as it is", "at equal length", *cuts(outcome.judged))
    for number, each in enumerate(outcome.judged):
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=not number, header_style="dim")
        table.add_column("", width=_VERDICT)
        for name in columns:
            table.add_column(name, justify="right", min_width=len(name))
        counts = (each.raw, each.held, *(each.cut.get(text, Count()) for text in columns[2:]))
        table.add_row(each.verdict, *map(_shown, counts))
        lines += [Text(f"\n{each.claim.says}"), Padding(table, (0, 0, 0, 2))]
    lines.append(Text("\nn/m: of m comparisons that decide, n show the claim", style="dim"))
    lines += [Text(f"{name}: {reason.splitlines()[0]}", style="yellow") for name, reason in outcome.failed.items()]
    return Group(*lines, Text(f"\nThe study is in {recipe.out}; begin with {place(recipe.out) / PAGE}."))


def _shown(found: Count) -> str:
    return f"{found.shown}/{found.decided}" if found.all else "–"
