"""The words of the code: a docstring begins with a verb and its object, and is understood without the signature."""

import ast
from collections.abc import Iterator

import pytest
from tests.conftest import ROOT

SOURCE = ROOT / "src" / "gradprism"
FOLDERS = sorted(path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists())
NO_BEGINNING = {"Of", "What", "Whether", "Who", "Whose", "Where", "When", "How", "Nobody", "Nothing", "Hear", "Hears",
                "They", "It", "Also", "As", "Beside"}  # fmt: skip
NO_VERB = NO_BEGINNING | {
    "A", "An", "The", "All", "Each", "Every", "Any", "Both", "One", "Two", "Three", "Several", "Some", "So", "Such",
    "Those", "These", "This", "That", "In", "On", "By", "For", "To", "From", "With", "Without", "At", "Between",
    "Own", "Other", "Only", "Not", "No", "Most", "Least", "Names", "Numbers", "Number", "Rows", "Row", "Mean",
    "Same", "Its", "Their", "Now", "Tokens", "Text", "Texts", "Tables", "Values", "Lines", "Path", "Paths", "Words",
}  # fmt: skip


def docstrings(folder: str) -> Iterator[tuple[str, str, bool]]:
    """Yield where, the first line, and whether it is that of a function (and no property)."""
    for file in sorted((SOURCE / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
                where = f"{file.relative_to(SOURCE)}:{getattr(node, 'lineno', 1)}"
                is_function = isinstance(node, ast.FunctionDef) and not any(
                    "property" in ast.unparse(each) for each in node.decorator_list
                )
                yield where, text.splitlines()[0], is_function


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_begin_with_a_verb(folder: str) -> None:
    wrong = []
    for where, line, is_function in docstrings(folder):
        first = line.split()[0].strip("`,.:;")
        spelled_so = first[:1].isupper() or not is_function or not first.isalpha()
        if first in (NO_VERB if is_function else NO_BEGINNING) or line.startswith("The same") or not spelled_so:
            wrong.append(f"{where}: {line}")
    assert not wrong, f"{len(wrong)} first lines:\n" + "\n".join(wrong)
