"""A comparison in short: the table of Li et al. (arXiv 2504.10766), and the verdict as Markdown.

The table has of each measure and projection the mean of the second group, of the first, and the gap.
"""

import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.comparison_tables import COSINES
from gradprism.core.markdown import head, line
from gradprism.core.numbers import number, probability, share
from gradprism.metrics.titles import title

_LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
          "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}  # fmt: skip


_CONTROLS = (
    "matched_pairs", "matched_effect", "matched_low", "matched_high", "matched_q", "regression_scale", "raw_effect",
    "regression_effect", "regression_low", "regression_high", "regression_q", "spearman", "partial_spearman",
    "partial_low", "partial_high", "partial_q",
)  # fmt: skip


def paper_table(comparison: Comparison) -> pl.DataFrame:
    """A row a contrast, measure and projection (layer means): both means, the gap, and the gap at equal length.

    Columns: first, second, measure, projection, mean_second, mean_first, gap, gap_low, gap_high, auc, q, and those of
    the three length controls as in the table EFFECTS.
    """
    measured = (*comparison.measures, *COSINES)
    rows = comparison.effects.filter(pl.col("layer").is_null() & pl.col("measure").is_in(measured))
    return rows.select(
        "first", "second", "measure", "projection", "mean_second", "mean_first",
        pl.col("difference").alias("gap"), pl.col("difference_low").alias("gap_low"),
        pl.col("difference_high").alias("gap_high"), "auc", "q", *_CONTROLS,
    )  # fmt: skip


def paper_latex(comparison: Comparison) -> str:
    """The same for a paper: booktabs, a block a contrast, a line a measure, low, high and gap for each projection."""
    table = paper_table(comparison)
    return "\n\n".join(_block(comparison, table, *pair) for pair in comparison.contrasts) + "\n"


def summary(comparison: Comparison) -> str:
    """Markdown: what was compared, the verdict, the notes, the table."""
    groups = [
        f"- **{group.name}**: {group.n:,} rows ({group.rule}), "
        f"median response {number(group.median_response_tokens)} tokens"
        for group in comparison.groups
    ]
    parts = [f"# {' and '.join(group.name for group in comparison.groups)}, {comparison.model}", "\n".join(groups)]
    for first, second in comparison.contrasts:
        found = [each for each in comparison.findings if (each.first, each.second) == (first, second)]
        sentences = [
            f"- {each.sentence}" + (f" At equal length: {each.details}." if each.details else "") for each in found
        ]
        parts += [f"## {first} against {second}", "\n".join(sentences), _markdown(comparison, first, second)]
    if comparison.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in comparison.notes)]
    return "\n\n".join(parts) + "\n"


def _markdown(comparison: Comparison, first: str, second: str) -> str:
    table = paper_table(comparison).filter((pl.col("first") == first) & (pl.col("second") == second))
    heads = ["measure", "projection", first, second, "gap", "95% interval", "AUC", "q"]
    lines = [*head(heads, 2)]
    for row in table.iter_rows(named=True):
        values = [number(row[name]) for name in ("mean_first", "mean_second", "gap")]
        interval = f"{number(row['gap_low'])} to {number(row['gap_high'])}"
        cells = [title(row["measure"]), row["projection"], *values, interval, share(row["auc"]), probability(row["q"])]
        lines.append(line(cells))
    return "\n".join(lines)


def _block(comparison: Comparison, table: pl.DataFrame, first: str, second: str) -> str:
    names = (*comparison.projections, "mean")
    rows = table.filter((pl.col("first") == first) & (pl.col("second") == second) & pl.col("projection").is_in(names))
    heads = " & ".join(f"\\multicolumn{{3}}{{c}}{{{_escaped(name)}}}" for name in names)
    columns = " & ".join([_escaped(second), _escaped(first), "gap"] * len(names))
    lines = [
        f"% {first} against {second}, {comparison.model}; means over layers. Bold: q < 0.05.",
        f"\\begin{{tabular}}{{l{'rrr' * len(names)}}}", r"\toprule", f" & {heads} \\\\", f"measure & {columns} \\\\",
        r"\midrule", *_measures(comparison, rows, names), r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip
    return "\n".join(lines)


def _measures(comparison: Comparison, rows: pl.DataFrame, names: tuple[str, ...]) -> list[str]:
    cells = {(row["measure"], row["projection"]): row for row in rows.iter_rows(named=True)}
    lines = []
    for measure in comparison.measures:
        found = (cells.get((measure, name), {}) for name in names)
        lines.append(" & ".join([title(measure), *(cell for row in found for cell in _cells(row))]) + r" \\")
    return lines


def _cells(row: dict[str, float | None]) -> list[str]:
    low, high, gap = (number(row.get(name)) for name in ("mean_second", "mean_first", "gap"))
    q = row.get("q")
    return [low, high, f"\\textbf{{{gap}}}" if q is not None and q < 0.05 else gap]


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
