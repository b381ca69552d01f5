"""Format numbers for readers."""


def probability(value: float | None) -> str:
    """Format a p value, raw or adjusted, with two digits; `<0.001` below that, a dash where it is missing."""
    return "<0.001" if value is not None and value < 0.001 else number(value, 2)


def share(value: float | None) -> str:
    """Format a number between 0 and 1 with two decimals; a dash where it is missing."""
    return "–" if value is None else f"{value:z.2f}"


def ratio(value: float | None) -> str:
    """Format a factor with two decimals, and a small or large one with three digits; a dash where it is missing."""
    return f"{value:.2f}" if value is not None and 0.0995 <= value < 9.995 else number(value)


def number(value: float | None, digits: int = 3) -> str:
    """Format a number with `digits` significant digits and thousands separators; a dash where it is missing or NaN."""
    if value is None or value != value:
        return "–"
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.{digits - 1}e}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}".rstrip(".")
