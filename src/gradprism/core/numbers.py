"""Numbers as people read them."""


def probability(value: float | None) -> str:
    """A p or q in two digits, `<0.001` below that; a dash where there is none."""
    return "<0.001" if value is not None and value < 0.001 else number(value, 2)


def share(value: float | None) -> str:
    """A number between 0 and 1 in two decimals; a dash where there is none."""
    return "–" if value is None else f"{value:z.2f}"


def number(value: float | None, digits: int = 3) -> str:
    """Significant digits, thousands set apart; a dash where there is no value."""
    if value is None or value != value:
        return "–"
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.{digits - 1}e}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}".rstrip(".")
