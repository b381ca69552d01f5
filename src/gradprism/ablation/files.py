"""Publish the result of an ablation in its folder: tables, figures, and the page that shows both."""

from gradprism.ablation.figures import ablation_plots
from gradprism.ablation.page import page
from gradprism.ablation.result import Ablation
from gradprism.core.progress import Progress
from gradprism.figures.files import figure_bytes, make
from gradprism.figures.styles import style_named
from gradprism.files.atomic import write_errors, write_whole
from gradprism.files.csv_tables import csv_bytes
from gradprism.files.folder import staged_files
from gradprism.files.parquet import parquet_bytes

PAGE = "README.md"


def publish(ablation: Ablation, progress: Progress) -> None:
    """Write the tables of results, the figures, and the page. The caller holds the lock."""
    style = style_named("neurips")
    with write_errors(ablation.path, "the ablation"), staged_files(ablation.path) as new:
        for name in ("tables", "figures"):
            (new / name).mkdir()
        for name in ("effects", "curves", "score_effects", "budgets"):
            table = getattr(ablation, name)
            write_whole(new / f"tables/{name}.parquet", parquet_bytes(table))
            write_whole(new / f"tables/{name}.csv", csv_bytes(table))
        for plot in ablation_plots(ablation):
            progress.say(f"Drawing {plot.name}")
            figure = make(plot, style)
            for kind in ("png", "pdf"):
                write_whole(new / f"figures/{plot.name}.{kind}", figure_bytes(figure, kind, style))
        write_whole(new / PAGE, page(ablation).encode())
