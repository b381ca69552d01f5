"""Publish the result of a study in its folder: tables, figures, and the page that shows both."""

from collections.abc import Container, Iterator, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from gradprism.core.markdown import code
from gradprism.core.progress import Progress
from gradprism.files.atomic import write_errors, write_whole
from gradprism.files.csv_tables import csv_bytes
from gradprism.files.folder import staged_files
from gradprism.files.parquet import parquet_bytes
from gradprism.files.paths import list_names, to_path
from gradprism.runs.run import Run
from gradprism.study.done import Done

if TYPE_CHECKING:
    import polars as pl

    from gradprism.figures.plot import Missing, Plot
    from gradprism.study.result import StudyResult

PAGE = "README.md"
_OURS = ("claim-", "depth-", "contrasts.", "separation.", "predictors.", "agreement.", "curves.", "cosines.")
_KINDS = (".parquet", ".csv", ".png", ".pdf")
Named: TypeAlias = "Iterator[tuple[str, Plot | Missing]]"


def publish(result: "StudyResult", watch: Progress, command: str) -> None:
    """Write tables, figures and the page; remove those of an earlier result that this one does not have."""
    from gradprism.study.page import Drawings, page

    out = to_path(result.recipe.out)
    with write_errors(out, "the study"):
        with staged_files(out) as new:
            for name, table in _tables_by_name(result):
                write(new / f"tables/{name}.parquet", parquet_bytes(table))
                write(new / f"tables/{name}.csv", csv_bytes(table))
            claims, depths = (dict(_draw(plots(result), new, watch)) for plots in (_claim_plots, _depth_plots))
            write(new / PAGE, page(result, Drawings(claims, depths), [*_provenance(result, command)]).encode())
            names = {f"{file.parent.name}/{file.name}" for file in new.glob("*/*")}
        _remove_others(out, names, {f"reports/{name}.html" for name in result.recipe.all_contrasts} - {*result.failed})


def _remove_others(out: Path, names: Container[str], reports: Set[str]) -> None:
    """Remove tables, figures and reports that only an earlier result had; no files of anybody else."""
    for folder in ("tables", "figures"):
        for name in list_names(out / folder):
            if name.startswith(_OURS) and name.endswith(_KINDS) and f"{folder}/{name}" not in names:
                (out / folder / name).unlink()
    for name in Done(out).names - reports:
        if name.startswith("reports/"):
            (out / name).unlink(missing_ok=True)


def _tables_by_name(result: "StudyResult") -> "Iterator[tuple[str, pl.DataFrame]]":
    yield from result.tables.items()
    yield "verdicts", result.verdicts
    for each in result.judged:
        if each.table.width:
            yield f"claim-{each.name}", each.table


def _claim_plots(result: "StudyResult") -> Named:
    """Yield a figure for each claim, by the claim's name."""
    from gradprism.study.claim_figures import claim_plot
    from gradprism.study.overview import cut_in_words

    texts, whole = result.recipe.texts, result.recipe.first_text
    for each in result.judged:
        cut = {text: cut_in_words(texts[text]) for text in each.cut}
        yield each.name, claim_plot(each.name, each.claim.says, each.table, whole, cut)


def _depth_plots(result: "StudyResult") -> Named:
    """Yield curves over normalised depth of all models in the first text, by contrast."""
    from gradprism.figures.kinds.depth import depth_plots
    from gradprism.figures.scales import logarithmic

    whole = result.recipe.first_text
    for name in result.recipe.all_contrasts:
        found = [each.comparison for each in result.compared if (each.text, each.contrast) == (whole, name)]
        if found:
            plot = next(iter(depth_plots(found, logarithmic(found))))
            yield name, replace(plot, name=f"depth-{name}")


def _draw(plots: Named, out: Path, watch: Progress) -> Iterator[tuple[str, str]]:
    """Draw what can be drawn; yield each name with the path of its picture below the study."""
    from gradprism.figures.files import figure_bytes, make
    from gradprism.figures.plot import Missing
    from gradprism.figures.styles import style_named

    style = style_named("neurips")
    for name, plot in plots:
        if isinstance(plot, Missing):
            continue
        watch.say(f"Drawing {plot.name}")
        figure = make(plot, style)
        for kind in ("png", "pdf"):
            write(out / f"figures/{plot.name}.{kind}", figure_bytes(figure, kind, style))
        write(out / f"figures/{plot.name}.csv", csv_bytes(plot.data))
        yield name, f"figures/{plot.name}.png"


def _provenance(result: "StudyResult", command: str) -> Iterator[str]:
    """Yield lines on the runs behind a result, as they have it on record: models, sets, time, machines."""
    recipe, found = result.recipe, result.runs
    if command:
        yield f"command: {code(command)}"
    for model in recipe.models:
        for text in recipe.texts:
            own = [run for (of_model, of_text, _), run in found.items() if (of_model, of_text) == (model, text)]
            if own:
                yield _summed(f"{model}, {text}", own)
    yield _summed("all runs", [*found.values()])
    yield "where it was run: `runs/`, `comparisons/`, and in `reports/` a page of each contrast with every example"
    for kind in ("hardware", "versions"):
        for facts in dict.fromkeys(_in_words(run.record.get(kind, {})) for run in found.values()):
            yield f"{kind}: {facts}"


def _in_words(facts: Mapping[str, object]) -> str:
    """List names and values; of the platform the system alone, since the rest is the build of a kernel."""
    short = {name: str(value).split("-")[0] if name == "platform" else value for name, value in facts.items()}
    return ", ".join(f"{name} {value}" for name, value in short.items())


def _summed(name: str, runs: list[Run]) -> str:
    ok, tokens = sum(run.counts.ok for run in runs), sum(run.counts.tokens or 0 for run in runs)
    skipped = sum(run.counts.skipped + run.counts.failed for run in runs)
    seconds = sum(session["seconds"] for run in runs for session in run.record["sessions"])
    return f"{name}: {len(runs)} sets, {ok:,} rows measured, {skipped:,} skipped, {tokens:,} tokens, {seconds:,.0f} s"


def write(path: Path, content: bytes) -> None:
    """Write a file of a study, whole. Raises `GradPrismError` where it cannot be written."""
    with write_errors(path, "the study"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
