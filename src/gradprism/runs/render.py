"""Show the summary of a run in a terminal."""

from collections.abc import Iterator

import polars as pl
from rich.console import Group, RenderableType
from rich.text import Text

from gradprism.core.errors import GradPrismError
from gradprism.core.numbers import count, number
from gradprism.core.terminal_tables import plain_table, spaced, summary_table
from gradprism.metrics.titles import headed, title
from gradprism.prism.measures import MAIN_MEASURES
from gradprism.runs.groups import group_table
from gradprism.runs.render_scores import first_reasons, score_tables
from gradprism.runs.run import Run
from gradprism.runs.score_summary import summary_of_scores

_MOST_REASONS = 12
_SHOWN = ("nuclear_norm", "effective_rank", "stable_rank")


def summary_of(run: Run, by: str | None = None) -> RenderableType:
    """Lay out counts with reasons, measures by projection and layer group, and cosines; with `by` also groups."""
    return Group(*spaced(_summary_parts(run, by)))


def _summary_parts(run: Run, by: str | None) -> Iterator[RenderableType]:
    if by and not run.has_spectra:
        raise GradPrismError(f"--by {by} compares spectra, and the run {run.path} holds scores only. Leave --by out.")
    yield summary_table(run.summary_lines)
    if run.has_spectra and run.counts.reasons:
        yield _reason_table(run)
    if run.has_spectra and run.counts.ok:
        yield _measure_table(run)
        if run.scan("similarity").select("cosine").count().collect().item():
            yield _cosine_table(run)
        if by:
            yield from _group_tables(run, by)
    if run.metrics:
        yield from score_tables([summary_of_scores(run, name) for name in run.metrics])


def _reason_table(run: Run) -> RenderableType:
    table = plain_table("Skipped and failed", ["reason", "rows"])
    for reason, n in first_reasons(run.counts.reasons, _MOST_REASONS, "the examples table"):
        table.add_row(reason, n)
    return table


def _layer_groups(run: Run) -> list[tuple[str, int, int]]:
    """Return name, first and last layer of the early, middle and late third."""
    layers = run.scan("spectra").select("layer").unique().sort("layer").collect()["layer"].to_list()
    thirds = [layers[i * len(layers) // 3 : (i + 1) * len(layers) // 3] for i in range(3)]
    if not all(thirds):
        return [("layers", layers[0], layers[-1])]
    names = ("early", "middle", "late")
    return [(name, third[0], third[-1]) for name, third in zip(names, thirds, strict=True)]


def _measure_table(run: Run) -> RenderableType:
    groups = _layer_groups(run)
    spans = [f"{name}\n{first}–{last}" for name, first, last in groups]
    table = plain_table("Mean over examples and layers", ["measure", "projection", "all\nlayers", *spans], left=2)
    means = run.layer_means
    for measure in _SHOWN:
        for index, projection in enumerate(run.projections):
            rows = means.filter(pl.col("projection") == projection)
            if rows.height:
                last = index == len(run.projections) - 1
                means_by_span = _by_span(rows, measure, groups)
                table.add_row("" if index else title(measure), projection, *means_by_span, end_section=last)
    return table


def _by_span(rows: pl.DataFrame, measure: str, groups: list[tuple[str, int, int]]) -> Iterator[str]:
    yield number(_mean(rows[measure]))
    for _, first, last in groups:
        yield number(_mean(rows.filter(pl.col("layer").is_between(first, last))[measure]))


def _mean(values: pl.Series) -> float | None:
    mean = values.mean()
    return mean if isinstance(mean, float) else None


def _cosine_table(run: Run) -> RenderableType:
    cosine = pl.col("cosine")
    means = (
        run.scan("similarity").group_by("kind", "pair")
        .agg(cosine.mean().alias("mean"), cosine.abs().mean().alias("size"), cosine.count().alias("n"))
        .sort("kind", "pair").collect()
    )  # fmt: skip
    titles = {
        "adjacent": "adjacent layers", "same_layer": "same layer", "all_layers": "all pairs of layers",
        "chosen_rejected": "chosen and rejected",
    }  # fmt: skip
    table = plain_table("Cosine of gradients", ["between", "pair", "mean", "mean size", "pairs"], left=2)
    for row in means.iter_rows(named=True):
        if row["n"]:
            cells = (f"{row['mean']:+.4f}", f"{row['size']:.4f}", f"{row['n']:,}")
            table.add_row(titles[row["kind"]], row["pair"], *cells)
    return table


def _group_tables(run: Run, by: str) -> Iterator[RenderableType]:
    for measure in MAIN_MEASURES:
        table = group_table(run, by, measure)
        shown = [name for name in run.projections if name in table.columns]
        drawn = plain_table(
            f"{headed(measure)} by {by}, mean over layers",
            [by, "rows", "response\ntokens", "loss", *shown],
        )
        for row in table.iter_rows(named=True):
            drawn.add_row(
                Text(str(row["group"])), f"{row['rows']:,}", count(row["response tokens"]), number(row["loss"]),
                *(number(row[name]) for name in shown),
            )  # fmt: skip
            controlled = [number(row[f"{name} at equal length"]) for name in shown]
            drawn.add_row("  length-controlled", "", "", "", *controlled, style="dim", end_section=True)
        yield drawn
    yield Text(
        "Length-controlled: the group's geometric mean after regressing the log measure on group, log prompt tokens "
        "and log response tokens. Groups that differ above it but agree there differ in length.",
        style="dim",
    )
