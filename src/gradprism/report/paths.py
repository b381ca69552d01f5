"""Base names in place of paths: a page goes to others, and must not say where things lie on the author's disk."""

import re
from collections.abc import Iterable, Iterator

from gradprism.comparison.comparison import Comparison
from gradprism.core.errors import first_line
from gradprism.files.paths import base_name

_ROOT = r"(?:~?/|[A-Za-z]:[\\/]|\\\\)"  # of a POSIX path, of one at home, of a drive, of a share
_QUOTED = re.compile(rf"(?<=['\"`]){_ROOT}[^'\"`\n]+(?=['\"`])")  # may hold blanks
_BARE = re.compile(rf"(?<![\w.:/\\~-]){_ROOT}(?:[^\s/\\'\"<>|:;,()]+[/\\])+[^\s/\\'\"<>|:;,()]*")


def without_paths(text: str, known: Iterable[str] = ()) -> str:
    """Return a text with base names in place of the paths that are `known`, and of every absolute path."""
    for path in sorted({path for path in known if base_name(path) != path}, key=len, reverse=True):
        text = text.replace(path, base_name(path))
    for pattern in (_QUOTED, _BARE):
        text = pattern.sub(lambda match: base_name(match[0]), text)
    return text


def known_paths(comparison: Comparison) -> Iterator[str]:
    """Yield the runs, the model and the data of a comparison."""
    yield from (group.run for group in comparison.groups)
    yield comparison.model
    data = comparison.about.get("data", ())
    for entry in [data] if isinstance(data, dict) else data:
        yield from map(str, entry.get("sources", ()))


def first_line_without_paths(problem: Exception, known: Iterable[str]) -> str:
    """Return the first line of an error's message, without paths."""
    return without_paths(first_line(problem), known)
