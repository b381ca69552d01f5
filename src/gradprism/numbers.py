"""Numbers as people read them."""


def number(value: float | None, digits: int = 3) -> str:
    """Significant digits, thousands set apart; a dash where there is no value."""
    if value is None or value != value:
        return "–"
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.{digits - 1}e}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}"
