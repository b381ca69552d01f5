"""Write the sections of a page beside its claims: predictors, agreement of models, curves, the tables again."""

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from gradprism.core.markdown import header_lines, inline, table_row, with_interval
from gradprism.core.numbers import number, probability, share
from gradprism.metrics.titles import headed, title
from gradprism.prism.measures import MEAN
from gradprism.study.result import StudyResult
from gradprism.study.sentences import best_of, predictor_sentence
from gradprism.study.steps import run_name

MAIN = ("effective_rank", "nuclear_norm")


def sections(result: StudyResult, depth: Mapping[str, str]) -> Iterator[str]:
    """Yield sections in Markdown; `depth` names the figures of curves over depth, by contrast."""
    tables, whole = result.tables, result.recipe.first_text
    if "predictors" in tables:
        yield _predictors(tables["predictors"], [whole, *result.recipe.length_controls])
    if "agreement" in tables:
        yield _agreement(tables["agreement"].filter(text=whole, projection=MEAN))
    if depth:
        yield _depth(result, depth)


def _predictors(table: pl.DataFrame, texts: Sequence[str]) -> str:
    lines = [
        "## Which measure tells a quality metric beyond length",
        "Of each contrast whose sets are the ends of a metric: the measure whose rank correlation ρ with the metric, "
        "given log prompt and response tokens, is largest, with its 95% interval; p adjusted (BH) over all measures of "
        "the contrast; the share of rows that can be left out one at a time without another taking its place; "
        "and what it adds to the R² of the metric's rank by lengths, each row predicted by the others. The largest of "
        "many is too large by chance; ends of a metric have no middle, so that all of these are larger than among all "
        "rows of the data: compare measures, not figures of other data. † No common support: the sets hardly overlap "
        "in length, and what is given lengths extrapolates; in texts of equally many tokens it does not.",
    ]
    for text in texts:
        if not (own := table.filter(text=text)).is_empty():
            lines += [f"### `{text}`", inline(predictor_sentence(table, text)), "\n".join(_best_rows(own))]
            lines += ["The mean over layers and projections of each measure, over the same contrasts:"]
            lines += ["\n".join(_measure_rows(own))]
    return "\n\n".join(part for part in lines if part)


def _best_rows(table: pl.DataFrame) -> Iterator[str]:
    columns = ["model", "contrast", "n", "best measure", "ρ given lengths", "p adjusted (BH)", "stays best", "added R²"]
    yield from header_lines([*columns, *(f"{title(name)}, ρ given lengths" for name in MAIN)], 2)
    keys = ["model", "contrast", "metric"]
    for (model, contrast, _), rows in table.group_by(keys, maintain_order=True):
        best = best_of(rows)
        if best is None:
            yield table_row([model, contrast, "–", "lengths explain all, or rows are too few", *["–"] * 6])
            continue
        main = [rows.filter(measure=name, projection=MEAN).to_dicts() for name in MAIN]
        name, mark = title(f"{best['measure']}:{best['projection']}"), "" if best["support"] else " †"
        yield table_row([
            model, contrast, best["n"], name, with_interval(best, "partial") + mark,
            probability(best["partial_q"]), share(best["best"]), number(best["gain"], 2),
            *(with_interval(each[0], "partial") + mark if each else "–" for each in main),
        ])  # fmt: skip


def _measure_rows(table: pl.DataFrame) -> Iterator[str]:
    heads = ["model", "measure", "contrasts", "median size of ρ", "given lengths", "of those adjusted p < 0.05"]
    yield from header_lines(heads, 2)
    means = table.filter(pl.col("projection") == MEAN)
    found = means.group_by("model", "measure", maintain_order=True).agg(
        pl.col("partial").is_not_null().sum().alias("n"), pl.col("spearman").abs().median(),
        pl.col("partial").abs().median(), (pl.col("partial_q") < 0.05).sum().alias("clear"),
    )  # fmt: skip
    for row in found.sort("model", "partial", descending=[False, True], maintain_order=True).iter_rows(named=True):
        yield table_row([row["model"], title(row["measure"]), row["n"], share(row["spearman"]), share(row["partial"]),
                    row["clear"]])  # fmt: skip


def _agreement(table: pl.DataFrame) -> str:
    """Return the section on every two models, over the rows of both sets of a contrast."""
    lines = [
        "## Whether models agree on the same examples",
        "Spearman correlation between two models of an example's mean over layers and projections, rows of both sets "
        "of a contrast together, and the same given log prompt and response tokens (mean of both models' logs).",
    ]
    for name in MAIN:
        rows = table.filter(measure=name)
        if rows.is_empty():
            continue
        lines += [headed(name), "\n".join(_agreement_rows(rows))]
    return "\n\n".join(lines)


def _agreement_rows(rows: pl.DataFrame) -> Iterator[str]:
    yield from header_lines(["contrast", "models", "n", "ρ", "ρ given lengths"], 2)
    for row in rows.iter_rows(named=True):
        raw = with_interval({"raw": row["spearman"], "raw_low": row["low"], "raw_high": row["high"]}, "raw")
        models = f"{row['first_model']}, {row['second_model']}"
        yield table_row([row["contrast"], models, row["n"], raw, with_interval(row, "partial")])


def _depth(result: StudyResult, depth: Mapping[str, str]) -> str:
    """Return the section on curves: the first contrast of each claim as a picture, the others as links."""
    shown = dict.fromkeys(name for each in result.judged for name in _contrasts(each.table)[:1] if name in depth)
    pictures = "\n\n".join(f"`{name}`\n\n![Curves over depth: {name}]({depth[name]})" for name in shown)
    others = ", ".join(f"[{name}]({file})" for name, file in depth.items() if name not in shown)
    parts = ["## Curves over depth", pictures, others and f"Other contrasts: {others}."]
    return "\n\n".join(part for part in parts if part)


def _contrasts(table: pl.DataFrame) -> Sequence[str]:
    if not {"contrast", "text"} <= {*table.columns}:
        return ()
    return table["contrast"].unique(maintain_order=True).to_list()


def again(result: StudyResult) -> str:
    """Return a query that computes a gap of the tables from the runs, to be run in the study's folder."""
    first = result.compared[0]
    contrast = result.recipe.all_contrasts[first.contrast]
    runs = (run_name(first.model, first.text, name) for name in (contrast.first, contrast.second))
    return _AGAIN.format(first=next(runs), second=next(runs), model=first.model, text=first.text,
                         contrast=first.contrast)  # fmt: skip


_AGAIN = """## The tables again, from the runs

In the study's folder, with polars; `tables/contrasts` has the same gaps, means of the first set less those of the
second, to the last digits. Rows are those that were measured (`status` ok), of each the mean over layers:

```python
import polars as pl

def means(run):
    rows = pl.scan_parquet(f"{{run}}/spectra/*.parquet").group_by("projection", "row")
    of_rows = rows.agg(pl.col("nuclear_norm", "effective_rank").mean())
    return of_rows.group_by("projection").mean().drop("row").sort("projection").collect()

first, second = means("{first}"), means("{second}")
gaps = first.select("projection", *(first[name] - second[name] for name in ("nuclear_norm", "effective_rank")))
table = pl.read_parquet("tables/contrasts.parquet").filter(model="{model}", text="{text}", contrast="{contrast}")
both = gaps.join(table.pivot("measure", index="projection", values="gap"), on="projection", suffix=", of the table")
print(both.select("projection", "^nuclear_norm.*$", "^effective_rank.*$"))
```"""
