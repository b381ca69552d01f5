"""The report in a real Chromium: what a reader sees and does, with the mouse and without one."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.made_comparisons import made_comparison
from tests.made_reports import made_report

from gradprism import open_run
from gradprism.analysis.comparison import Comparison
from gradprism.report import write_report

EVIL = '</script><img src=x onerror="window.hacked = true">'
ARABIC = "ما هو الضوء؟ " * 20
HEBREW = "\u202eשלום עולם"  # begins with an override of direction that nothing ends
LONG = "x" * 100_000
TEXTS = {
    "high": [(EVIL, f"answer {EVIL}"), (ARABIC, HEBREW), (LONG, "word " * 20_000)],
    "low": [("Find the needle in this prompt.", "Here.")],
}
WIDE, PHONE = (1280, 800), (390, 844)
pytestmark = pytest.mark.slow  # a page of 5 MB is opened anew for each test, two seconds each on two cores


def chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("GRADPRISM_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    path = chromium()
    with api.sync_playwright() as playwright:
        try:
            launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"no Chromium can be started ({str(error).splitlines()[0]}); GRADPRISM_CHROMIUM names one")
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return made_report(tmp_path_factory.mktemp("runs"), n=40, layers=6, texts=TEXTS)


@pytest.fixture(scope="module")
def report(comparison: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report([comparison], tmp_path_factory.mktemp("report") / "report.html").path


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """`visit(file)`: the page once it is ready; whatever it logs or requests fails the test at its end."""
    troubles: list[str] = []
    contexts = []

    def go(file: Path, size: tuple[int, int] = WIDE, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("request", lambda request: troubles.append(request.url) if request.url != file.as_uri() else None)
        page.goto(file.as_uri())
        page.wait_for_function("window.__gradprismReady")
        return page

    yield go
    for context in contexts:
        context.close()
    assert [trouble for trouble in troubles if not trouble.startswith(("data:", "blob:"))] == []


def drawn(page: Any, section: str) -> Any:
    """The plot of a section, once it is drawn."""
    page.locator(f"#{section} .plot").first.scroll_into_view_if_needed()
    page.wait_for_selector(f"#{section} .plot.js-plotly-plot .main-svg")
    return page.locator(f"#{section} .plot").first


def lines(page: Any) -> list[str]:
    """Names of the lines that the curves show."""
    return page.evaluate("[...document.querySelector('#curves .plot').data].filter(t => t.name).map(t => t.name)")


def first_column(page: Any) -> list[str]:
    return page.locator("#examples tbody th bdi").all_inner_texts()


def open_example(page: Any, name: str) -> Any:
    page.get_by_label("Find in id and text").fill(name)
    page.locator("#examples tbody tr").first.click()
    return page.locator("#detail")


def test_every_section_is_there_and_every_plot_is_drawn(visit: Any, report: Path) -> None:
    page = visit(report)
    assert page.locator("#nav a").all_inner_texts() == [
        "Verdict", "Curves", "Effects", "Length", "Correlations", "Examples",
    ]  # fmt: skip
    page.wait_for_function(
        "[...document.querySelectorAll('.plot')].every(plot => plot.querySelector('.main-svg'))", timeout=20_000
    )
    assert page.locator(".plot").count() == 5
    assert page.locator("#verdict .tag").all_inner_texts() == ["survives", "length alone"]
    assert "made up" in page.locator("#top .notice").inner_text()
    assert page.locator("#top table tbody tr").count() == 2 + 4  # groups; reasons of skipped and failed rows


def test_projections_are_toggled(visit: Any, report: Path) -> None:
    page = visit(report)
    drawn(page, "curves")
    assert lines(page) == ["q", "k", "v", "o"] * 2
    page.get_by_role("button", name="k", exact=True).click()
    page.wait_for_function("document.querySelector('#curves .plot').data.filter(t => t.name === 'k').length === 0")
    button = page.get_by_role("button", name="k", exact=True)
    assert button.get_attribute("aria-pressed") == "false"
    button.press("Enter")
    page.wait_for_function("document.querySelector('#curves .plot').data.some(t => t.name === 'k')")
    assert page.evaluate("document.activeElement.dataset.projection") == "k"


def test_groups_are_overlaid_and_the_measure_changes(visit: Any, report: Path) -> None:
    page = visit(report)
    drawn(page, "curves")
    page.get_by_label("Panels").select_option("projections")
    page.wait_for_function("document.querySelector('#curves .plot').data.filter(t => t.name === 'low').length === 4")
    page.locator("#curves").get_by_label("Measure").select_option("same_layer_cosine")
    page.wait_for_function("document.querySelector('#curves .plot').data.filter(t => t.name === 'low').length === 2")
    assert page.locator("#effects").get_by_label("Measure").input_value() == "same_layer_cosine"
    assert page.locator("#curves .toggle").all_inner_texts() == ["k-v", "q-o"]


def test_a_click_on_the_heatmap_chooses_the_layer_everywhere(visit: Any, report: Path, comparison: Comparison) -> None:
    page = visit(report)
    plot = drawn(page, "effects")
    at = plot.evaluate(
        "plot => { const {xaxis, yaxis} = plot._fullLayout;"
        "return [xaxis._offset + xaxis.l2p(5), yaxis._offset + yaxis.l2p(1)]; }"
    )
    plot.hover(position={"x": at[0], "y": at[1]})
    plot.click(position={"x": at[0], "y": at[1]})
    page.wait_for_function("document.querySelector('#layer-title').textContent.startsWith('Layer 5')")
    row = comparison.effects.filter(measure="effective_rank", projection="k", layer=5).row(0, named=True)
    shown = page.locator("#layer-box tbody tr").nth(1).inner_text()
    assert f"{row['auc']:.2f}" in shown
    page.wait_for_function("document.querySelector('#curves .plot').layout.shapes[0].x0 === 5")
    dialog = open_example(page, "high-7")
    assert dialog.get_by_label("Singular values of layer", exact=True).input_value() == "5"


def test_the_layer_is_chosen_with_the_keyboard(visit: Any, report: Path) -> None:
    page = visit(report)
    slider = page.get_by_label("Layer, slider")
    slider.focus()
    before = int(slider.input_value())
    slider.press("ArrowRight")
    page.wait_for_function(f"document.querySelector('#layer-title').textContent.startsWith('Layer {before + 1}')")
    number = page.locator("#effects input[type=number]")
    number.fill("0")
    number.press("Enter")
    page.wait_for_function("document.querySelector('#layer-title').textContent.startsWith('Layer 0')")
    assert slider.input_value() == "0"


def test_examples_sort_both_ways_and_back(visit: Any, report: Path, comparison: Comparison) -> None:
    page = visit(report)
    head = page.locator("#examples th", has_text="Response tokens")
    original = first_column(page)
    by_length = comparison.examples.sort("n_response_tokens", descending=True, maintain_order=True)
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert first_column(page) == by_length["example_id"].to_list()[:25]
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert page.locator("#examples tbody tr td.number").first.inner_text() == f"{by_length['n_response_tokens'][-1]:,}"
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "none"
    assert first_column(page) == original


def test_examples_are_filtered_by_text_group_and_length_and_turn_pages(visit: Any, report: Path) -> None:
    page = visit(report)
    count = page.locator("#count")
    assert count.inner_text() == "80 examples"
    page.get_by_role("button", name="Last page").click()
    assert first_column(page) == [f"low-{place}" for place in range(35, 40)]
    page.get_by_label("Find in id and text").fill("NEEDLE in")
    assert (count.inner_text(), first_column(page)) == ("1 of 80 examples", ["low-0"])
    page.get_by_label("Find in id and text").fill("")
    page.locator("#examples").get_by_label("Group").select_option(label="low")
    assert count.inner_text() == "40 of 80 examples"
    page.get_by_label("Response tokens from").fill("1000000")
    assert count.inner_text() == "0 of 80 examples"
    assert "No example matches." in page.locator("#examples tbody").inner_text()
    assert count.get_attribute("aria-live") == "polite"


def test_an_example_opens_walks_and_closes_without_a_mouse(visit: Any, report: Path, comparison: Comparison) -> None:
    page = visit(report)
    row = page.locator("#examples tbody tr").nth(4)
    row.focus()
    row.press("ArrowDown")
    page.keyboard.press("Enter")
    title = page.locator("#detail-title")
    assert "high-5" in title.inner_text()
    response = page.locator("#detail .turn.response")
    assert response.locator("h3").inner_text() == "Response – the loss and its gradient are of this text"
    page.keyboard.press("ArrowRight")
    assert "high-6" in title.inner_text()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert "high-4" in title.inner_text()
    page.wait_for_function("document.querySelectorAll('#detail .plot .main-svg').length > 0")
    page.keyboard.press("Escape")
    assert not page.locator("#detail").is_visible()
    assert page.evaluate("document.activeElement.dataset.place") == "4"


def test_the_curves_and_singular_values_of_an_example_are_those_of_its_run(
    visit: Any, report: Path, comparison: Comparison
) -> None:
    page = visit(report)
    open_example(page, "low-17")
    page.wait_for_function("document.querySelectorAll('#detail .plot.js-plotly-plot').length === 2")
    found = page.evaluate(
        "[...document.querySelectorAll('#detail .plot')].map("
        "p => p.data.filter(t => t.name === 'this').map(t => ({x: t.x, y: t.y})))"
    )
    spectra = open_run(comparison.groups[1].run).scan("spectra").filter(row=17).collect()
    curve = spectra.filter(projection="v").sort("layer")["nuclear_norm"].to_list()
    assert found[0][2]["y"] == pytest.approx(curve, rel=2e-3)
    layer = int(page.locator("#detail input[type=number]").input_value())
    values = spectra.filter(projection="v", layer=layer)["singular_values"][0]
    shown = {index: value for index, value in zip(*found[1][2].values(), strict=True) if value is not None}
    assert len(shown) > 5
    assert shown == pytest.approx({index: values[index - 1] / values[0] for index in shown}, rel=0.06)


def test_a_point_of_the_scatter_opens_its_example(visit: Any, report: Path) -> None:
    page = visit(report)
    plot = drawn(page, "lengths")
    x, y, place = plot.evaluate(
        "plot => { const {xaxis, yaxis} = plot._fullLayout; const t = plot.data[1];"
        "const i = t.x.indexOf(Math.max(...t.x));"
        "return [xaxis._offset + xaxis.d2p(t.x[i]), yaxis._offset + yaxis.d2p(t.y[i]), t.customdata[i]]; }"
    )
    plot.hover(position={"x": x, "y": y})
    plot.click(position={"x": x, "y": y})
    assert f"low-{place - 40}" in page.locator("#detail-title").inner_text()


@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_hostile_texts_stay_inert_and_laid_out(visit: Any, report: Path, size: tuple[int, int], tmp_path: Path) -> None:
    page = visit(report, size)
    dialog = open_example(page, "high-0")
    assert dialog.locator(".turn .text").all_text_contents() == [EVIL, f"answer {EVIL}"]
    page.keyboard.press("ArrowRight")  # the filter holds one example: nothing to walk to
    page.keyboard.press("Escape")
    open_example(page, "high-1")
    assert dialog.locator(".turn .text").first.evaluate("each => getComputedStyle(each).direction") == "rtl"
    assert dialog.locator(".turn .text").nth(1).text_content() == HEBREW
    page.keyboard.press("Escape")
    open_example(page, "high-2")
    assert "… 92,000 more characters" in dialog.inner_text()
    for box in ("#detail", "#detail .turn .text", "html"):
        assert page.locator(box).first.evaluate("each => each.scrollWidth <= each.clientWidth"), box
    page.screenshot(path=tmp_path / "detail.png")
    page.keyboard.press("Escape")
    assert page.evaluate("window.hacked") is None
    assert page.locator("img").count() == 0
    assert page.locator("html").evaluate("each => each.scrollWidth") == size[0]


def test_names_with_markup_are_shown_as_they_are_also_in_plots(visit: Any, tmp_path: Path) -> None:
    names = ("<b>bold</b>", '<a href="https://example.org/">%{y} & $x$</a>')
    page = visit(write_report([made_comparison(names, 12, 4)], tmp_path / "report.html").path)
    drawn(page, "curves")
    assert page.locator("h1 bdi").first.inner_text() == names[0]
    titles = page.locator("#curves .annotation-text").all_text_contents()
    assert titles == [names[0], names[1][:35] + "…"]
    drawn(page, "lengths").hover()
    assert page.locator(".plot a").count() == 0


@pytest.mark.parametrize("size", [WIDE, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_laid_out_at_both_widths_in_both_themes(
    visit: Any, report: Path, size: tuple[int, int], scheme: str, tmp_path: Path
) -> None:
    page = visit(report, size, scheme)
    assert page.locator("html").get_attribute("data-theme") == scheme
    assert page.locator("html").evaluate("each => each.scrollWidth") == size[0]
    for section in ("curves", "effects", "lengths", "correlations"):
        drawn(page, section)
        wide = page.locator(f"#{section} .main-svg").first.evaluate("each => each.getBoundingClientRect().width")
        assert 280 < wide <= size[0]
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert (tmp_path / "page.png").stat().st_size > 50_000


def test_the_theme_is_switched_and_plots_follow(visit: Any, report: Path) -> None:
    page = visit(report)
    drawn(page, "curves")
    ink = "document.querySelector('#curves .plot').layout.font.color"
    before = page.evaluate(ink)
    page.get_by_role("button", name="Switch to dark colours").click()
    page.wait_for_function(f"{ink} !== '{before}'")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.get_by_role("button", name="Switch to light colours").is_visible()


def test_correlations_at_equal_length(visit: Any, report: Path, comparison: Comparison) -> None:
    page = visit(report)
    drawn(page, "correlations")
    first = comparison.correlations.row(0, named=True)
    value = "document.querySelector('#correlations .plot').data[0].z[0][1]"
    assert page.evaluate(value) == pytest.approx(first["spearman"], abs=1e-3)
    page.get_by_role("combobox", name="Correlation").select_option("partial")
    page.wait_for_function(f"Math.abs({value} - {first['partial']}) < 1e-3")


def test_one_group_shows_what_there_is(visit: Any, tmp_path: Path) -> None:
    alone = made_comparison(("all",), 12, 4)
    alone = replace(alone, effects=alone.effects.clear(), rd=alone.rd.clear(), contrasts=(), findings=())
    page = visit(write_report([alone], tmp_path / "report.html").path)
    assert page.locator("#nav a").all_inner_texts() == ["Curves", "Length", "Correlations", "Examples"]
    drawn(page, "curves")
    page.locator("#examples tbody tr").first.click()
    assert "is not a run" in page.locator("#detail .turns .notice").inner_text()
    assert "is not a run" in page.locator("#detail .notice").nth(1).inner_text()


def test_models_are_switched(visit: Any, comparison: Comparison, tmp_path: Path) -> None:
    other = made_comparison(("high", "low"), 9, 3, model="tiny-2b")
    page = visit(write_report([comparison, other], tmp_path / "report.html").path)
    assert page.locator("h1").inner_text() == "high and low on tiny-1b"
    page.get_by_label("Model").select_option("tiny-2b")
    assert page.locator("h1").inner_text() == "high and low on tiny-2b"
    assert page.locator("#count").inner_text() == "18 examples"
    drawn(page, "effects")
    assert page.evaluate("document.querySelector('#effects .plot').data[0].x") == [0, 1, 2]


def test_it_prints_with_every_plot(visit: Any, report: Path, tmp_path: Path) -> None:
    page = visit(report)
    assert len(page.pdf()) > 50_000


def test_two_thousand_examples_fit_and_answer(visit: Any, tmp_path: Path) -> None:
    facts = write_report([made_report(tmp_path, n=1000, layers=30, rank=200)], tmp_path / "report.html")
    assert facts.n_shown == 2000
    assert facts.bytes <= 12_000_000
    assert visit(facts.path).evaluate("window.__gradprismReady") > 0  # how soon: `python -m benchmarks.opening`
