"""The top of a page: the model, the data and which of its rows, the settings, and whether the runs are complete."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gradprism.comparison.comparison import Comparison
from gradprism.core.errors import GradPrismError
from gradprism.core.summary_lines import describe_text
from gradprism.files.paths import base_name
from gradprism.report.paths import known_paths, without_paths
from gradprism.runs.run import open_run

_SHORT = 8  # characters of a fingerprint or a revision: enough to tell two apart


def header_lines(comparison: Comparison) -> list[list[str]]:
    """Return lines [name, text], without paths."""
    known = [*known_paths(comparison)]
    return [[name, without_paths(text, known)] for name, text in _lines(comparison) if text]


def _lines(comparison: Comparison) -> Iterator[tuple[str, str]]:
    about = comparison.about
    if models := about.get("models"):
        for name, model in models.items():
            yield f"Model {name}", model["in_words"]
        yield "Cosine", about["cosine"]["in_words"]
    else:
        yield "Model", _model_in_words(comparison)
    yield "Data", _data_in_words(about.get("data", ()))
    yield "Rows read", _rows_in_words(comparison)
    yield "Runs", _completeness(comparison)
    yield "Text", f"template {describe_text(about['text'])}" if about.get("text") else ""
    yield "Precision", str(about.get("precision") or "")
    yield "Projections", ", ".join(comparison.projections)
    yield "Settings", _settings_in_words(about.get("settings") or {})
    yield "Compared", str(about.get("created") or "").replace("T", " ").replace("+00:00", " UTC")
    yield "Versions", _settings_in_words(about.get("versions") or {})


def _model_in_words(comparison: Comparison) -> str:
    model = comparison.about.get("model", {})
    revision = f"revision {str(model['revision'])[:_SHORT]}" if model.get("revision") else None
    parts = [model.get("class"), f"{len(comparison.layers)} layers", model.get("dtype"), revision]
    return ", ".join([base_name(comparison.model), *(str(part) for part in parts if part)])


def _data_in_words(data: Any) -> str:
    entries = [data] if isinstance(data, Mapping) else list(data)
    return "; ".join(dict.fromkeys(_one_data_set(entry) for entry in entries if isinstance(entry, Mapping)))


def data_names(comparison: Comparison) -> str:
    """Name the files or data sets that were measured, without paths."""
    data = comparison.about.get("data", ())
    entries = [data] if isinstance(data, Mapping) else list(data)
    return ", ".join(dict.fromkeys(_source_names(entry) for entry in entries if isinstance(entry, Mapping)))


def _source_names(entry: Mapping[str, Any]) -> str:
    return ", ".join(Path(str(source)).name or str(source) for source in entry.get("sources", ()))


def _one_data_set(entry: Mapping[str, Any]) -> str:
    names = _source_names(entry)
    rows = f", {entry['rows']:,} rows" if isinstance(entry.get("rows"), int) else ""
    schema = f" ({entry['schema']})" if entry.get("schema") else ""
    fingerprint = f", fingerprint {str(entry['fingerprint'])[:_SHORT]}" if entry.get("fingerprint") else ""
    return f"{names}{schema}{rows}{fingerprint}"


def _rows_in_words(comparison: Comparison) -> str:
    """Say which rows of the data the runs read, as far as the runs are there: once, or for each run."""
    runs = dict.fromkeys(group.run for group in comparison.groups)
    rules = {run: rule for run in runs if (rule := _rule_of_run(run))}
    if len({*rules.values()}) == 1 and len(rules) == len(runs):
        return next(iter(rules.values()))
    return "; ".join(f"{Path(run).name}: {rule}" for run, rule in rules.items())


def _rule_of_run(run: str) -> str | None:
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


def _settings_in_words(settings: Mapping[str, Any]) -> str:
    none = ("None", "False", "[]", "()")
    given = {name.replace("_", " "): value for name, value in settings.items() if str(value) not in none}
    given |= {name: " and ".join(map(str, value)) for name, value in given.items() if isinstance(value, list)}
    return ", ".join(name if value is True else f"{name} {value}" for name, value in given.items())
