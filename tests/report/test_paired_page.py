"""The page of paired rows: what its data say, and in a real Chromium its first screen and tables."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.made_pairs import checkpoint
from tests.report.browsing import PHONE, WIDE, drawn, until

import gradprism
from gradprism.comparison.comparison import Comparison
from gradprism.report import write_report

pytestmark = pytest.mark.slow  # a page of 5 MB is loaded for each test
KINDS = ["plain"] * 12 + ["worked"] * 12


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("pairs")
    change = np.where(np.array(KINDS) == "worked", 1.5, 1.1)[:, None, None]
    before = checkpoint(folder / "before", kind=KINDS, model="/models/given-base")
    after = checkpoint(folder / "after", change, seed=8, kind=KINDS, model="/models/given-tuned")
    return gradprism.compare(before=before, after=after, paired=True, by="column:kind", resamples=499)


@pytest.fixture(scope="module")
def report(comparison: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(comparison, out=tmp_path_factory.mktemp("report") / "report.html").path


def test_the_data_tell_the_models_apart_without_paths(report: Path) -> None:
    page = report.read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    (model,) = data["models"]
    header = dict(model["header"])
    assert header["Model before"].startswith("given-base (")
    assert header["Model after"].startswith("given-tuned (")
    assert "/models" not in page
    assert "--sketch 4096" in model["paired"]["cosine"]
    assert next(each["kind"] for each in model["paired"]["interactions"]) == "survives"


@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_the_first_screen_says_what_changed(visit: Any, report: Path, size: tuple[int, int]) -> None:
    page = visit(report, size)
    assert page.locator("#top-title").inner_text() == "after and before on given-base → given-tuned"
    lines = page.locator("#top .headlines").first.inner_text()
    assert "in the same 24 rows" in lines
    assert "Did plain change more than worked?" in page.locator("#top").inner_text()
    until(page, "document.querySelectorAll('#top .js-plotly-plot').length === 2")
    traces = page.evaluate("document.querySelectorAll('#top .plot')[0].data.map(t => [t.name, t.x.length])")
    assert traces == [["in the same rows", 6]]
    thin = page.evaluate(
        "document.querySelectorAll('#top .plot')[1].data.filter(t => t.mode === 'lines').map(t => t.x.length)"
    )
    assert thin == [36, 36, 36, 36]  # 12 rows of three points, two of them drawn, of two groups and measures
    assert page.evaluate("document.documentElement.scrollWidth") == size[0]


def test_tables_have_no_columns_of_length_controls(visit: Any, report: Path) -> None:
    page = visit(report)
    heads = page.locator("#verdict .ratio-table thead th").all_inner_texts()
    assert heads == ["Measure", "Verdict", "Ratio", "p adj.", "Rows", "Higher in"]
    drawn(page, "effects")
    assert page.locator("#effects select").count() == 2
    assert page.locator("#layer-box thead th").all_inner_texts() == [
        "Projection",
        "after",
        "before",
        "Change",
        "p adj.",
        "Higher in",
    ]
    words = page.locator("#effects").inner_text()
    assert "earlier version" not in words
    assert "common support" not in words


def test_groups_of_rows_are_hidden_at_first_and_shown_on_click(visit: Any, report: Path) -> None:
    page = visit(report)
    drawn(page, "curves")
    pressed = page.locator("#curves .group-toggle[aria-pressed=true]").all_inner_texts()
    assert pressed == ["after", "before"]
    page.locator("#curves .group-toggle", has_text="after: worked").click()
    until(page, "document.querySelectorAll('#curves .group-toggle[aria-pressed=true]').length === 3")
