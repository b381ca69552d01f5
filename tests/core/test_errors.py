"""The first line of an error, of whatever another library raises."""

import pytest

from gradprism.core.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"), [(OSError(), "OSError"), (ValueError("\nbelow"), "ValueError"), (KeyError("a\nb"), "'a\\nb'"),
                        (RuntimeError("first\nsecond"), "first")],
)  # fmt: skip
def test_the_first_line_is_never_empty(error: Exception, line: str) -> None:
    assert first_line(error) == line
