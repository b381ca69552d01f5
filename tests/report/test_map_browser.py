"""The map, the most similar pairs and the targets in a real Chromium: colours, lasso, address, downloads, lists."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.made_reports import FOUND_AGAIN, made_report, with_target
from tests.report.browsing import PHONE, WIDE, drawn, until

from gradprism.comparison.comparison import Comparison
from gradprism.report import write_report

pytestmark = pytest.mark.slow  # a page of 5 MB is loaded anew for each test, one to two seconds each
N = 30
MAP = "document.querySelector('#map .plot')"
CUT_LABELS = """
[...document.querySelectorAll("#targets .plot:first-child .ytick text")]
  .filter((each) => each.getBoundingClientRect().left < each.closest(".plot").getBoundingClientRect().left)
  .map((each) => each.textContent)
"""
SQUARE = "-5_-5_0_-5_0_5_-5_5"  # the left half of the map


def sketches(n: int, place: int) -> np.ndarray:
    made = np.random.default_rng(place).normal(size=(n, 16)) * np.geomspace(1, 0.1, 16)
    made[:, 0] += 2 * place - 1
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    made = {name: sketches(N, place) for place, name in enumerate(("high", "low"))}
    compared = made_report(tmp_path_factory.mktemp("runs"), n=N, layers=2, sketches=made)
    values = np.linspace(-0.2, 0.4, 2 * N).tolist()
    compared = with_target(compared, "mine", values, regression_scale="linear", **FOUND_AGAIN)
    return with_target(compared, "other", values[::-1], regression_scale="linear")


@pytest.fixture(scope="module")
def report(comparison: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(comparison, out=tmp_path_factory.mktemp("report") / "report.html").path


def saved(page: Any, button: Any) -> pl.DataFrame:
    with page.expect_download() as download:
        button.click()
    return pl.read_csv(io.StringIO(Path(download.value.path()).read_text(encoding="utf-8")))


def test_sections_stand_where_there_are_data(visit: Any, report: Path) -> None:
    page = visit(report)
    assert page.locator("#nav a").all_inner_texts()[-4:] == ["Targets", "Map", "Redundancy", "Examples"]
    for section in ("targets", "map", "redundancy"):
        assert page.locator(f"#{section} .lead").count() == 1
    drawn(page, "map")
    caption = page.locator("#map figcaption").inner_text()
    assert caption.startswith("All 60 examples. Principal components of sketches (random projections of dimension 16)")
    assert re.search(r"they hold \d+% on axis 1, \d+(\.\d)?% on axis 2 of the variance", caption)
    assert re.search(r"Rank correlation with response tokens: −?0\.\d\d on axis 1, −?0\.\d\d on axis 2", caption)


def test_points_are_coloured_by_group_or_value_and_groups_are_hidden(
    visit: Any, report: Path, comparison: Comparison
) -> None:
    page = visit(report)
    drawn(page, "map")
    assert page.evaluate(f"{MAP}.data.map(t => [t.name, t.type, t.x.length])") == [
        ["high", "scatter", N],
        ["low", "scatter", N],
    ]
    page.get_by_role("combobox", name="Colour").select_option("n_response_tokens")
    until(page, f"{MAP}.data[0].marker.coloraxis === 'coloraxis'")
    tokens = comparison.examples.filter(group="high")["n_response_tokens"].log10().to_list()
    assert page.evaluate(f"{MAP}.data[0].marker.color") == pytest.approx(tokens)
    page.locator("#map .group-toggle", has_text="high").click()
    until(page, f"{MAP}.data.length === 1 && {MAP}.data[0].name === 'low'")
    assert page.locator("#map figcaption").inner_text().startswith("30 of 60 examples")
    page.get_by_role("combobox", name="Colour").select_option("influence:mine")
    until(page, f"{MAP}.layout.coloraxis.colorbar.title.text === 'Influence on mine'")


def position(page: Any, x: float, y: float) -> dict[str, float]:
    at = page.evaluate(
        f"(({{xaxis, yaxis}}) => [xaxis._offset + xaxis.l2p({x}), yaxis._offset + yaxis.l2p({y})])({MAP}._fullLayout)"
    )
    return {"x": at[0], "y": at[1]}


def test_a_click_on_a_point_opens_the_example(visit: Any, report: Path) -> None:
    page = visit(report)
    plot = drawn(page, "map")
    x, y, name = page.evaluate(f"(t => [t.x[4], t.y[4], t.text[4]])({MAP}.data[1])")
    plot.hover(position=position(page, x, y))
    plot.click(position=position(page, x, y))
    assert "low-4" in page.locator("#detail-title").inner_text()
    assert name.startswith("<b>low-4</b>")


def test_a_lasso_lists_what_it_surrounds(visit: Any, report: Path) -> None:
    page = visit(report)
    page.get_by_role("combobox", name="Dragging").select_option("lasso")
    plot = drawn(page, "map")
    until(page, f"{MAP}.layout.dragmode === 'lasso'")
    plot.evaluate("each => each.scrollIntoView({ block: 'center', behavior: 'instant' })")
    box = plot.bounding_box()
    ranges = page.evaluate(f"[...{MAP}._fullLayout.xaxis.range, ...{MAP}._fullLayout.yaxis.range]")
    left, _, bottom, top = (value * 0.97 for value in ranges)
    outline = (left, bottom), (0, bottom), (0, top), (left, top), (left, bottom)
    corners = [position(page, *corner) for corner in outline]
    page.mouse.move(box["x"] + corners[0]["x"], box["y"] + corners[0]["y"])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(box["x"] + corner["x"], box["y"] + corner["y"], steps=4)
    page.mouse.up()
    until(page, "location.hash.includes('lasso=')")
    inside = page.evaluate(f"{MAP}.data.flatMap(t => t.customdata.filter((_, i) => t.x[i] < 0))")
    assert 0 < len(inside) < 2 * N
    until(page, f"document.querySelector('#count').textContent === '{len(inside)} of 60 examples'")
    assert page.locator("#map figcaption a").inner_text() == f"{len(inside)} examples in the lasso"
    address = page.evaluate("location.hash")
    page.get_by_role("button", name="Clear the lasso of the map").click()
    until(page, "document.querySelector('#count').textContent === '60 examples' && !location.hash.includes('lasso=')")
    page.evaluate(f"location.hash = '{address}'")
    until(page, f"document.querySelector('#count').textContent === '{len(inside)} of 60 examples'")


def test_an_address_without_corners_is_no_lasso(visit: Any, report: Path) -> None:
    page = visit(report, view="#lasso=1_2_3&map=nothing&target=nothing&drag=x")
    assert page.get_by_role("combobox", name="Colour").input_value() == "group"
    for corners in ("x_y_z_1_2_3", "_".join("12" * 100), "1_1_2_2", ""):
        page.evaluate(f"location.hash = '#lasso={corners}&find=low-1'")
        until(page, "document.querySelector('#count').textContent === '11 of 60 examples'")


def test_the_view_of_map_and_targets_is_in_the_address(visit: Any, report: Path) -> None:
    view = f"#target=influence%3Aother&map=loss&drag=lasso&lasso={SQUARE}&hide=low"
    page = visit(report, view=view)
    page.keyboard.press("Shift")
    page.wait_for_timeout(300)
    assert {*page.evaluate("location.hash.slice(1)").split("&")} == {*view[1:].split("&")}
    assert page.locator("#targets h3").inner_text().startswith("Influence on other")
    drawn(page, "map")
    n = page.evaluate(f"{MAP}.data[0].selectedpoints.length")
    assert page.locator("#count").inner_text() == f"{n} of 60 examples"  # of the shown group alone


def test_the_map_and_the_pairs_are_saved(visit: Any, report: Path) -> None:
    page = visit(report)
    drawn(page, "map")
    rows = saved(page, page.locator("#map").get_by_role("button", name="as CSV"))
    assert rows.columns == ["group", "example_id", "row", "n_response_tokens", "component_1", "component_2"]
    assert rows["component_1"].to_list() == pytest.approx(page.evaluate(f"{MAP}.data.flatMap(t => t.x)"))
    pairs = saved(page, page.get_by_role("button", name="Download the pairs as CSV"))
    assert pairs["cosine"].is_sorted(descending=True)
    shown = page.locator("#redundancy tbody tr").first.locator(".link").all_inner_texts()
    assert shown == [pairs.row(0, named=True)[f"{each}_example_id"] for each in ("first", "second")]


def test_either_example_of_a_pair_opens(visit: Any, report: Path) -> None:
    page = visit(report)
    assert "pairs above 0.9" in page.locator("#redundancy .count").inner_text()
    assert "1/√16 = 0.25" in page.locator("#redundancy").inner_text()
    for place in (0, 1):
        button = page.locator("#redundancy tbody tr").nth(2).locator(".link").nth(place)
        name = button.inner_text()
        button.click()
        assert name in page.locator("#detail-title").inner_text()
        page.keyboard.press("Escape")
        assert page.evaluate("document.activeElement.textContent") == name


def test_the_targets_have_distributions_verdicts_and_extremes(visit: Any, report: Path) -> None:
    page = visit(report)
    drawn(page, "targets")
    section = page.locator("#targets")
    assert section.locator(".findings .tag").all_inner_texts() == ["not just length"]
    assert "influence on mine" in section.locator(".findings p").inner_text()
    assert section.locator("tbody").first.locator("tr").first.inner_text().splitlines()[0] == "low-29"
    assert section.locator("tbody").first.locator(".number").first.inner_text() == "0.400"
    section.get_by_label("Target").select_option(label="Influence on other")
    assert section.locator("tbody").first.locator("tr").first.inner_text().splitlines()[0] == "high-0"
    until(page, "document.querySelectorAll('#targets .plot .main-svg').length > 1")
    section.locator(".group-toggle", has_text="low").click()
    until(page, "document.querySelector('#targets .plot').data.filter(t => t.type === 'box').length === 1")
    plots = page.evaluate("document.querySelectorAll('#targets .plot').length")
    assert plots == 2


@pytest.mark.parametrize("size", [WIDE, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_they_fit_at_both_widths_in_both_themes(visit: Any, report: Path, size: tuple[int, int], scheme: str) -> None:
    page = visit(report, size, scheme, view=f"#map=loss&lasso={SQUARE}")
    for section in ("targets", "map"):
        drawn(page, section)
    assert page.locator("html").evaluate("each => each.scrollWidth") == size[0]
    assert page.evaluate(CUT_LABELS) == []
    page.locator("#theme").click()
    accent = "getComputedStyle(document.documentElement).getPropertyValue('--accent').trim()"
    until(page, f"{MAP}.layout.shapes[0].line.color === {accent}")


@pytest.mark.exhaustive  # writes and reads 2,400 rows
def test_the_map_shows_every_example_of_the_page(visit: Any, tmp_path: Path) -> None:
    made = {name: sketches(1200, place) for place, name in enumerate(("high", "low"))}
    page = visit(write_report(made_report(tmp_path, 1200, 1, sketches=made), out=tmp_path / "report.html").path)
    assert drawn(page, "map").locator(".point").count() == 2400
