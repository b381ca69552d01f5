"""Show the plan of scoring in a terminal."""

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.text import Text

from gradprism.core.numbers import number
from gradprism.core.terminal_tables import plain_table
from gradprism.metrics.metric import Plan


def plan_of(plans: Mapping[str, Plan], price: tuple[float, float] | None) -> RenderableType:
    """Make the table of the work of each metric; `price` is per million tokens read, and written."""
    headings = ["metric", "rows", "skipped", "cached", "tokens to read", "tokens to write,\nat most"]
    table = plain_table("It would take", [*headings, *(["price,\nat most"] if price else [])])
    for name, plan in plans.items():
        about = "" if plan.exact else "~ "
        cells = [f"{plan.rows:,}", f"{plan.skipped:,}", f"{plan.cached:,}", f"{about}{plan.tokens:,}"]
        if price:
            cost = (plan.tokens * price[0] + plan.most_answer_tokens * price[1]) / 1e6
        table.add_row(name, *cells, f"{plan.most_answer_tokens:,}", *([number(cost)] if price else []))
    note = "~ estimated as UTF-8 bytes / 4" if any(not plan.exact for plan in plans.values()) else ""
    return Group(table, Text(note, style="dim")) if note else table
