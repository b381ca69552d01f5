"""Format numbers, times and sizes for readers."""


def probability(value: float | None) -> str:
    """Format a p value, raw or adjusted, with two digits; `<0.001` below that, a dash where it is missing."""
    return "<0.001" if value is not None and value < 0.001 else number(value, 2)


def share(value: float | None) -> str:
    """Format a number between 0 and 1 with two decimals; a dash where it is missing."""
    return "–" if value is None else f"{value:z.2f}"


def ratio(value: float | None) -> str:
    """Format a factor with two decimals, and a small or large one with three digits; a dash where it is missing."""
    return f"{value:.2f}" if value is not None and 0.0995 <= value < 9.995 else number(value)


def count(value: float | None) -> str:
    """Format a count as a whole number, a median or quantile of counts with a decimal; a dash where it is missing."""
    return "–" if value is None or value != value else f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def number(value: float | None, digits: int = 3) -> str:
    """Format a number with `digits` significant digits and thousands separators; a dash where it is missing or NaN."""
    if value is None or value != value:
        return "–"
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.{digits - 1}e}"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}".rstrip(".")


def with_letter(value: float) -> str:
    """Format a number with three digits and a letter: 945, 12.3 k, 4.56 M, 7.89 G."""
    size, letter = next(((s, a) for s, a in ((1e9, " G"), (1e6, " M"), (1e3, " k")) if value >= s), (1, ""))
    return f"{value / size:,.3g}{letter}"


def duration(seconds: float) -> str:
    """Format a time coarsely: 45 s, 12 min, 3 h 20 min, 5 days."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 48 * 60 else f"{minutes / (24 * 60):,.0f} days"
