"""Numbers and tables as a terminal shows them."""

from rich.box import SIMPLE_HEAD
from rich.table import Table


def plain_table(title: str, headings: list[str], left: int = 1) -> Table:
    """A table with light rules: the first `left` columns to the left, numbers to the right."""
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index < left else "right", no_wrap=index >= left)
    return table


def number(value: float | None, digits: int = 3) -> str:
    """Significant digits, thousands set apart; a dash where there is no value."""
    if value is None or value != value:
        return "–"
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.{digits - 1}e}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}"
