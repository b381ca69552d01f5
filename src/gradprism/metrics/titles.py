"""Measures and metrics in words: one table for the terminal, figures and the report."""

TITLES = {
    "frobenius_norm": "Frobenius norm",
    "adjacent_cosine": "adjacent-layer cosine",
    "same_layer_cosine": "same-layer cosine",
    "length": "response tokens",
    "prompt_length": "prompt tokens",
    "ifd": "IFD",
    "instag": "InsTag",
}


def title(name: str) -> str:
    """A measure, a metric, or `measure:projection`: `effective_rank:q` is `effective rank q`."""
    if name.startswith("column:"):
        return f"{name.removeprefix('column:')} (column)"
    measure, _, projection = name.partition(":")
    words = TITLES.get(measure, measure.replace("_", " "))
    return words if projection in ("", "mean") else f"{words} {projection}"


def headed(name: str) -> str:
    """The same at the beginning of a sentence; what the data calls its columns stays as it is."""
    words = title(name)
    return words if name.startswith("column:") else words[:1].upper() + words[1:]
