"""Read YAML of strangers: within limits of size, depth and aliases, each key once, each value of an ordinary size.

What is wrong is a `YamlProblemError`, one line that names the line of the text and the key.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 2**20
"""The most bytes of a YAML file."""
_MOST_LEVELS = 32  # of lists and mappings in each other
_MOST_VALUES = 20_000
_MOST_BITS = 64  # of an integer
_TOO_DEEP = f"lists and mappings stand more than {_MOST_LEVELS} deep in each other"
_TOO_MANY = f"more than {_MOST_VALUES:,} values, those of aliases counted where they stand"


class YamlProblemError(ValueError):
    """A text that is not YAML, or none that is read here."""


def read_yaml_file(path: Path) -> str:
    """Return the text of a YAML file. Raises `OSError` or `YamlProblemError`."""
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise YamlProblemError(f"it has more than {MOST_BYTES:,} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise YamlProblemError(f"line {line}: byte 0x{content[error.start]:02x} is not UTF-8") from None


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text. Raises `YamlProblemError`."""
    return parse_yaml_tree(text)[0]


def parse_yaml_tree(text: str) -> tuple[Any, yaml.Node | None]:
    """Return the value of a YAML text, and its nodes, which know their lines. Raises `YamlProblemError`."""
    try:
        loader = _Loader(text)
        tree = loader.get_single_node()
        if tree is None:
            return None, None
        _Check(loader).visit(tree)
        return loader.construct_document(tree), tree
    except RecursionError:
        raise YamlProblemError(_TOO_DEEP) from None
    except yaml.MarkedYAMLError as error:
        raise YamlProblemError(_in_one_line(error)) from None
    except yaml.YAMLError as error:
        raise YamlProblemError(" ".join(str(error).split("\n")[0].split())) from None
    except (ValueError, TypeError, OverflowError) as error:
        raise YamlProblemError(str(error)[:200]) from None


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which stops at once where there are too many values or levels."""

    def __init__(self, text: str):
        super().__init__(text)
        self._n_values = self._level = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._n_values, self._level = self._n_values + 1, self._level + 1
        where = f"line {self.line + 1}: "
        if self._level > _MOST_LEVELS:
            raise YamlProblemError(f"{where}{_TOO_DEEP}")
        if self._n_values > _MOST_VALUES:
            raise YamlProblemError(f"{where}{_TOO_MANY}")
        node = super().compose_node(parent, index)
        self._level -= 1
        return node


def _in_one_line(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    what = ", ".join(part for part in (error.context, error.problem) if part)
    return f"line {mark.line + 1}, column {mark.column + 1}: {what[:200]}" if mark else what[:200]


class _Check:
    """A walk over the nodes of a text that refuses what is repeated, endless, too deep, too large, or a bad value."""

    def __init__(self, loader: _Loader):
        self._loader = loader
        self._sizes: dict[int, tuple[int, int]] = {}  # of nodes that have been checked: values in them, and levels
        self._open: set[int] = set()

    def visit(self, node: yaml.Node, path: tuple[str, ...] = ()) -> tuple[int, int]:
        """Return the number of values in a node, itself counted, and its levels. Raises `YamlProblemError`."""
        where = f"line {node.start_mark.line + 1}{f', {chr(46).join(path)[:80]}' if path else ''}: "
        if id(node) in self._open:
            raise YamlProblemError(f"{where}an alias stands for the value that it is part of")
        size, levels = self._sizes.get(id(node)) or self._measure(node, path, where)
        if size > _MOST_VALUES:
            raise YamlProblemError(f"{where}{_TOO_MANY}")
        if len(self._open) + levels > _MOST_LEVELS:
            raise YamlProblemError(f"{where}{_TOO_DEEP}")
        return size, levels

    def _measure(self, node: yaml.Node, path: tuple[str, ...], where: str) -> tuple[int, int]:
        if isinstance(node, yaml.ScalarNode):
            _check_scalar(node, self._loader, where)
            return 1, 0
        self._open.add(id(node))
        size, levels = 1, 0
        for name, child in _children(node, where):
            its_size, its_levels = self.visit(child, (*path, name) if name else path)
            size, levels = size + its_size, max(levels, its_levels)
        self._open.remove(id(node))
        self._sizes[id(node)] = size, levels + 1
        return self._sizes[id(node)]


def _children(node: yaml.Node, where: str) -> Iterator[tuple[str, yaml.Node]]:
    """Yield the values in a node, each with its key if it has one. Raises `YamlProblemError` for a key given twice."""
    if isinstance(node, yaml.SequenceNode):
        yield from (("", each) for each in node.value)
    elif isinstance(node, yaml.MappingNode):
        seen: set[tuple[str, str]] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise YamlProblemError(f"{where}a key is a list or a mapping, expected text")
            if (key.tag, key.value) in seen:
                line = key.start_mark.line + 1
                raise YamlProblemError(f"line {line}: the key {key.value[:80]!r} is given twice, expected once")
            seen.add((key.tag, key.value))
            yield str(key.value), key
            yield str(key.value), value


def _check_scalar(node: yaml.ScalarNode, loader: _Loader, where: str) -> None:
    """Refuse a number or date that is none, or is of a size that no setting has."""
    if node.tag == "tag:yaml.org,2002:merge":
        return
    try:
        value = loader.construct_object(node)
    except (ValueError, OverflowError, LookupError, AttributeError, TypeError):  # as PyYAML raises them
        kind = node.tag.rpartition(":")[2].replace("timestamp", "date")
        raise YamlProblemError(f"{where}{node.value[:40]!r} is no {kind}") from None
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise YamlProblemError(f"{where}an integer of more than {_MOST_BITS} bits ({node.value[:40]!r})")
