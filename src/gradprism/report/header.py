"""What stands at the top of a page: the model, the data and which of its rows, the settings, and whether runs end."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gradprism.comparison.comparison import Comparison
from gradprism.core.errors import GradPrismError
from gradprism.core.facts import text_in_words
from gradprism.report.paths import base_name, known_paths, without_paths
from gradprism.runs.run import open_run

_SHORT = 8  # characters of a fingerprint or a revision: enough to tell two apart


def header_facts(comparison: Comparison) -> list[list[str]]:
    """Named lines, without paths."""
    known = [*known_paths(comparison)]
    return [[name, without_paths(text, known)] for name, text in _facts(comparison)]


def _facts(comparison: Comparison) -> Iterator[tuple[str, str]]:
    about = comparison.about
    text = about.get("text", {})
    yield "Model", _model(comparison)
    yield from _of_data(about.get("data", ()))
    if chosen := _chosen(comparison):
        yield "Rows read", chosen
    yield "Runs", _completeness(comparison)
    if text:
        yield "Text", f"template {text_in_words(text)}"
    if about.get("precision"):
        yield "Precision", str(about["precision"])
    yield "Projections", ", ".join(comparison.projections)
    if about.get("settings"):
        yield "Settings", _settings(about["settings"])
    if about.get("created"):
        yield "Compared", str(about["created"]).replace("T", " ").replace("+00:00", " UTC")
    yield "Versions", _settings(about.get("versions", {}))


def _model(comparison: Comparison) -> str:
    model = comparison.about.get("model", {})
    revision = f"revision {str(model['revision'])[:_SHORT]}" if model.get("revision") else None
    parts = [model.get("class"), f"{len(comparison.layers)} layers", model.get("dtype"), revision]
    return ", ".join([base_name(comparison.model), *(str(part) for part in parts if part)])


def _of_data(data: Any) -> Iterator[tuple[str, str]]:
    entries = [data] if isinstance(data, Mapping) else list(data)
    said = dict.fromkeys(_one_data_set(entry) for entry in entries if isinstance(entry, Mapping))
    if said:
        yield "Data", "; ".join(said)


def _one_data_set(entry: Mapping[str, Any]) -> str:
    names = ", ".join(Path(str(source)).name or str(source) for source in entry.get("sources", ()))
    rows = f", {entry['rows']:,} rows" if isinstance(entry.get("rows"), int) else ""
    schema = f" ({entry['schema']})" if entry.get("schema") else ""
    fingerprint = f", fingerprint {str(entry['fingerprint'])[:_SHORT]}" if entry.get("fingerprint") else ""
    return f"{names}{schema}{rows}{fingerprint}"


def _chosen(comparison: Comparison) -> str:
    """Which rows of the data the runs are of, as far as they are at hand; nothing where none is."""
    rules = {run: rule for run in dict.fromkeys(group.run for group in comparison.groups) if (rule := _rule(run))}
    if len({*rules.values()}) == 1 and len(rules) == len({group.run for group in comparison.groups}):
        return next(iter(rules.values()))
    return "; ".join(f"{Path(run).name}: {rule}" for run, rule in rules.items())


def _rule(run: str) -> str | None:
    try:
        identity = open_run(run).record.get("identity", {})
    except (GradPrismError, OSError):
        return None
    read = {name.removeprefix("read."): value for name, value in identity.items() if name.startswith("read.")}
    return _rule_in_words(read) if read else None


def _rule_in_words(read: Mapping[str, Any]) -> str:
    words = [f"{name} {read[name]}" for name in ("config", "split", "rows") if read.get(name)]
    if read.get("sample"):
        words.append(f"a random sample of {read['sample']:,} (seed {read.get('seed')})")
    if read.get("limit"):
        words.append(f"the first {read['limit']:,}")
    return ", ".join(words) or "all"


def _completeness(comparison: Comparison) -> str:
    pending = {group.run: group.pending for group in comparison.groups if group.pending}
    runs = [f"{Path(run).name} is INCOMPLETE: {n:,} rows are not measured yet" for run, n in pending.items()]
    return "; ".join(runs) or "complete"


def _settings(settings: Mapping[str, Any]) -> str:
    none = ("None", "False", "[]", "()")
    given = {name.replace("_", " "): value for name, value in settings.items() if str(value) not in none}
    return ", ".join(name if value is True else f"{name} {value}" for name, value in given.items())
