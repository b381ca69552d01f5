"""A study whose figures are not what is tested."""

import pytest


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write figures of a study without drawing them, which takes half of its time; test_study.py has them drawn."""
    monkeypatch.setattr("gradprism.figures.files.make", lambda *_: None)
    monkeypatch.setattr("gradprism.figures.files.figure_bytes", lambda *_: b"a figure")
