"""The card of a pushed run or selection: what it is, how it was made, and how to open it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gradprism.core.errors import GradPrismError
from gradprism.core.markdown import code, header_lines, inline, table_row
from gradprism.core.numbers import number
from gradprism.files.paths import base_name
from gradprism.prism.measures import MAIN_MEASURES
from gradprism.runs.layout import published_parts, score_table, tables_of
from gradprism.runs.run import Run


def run_card(run: Run, repo: str) -> str:
    """Return the card of a run, whose tables are configurations that the hub's viewer shows."""
    return _front({"configs": [*_configs(run)]}) + "\n\n".join(_parts(run, repo)) + "\n"


def selection_card(file: Path) -> str:
    """Return the card of a selection, which lies beside its file. Raises `GradPrismError` where none does."""
    beside = file.with_name(f"{file.stem}.card.md")
    if not beside.is_file():
        raise GradPrismError(
            f"{file} is no file of a selection: there is no {beside.name} beside it. Expected a run, or a file that "
            "gradprism select has written, with its card."
        )
    front = _front({"configs": [{"config_name": "default", "data_files": file.name}]})
    return front + beside.read_text("utf-8")


def _front(more: dict[str, Any]) -> str:
    values = {"tags": ["gradprism", "gradients"], "viewer": True, **more}
    return f"---\n{yaml.safe_dump(values, sort_keys=False)}---\n\n"


def _configs(run: Run) -> Iterator[dict[str, Any]]:
    tables = [name for name in reversed(tables_of(run.record)) if not name.startswith("scores/")]
    named = {name: name for name in tables if run.has_spectra and published_parts(run.path, name)}
    named |= {f"scores-{name}": score_table(name) for name in run.metrics}
    for place, (name, folder) in enumerate(named.items()):
        yield {"config_name": name, "data_files": f"{folder}/*.parquet", **({"default": True} if place == 0 else {})}


def _parts(run: Run, repo: str) -> Iterator[str]:
    record, model = run.record, run.record.get("model", {})
    data = ", ".join(base_name(source) for source in record["data"]["sources"])
    yield f"# Gradient spectra of {inline(data)}" if run.has_spectra else f"# Scores of {inline(data)}"
    what = f" through {inline(base_name(model['name']))} ({model.get('dtype')})" if model else ""
    yield (
        f"{record['data']['rows']:,} rows{what}, measured with gradprism {record['versions'].get('gradprism')}: for "
        "each row, layer and projection the singular values of the gradient that it would send there, and what they "
        "come to. The texts of the rows are not in it."
    )
    if run.has_spectra:
        lines = [*header_lines(["", "mean over rows"], 1)]
        means = run.layer_means
        lines += [table_row([name.replace("_", " "), number(means[name].mean())]) for name in MAIN_MEASURES]  # type: ignore[arg-type]
        yield "\n".join(lines)
    if run.metrics:
        yield f"Metrics: {', '.join(map(code, run.metrics))}."
    yield f"```\ngradprism open hub://{repo} --out run\ngradprism report run\n```"
