"""What a study comes to, in a terminal."""

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gradprism.jobs.study_files import PAGE
from gradprism.places import place
from gradprism.study.claims import Count
from gradprism.study.outcome import Outcome


def study_of(outcome: Outcome) -> RenderableType:
    """The verdicts, what failed, and where everything is."""
    recipe = outcome.recipe
    table = Table(box=None, pad_edge=False, title=escape(recipe.title), title_justify="left", title_style="bold")
    for name, just in (("claim", "left"), ("as it is", "right"), ("at equal length", "right")):
        table.add_column(name, justify=just, overflow="fold")  # type: ignore[arg-type]
    cut = dict.fromkeys(text for each in outcome.judged for text in each.cut)
    for text in cut:
        table.add_column(text, justify="right")
    table.add_column("verdict")
    for each in outcome.judged:
        counts = [_shown(each.raw), _shown(each.held), *(_shown(each.cut.get(text, Count())) for text in cut)]
        table.add_row(escape(each.claim.says), *counts, each.verdict)
    lines: list[RenderableType] = [table, Text("comparisons that show a claim / those that decide", style="dim")]
    lines += [Text(f"{name}: {reason.splitlines()[0]}", style="yellow") for name, reason in outcome.failed.items()]
    return Group(*lines, Text(f"\nThe study is in {recipe.out}; begin with {place(recipe.out) / PAGE}."))


def _shown(found: Count) -> str:
    return f"{found.shown}/{found.decided}" if found.all else "–"
