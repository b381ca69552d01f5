"""The report in a real Chromium: what a reader sees and does, with the mouse and without one."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.made_comparisons import made_comparison
from tests.made_reports import FOUND_AGAIN, alone, made_report, with_effects
from tests.report.browsing import PHONE, WIDE, drawn, open_example, until

from gradprism import open_run
from gradprism.comparison import findings
from gradprism.comparison.comparison import Comparison
from gradprism.figures.colours import projection_look
from gradprism.report import write_report

EVIL = '</script><img src=x onerror="window.hacked = true">'
ARABIC = "ما هو الضوء؟ " * 20
HEBREW = "\u202eשלום עולם"  # begins with an override of direction that nothing ends
LONG = "x" * 100_000
TEXTS = {
    "high": [(EVIL, f"answer {EVIL}"), (ARABIC, HEBREW), (LONG, "word " * 20_000)],
    "low": [("Find the needle in this prompt.", "Here.")],
}
pytestmark = pytest.mark.slow  # a page of 5 MB is loaded anew for each test, one to two seconds each


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return made_report(tmp_path_factory.mktemp("runs"), n=40, layers=6, texts=TEXTS)


@pytest.fixture(scope="module")
def report(comparison: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(comparison, out=tmp_path_factory.mktemp("report") / "report.html").path


def lines(page: Any) -> list[str]:
    """Names of the lines that the curves show."""
    return page.evaluate("[...document.querySelector('#curves .plot').data].filter(t => t.name).map(t => t.name)")


def first_column(page: Any) -> list[str]:
    return page.locator("#examples tbody th bdi").all_inner_texts()


def test_every_section_is_there_and_every_plot_is_drawn(visit: Any, report: Path) -> None:
    page = visit(report)
    assert page.locator("#nav a").all_inner_texts() == [
        "Verdict", "Curves", "Effects", "Distributions", "Length", "Correlations", "Examples",
    ]  # fmt: skip
    until(page, "[...document.querySelectorAll('.plot')].every(plot => plot.querySelector('.main-svg'))")
    assert page.locator(".plot").count() == 8
    assert page.locator("#verdict .findings .tag").all_text_contents() == ["mostly length", "not just length"]
    assert "made up" in page.locator("#top .notice").text_content()
    assert page.locator("#top table tbody tr").count() == 2 + 4  # groups; reasons of skipped and failed rows


def test_projections_are_toggled(visit: Any, report: Path) -> None:
    page = visit(report)
    drawn(page, "curves")
    assert lines(page) == ["q", "k", "v", "o"] * 2
    page.get_by_role("button", name="k", exact=True).click()
    until(page, "document.querySelector('#curves .plot').data.filter(t => t.name === 'k').length === 0")
    button = page.get_by_role("button", name="k", exact=True)
    assert button.get_attribute("aria-pressed") == "false"
    button.press("Enter")
    until(page, "document.querySelector('#curves .plot').data.some(t => t.name === 'k')")
    assert page.evaluate("document.activeElement.dataset.projection") == "k"


def test_groups_are_overlaid_and_the_measure_changes(visit: Any, report: Path) -> None:
    page = visit(report)
    drawn(page, "curves")
    page.get_by_label("Panels").select_option("projections")
    until(page, "document.querySelector('#curves .plot').data.filter(t => t.name === 'low').length === 4")
    page.locator("#curves").get_by_label("Measure").select_option("same_layer_cosine")
    until(page, "document.querySelector('#curves .plot').data.filter(t => t.name === 'low').length === 2")
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
    until(page, "document.querySelector('#layer-title').textContent.startsWith('Layer 5')")
    row = comparison.effects.filter(measure="effective_rank", projection="k", layer=5).row(0, named=True)
    shown = page.locator("#layer-box tbody tr").nth(1).inner_text()
    assert f"{row['auc']:.2f}" in shown
    until(page, "document.querySelector('#curves .plot').layout.shapes[0].x0 === 5")
    dialog = open_example(page, "high-7")
    dialog.get_by_role("combobox", name="Singular values of").select_option("layer")
    assert dialog.get_by_label("Singular values of layer", exact=True).input_value() == "5"


def test_the_layer_is_chosen_with_the_keyboard(visit: Any, report: Path) -> None:
    page = visit(report)
    slider = page.get_by_label("Layer, slider")
    slider.focus()
    before = int(slider.input_value())
    slider.press("ArrowRight")
    until(page, f"document.querySelector('#layer-title').textContent.startsWith('Layer {before + 1}')")
    number = page.locator("#effects input[type=number]")
    number.fill("0")
    number.press("Enter")
    until(page, "document.querySelector('#layer-title').textContent.startsWith('Layer 0')")
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
    until(page, "document.querySelectorAll('#detail .plot .main-svg').length > 0")
    page.keyboard.press("Escape")
    assert not page.locator("#detail").is_visible()
    assert page.evaluate("document.activeElement.dataset.place") == "4"


def example_lines(page: Any) -> Any:
    """What the plots of the open example draw of it: a list for each plot."""
    return page.evaluate(
        "[...document.querySelectorAll('#detail .plot')].map("
        "p => p.data.filter(t => t.name === 'this').map(t => ({x: t.x, y: t.y})))"
    )


def test_the_curves_and_singular_values_of_an_example_are_those_of_its_run(
    visit: Any, report: Path, comparison: Comparison
) -> None:
    page = visit(report)
    dialog = open_example(page, "low-17")
    both = "document.querySelectorAll('#detail .plot.js-plotly-plot').length === 2"
    until(page, both)
    found = example_lines(page)
    spectra = open_run(comparison.groups[1].run).scan("spectra").filter(row=17, projection="v").sort("layer").collect()
    assert found[0][2]["y"] == pytest.approx(spectra["nuclear_norm"].to_list(), rel=2e-3)
    shares = np.array([np.array(values) / values[0] for values in spectra["singular_values"]])
    pooled = {index: value for index, value in zip(*found[1][2].values(), strict=True) if value is not None}
    assert len(pooled) > 5
    assert max(pooled) <= shares.shape[1]
    assert pooled == pytest.approx({index: np.median(shares[:, index - 1]) for index in pooled}, rel=0.06)
    assert "the median over its layers at each index" in dialog.inner_text()
    assert not dialog.locator("input[type=number]").is_visible()

    dialog.get_by_role("combobox", name="Singular values of").select_option("layer")
    until(page, "document.querySelector('#detail').textContent.includes('alone')")
    until(page, both)
    layer = int(dialog.locator("input[type=number]").input_value())
    alone = {
        index: value for index, value in zip(*example_lines(page)[1][2].values(), strict=True) if value is not None
    }
    assert alone == pytest.approx({index: shares[layer, index - 1] for index in alone}, rel=0.06)
    assert f"layer {layer} alone" in dialog.inner_text()
    assert "over all layers, not of this one, of at most 200 of its rows" in dialog.inner_text()


def test_a_band_of_singular_values_goes_down_to_where_its_quartile_is_zero(visit: Any, tmp_path: Path) -> None:
    comparison = made_report(tmp_path, n=4)
    index = pl.col("index")
    decay = comparison.decay.with_columns(
        pl.when(index > 50).then(0.0).otherwise(pl.col("median")).alias("median"),
        pl.when(index > 10).then(0.0).otherwise(pl.col("q25")).alias("q25"),
    )
    page = visit(write_report(replace(comparison, decay=decay), out=tmp_path / "report.html").path)
    open_example(page, "high-1")
    until(page, "document.querySelectorAll('#detail .plot.js-plotly-plot').length === 2")
    spectra = "document.querySelectorAll('#detail .plot')[1].data"
    line = page.evaluate(f"{spectra}.find(t => t.name === 'median').y")
    assert [value is None for value in line] == [index > 50 for index in range(1, 60)]
    edge = page.evaluate(f"{spectra}[0].y")
    assert min(edge) == pytest.approx(1e-7)
    assert edge.count(min(edge)) == 49


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


@pytest.mark.parametrize("size", [pytest.param(WIDE, marks=pytest.mark.exhaustive), PHONE])
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
    page = visit(write_report(made_comparison(names, 12, 4), out=tmp_path / "report.html").path)
    drawn(page, "curves")
    assert page.locator("h1 bdi").first.inner_text() == names[0]
    titles = page.locator("#curves .annotation-text").all_text_contents()
    assert titles == [names[0], names[1][:35] + "…"]
    drawn(page, "lengths").hover()
    assert page.locator(".plot a").count() == 0


OUTSIDE = """
[...document.querySelectorAll("main *")].filter((each) => {
  const { left, right, width } = each.getBoundingClientRect();
  const inside = left >= -0.5 && right <= document.documentElement.clientWidth + 0.5;
  return width > 1 && each.checkVisibility() && !inside && !each.closest(".table-box table, svg, .unseen");
}).map((each) => each.outerHTML.slice(0, 100))
"""


def brightness(colour: str) -> int:
    return sum(map(int, re.findall(r"\d+", colour)[:3]))


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
    page.screenshot(path=tmp_path / "page.png", full_page=True)  # to look at
    assert page.evaluate(OUTSIDE) == []
    ground, ink = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color"))
    assert (brightness(ground) > brightness(ink)) == (scheme == "light")


def test_the_theme_is_switched_and_plots_follow(visit: Any, report: Path) -> None:
    page = visit(report)
    drawn(page, "curves")
    ink = "document.querySelector('#curves .plot').layout.font.color"
    before = page.evaluate(ink)
    page.get_by_role("button", name="Switch to dark colours").click()
    until(page, f"{ink} !== '{before}'")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert page.get_by_role("button", name="Switch to light colours").is_visible()


def test_length_controlled_correlations(visit: Any, report: Path, comparison: Comparison) -> None:
    page = visit(report)
    drawn(page, "correlations")
    first = comparison.correlations.row(0, named=True)
    value = "document.querySelector('#correlations .plot').data[0].z[0][1]"
    assert page.evaluate(value) == pytest.approx(first["spearman"], abs=1e-3)
    page.get_by_role("combobox", name="Correlation").select_option("partial")
    until(page, f"Math.abs({value} - {first['partial']}) < 1e-3")


def test_one_group_shows_what_there_is(visit: Any, tmp_path: Path) -> None:
    page = visit(write_report(alone(made_comparison(("all",), 12, 4)), out=tmp_path / "report.html").path)
    assert page.locator("#nav a").all_inner_texts() == ["Curves", "Distributions", "Length", "Correlations", "Examples"]
    drawn(page, "curves")
    page.locator("#examples tbody tr").first.click()
    assert "is not a run" in page.locator("#detail .turns .notice").inner_text()
    assert "is not a run" in page.locator("#detail .notice").nth(1).inner_text()


def test_models_are_switched(visit: Any, comparison: Comparison, tmp_path: Path) -> None:
    other = made_comparison(("high", "low"), 9, 3, model="tiny-2b")
    page = visit(write_report(comparison, other, out=tmp_path / "report.html").path)
    assert page.locator("h1").inner_text() == "high and low on tiny-1b"
    page.get_by_label("Model").select_option("tiny-2b")
    assert page.locator("h1").inner_text() == "high and low on tiny-2b"
    assert page.locator("#count").inner_text() == "18 examples"
    drawn(page, "effects")
    assert page.evaluate("document.querySelector('#effects .plot').data[0].x") == [0, 1, 2]


def test_it_prints_with_every_plot_even_before_they_were_needed(visit: Any, report: Path) -> None:
    page = visit(report, before="window.requestIdleCallback = () => 0;")
    drawn_plots = "[...document.querySelectorAll('.plot')].filter(each => each.querySelector('.main-svg')).length"
    assert page.evaluate(drawn_plots) < 8
    early = page.pdf()
    assert page.evaluate(drawn_plots) == 8
    assert len(early) == pytest.approx(len(page.pdf()), rel=0.02)
    page.emulate_media(media="print")
    shown = "[...document.querySelectorAll('.plot .main-svg')].every(each => each.getBoundingClientRect().height > 100)"
    assert page.evaluate(shown)


AT_READY = """
Object.defineProperty(window, "__gradprismReady", {
  get: () => window.readyAt,
  set: (value) => {
    window.readyAt = value;
    window.atReady = {
      plots: document.querySelectorAll("#top .plot .main-svg").length,
      rows: document.querySelectorAll("#examples tbody tr[data-place]").length,
      findings: document.querySelectorAll("#verdict .findings li").length,
    };
  },
});
"""


@pytest.mark.exhaustive  # 20 s
def test_two_thousand_examples_fit_and_answer(visit: Any, tmp_path: Path) -> None:
    facts = write_report(made_report(tmp_path, n=1000, layers=30, rank=200), out=tmp_path / "report.html")
    assert facts.n_shown == 2000
    assert facts.bytes <= 12_000_000
    page = visit(facts.path, before=AT_READY)  # how soon: `python -m benchmarks.opening`
    assert page.evaluate("window.atReady.plots") > 0
    assert page.evaluate("[window.atReady.rows, window.atReady.findings]") == [25, 2]


def test_controls_without_common_support_are_pale_and_said_to(visit: Any, tmp_path: Path) -> None:
    far = FOUND_AGAIN | {"weighted_n_first": 4.2, "weighted_n_second": 7.0, "matched_pairs": 9}
    comparison = with_effects(made_comparison(n=40, layers=4), **far)
    page = visit(write_report(comparison, out=tmp_path / "report.html").path)
    dots = (
        "document.querySelector('#effects .plot').data.filter(t => t.marker?.symbol === 'circle').map(t => t.x.length)"
    )
    drawn(page, "effects")
    assert page.evaluate(dots) == [4 * 5, 0]  # a dot is a significant cell
    pale = "document.querySelector('#effects .plot').data.filter(t => t.type === 'heatmap').map(t => t.opacity ?? 1)"
    assert page.evaluate(pale) == [1, 0.35]
    titles = page.locator("#effects .annotation-text").all_text_contents()
    assert titles == ["Raw", "Length-controlled (overlap weights) (no common support: 4 and 7 effective rows)"]
    said = "high and low have no common support in length: 4 and 7 effective rows."
    assert [said in text for text in page.locator("#effects .notice").all_inner_texts()] == [True, True]
    assert page.locator("#layer-box .doubtful:visible").count() == 5
    page.locator("#layer-box summary").click()
    assert page.locator("#layer-box .doubtful:visible").count() == 3 * 5
    page.get_by_label("Show").select_option("raw")
    assert page.locator("#effects .notice").count() == 1


def test_controls_that_are_evidence_have_a_dot_on_a_scale_of_ratios(visit: Any, tmp_path: Path) -> None:
    comparison = with_effects(made_comparison(n=40, layers=4), matched_pairs=10, **FOUND_AGAIN)
    page = visit(write_report(comparison, out=tmp_path / "report.html").path)
    drawn(page, "effects")
    dots = (
        "document.querySelector('#effects .plot').data.filter(t => t.marker?.symbol === 'circle').map(t => t.x.length)"
    )
    assert page.evaluate(dots)[1] == 4 * 5
    assert page.locator("#effects .notice").count() == 0
    assert page.locator("#layer-box .doubtful").count() == 0
    maps = "document.querySelector('#effects .plot').data.filter(t => t.type === 'heatmap')"
    for least, middle, most in page.evaluate(f"{maps}.map(t => [t.zmin, t.zmid, t.zmax])"):
        assert (-least, middle, most) == pytest.approx((np.log(1.25), 0, np.log(1.25)))  # holds e^0.1, the raw ratio
    assert page.evaluate(f"{maps}.map(t => t.colorbar.ticktext[4])") == ["1.25", "1.25"]
    assert "1.09 [1.03, 1.16]" in page.evaluate(f"{maps}[0].text[0][0]")  # e^0.09, in the hover


def test_a_comparison_of_an_earlier_version_says_that_it_has_no_length_controlled_ratios(
    visit: Any, report: Path
) -> None:
    page = visit(report)
    drawn(page, "effects")
    assert "of an earlier version" in page.locator("#effects .notice").first.inner_text()
    assert "of an earlier version" in page.locator("#top figcaption").first.inner_text()
    assert (
        page.locator("#top .headlines p").first.inner_text() == "mostly length effective_rank of high and low: length."
    )


FURTHER = (9.9951, 1234.5, 0.0432149, 2_345_678.0)


@pytest.mark.parametrize(
    "first", [43.9496, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in (0.99951, 0.000543219, *FURTHER))]
)
def test_figures_of_sentences_are_those_of_the_table(visit: Any, tmp_path: Path, first: float) -> None:
    comparison = with_effects(made_comparison(n=9, layers=2), mean_first=first, mean_second=first * 0.77, auc=0.9951)
    said = findings.findings(comparison.effects, ["effective_rank"])
    page = visit(write_report(replace(comparison, findings=tuple(said)), out=tmp_path / "report.html").path)
    page.get_by_text("Means of the groups").click()
    sentence = re.search(r"\(means (\S+) and (\S+), AUC (\S+)\)", page.locator(".findings p").text_content())
    assert sentence is not None
    cells = page.locator("table.paper").first.locator("tbody tr", has_text="mean").locator("td").all_inner_texts()
    metric = page.get_by_role("row", name="Response tokens").locator("td").nth(3).inner_text()
    assert [as_number(each) for each in sentence.groups()] == [as_number(each) for each in (*cells[2:4], metric)]
    assert metric == "1.00"


def as_number(text: str) -> float:
    return float(text.replace(",", "").replace("\u2212", "-"))


def test_a_layer_without_a_value_is_a_gap_in_line_and_band(visit: Any, tmp_path: Path) -> None:
    comparison = made_comparison(n=9, layers=7)
    names = ("mean", "mean_low", "mean_high")
    gone = pl.col("layer").is_in([2, 5])
    levels = comparison.levels.with_columns(pl.when(~gone).then(pl.col(name)).alias(name) for name in names)
    page = visit(write_report(replace(comparison, levels=levels), out=tmp_path / "report.html").path)
    drawn(page, "curves")
    band, line = page.evaluate("document.querySelector('#curves .plot').data.slice(0, 2).map(t => ({x: t.x, y: t.y}))")
    assert line["x"] == [0, 1, 2, 3, 4, 5, 6]
    assert [value is None for value in line["y"]] == [False, False, True, False, False, True, False]
    assert band["x"] == [0, 1, 1, 0, None, 3, 4, 4, 3]
    assert [value is None for value in band["y"]] == [x is None for x in band["x"]]
    sizes = "document.querySelector('#curves .plot').data[1].marker.size"
    assert page.evaluate(sizes) == [0, 0, 0, 0, 0, 0, 6]  # layer 6 stands alone


def test_lines_are_dashed_as_in_figures_and_colour_means_one_thing(visit: Any, report: Path) -> None:
    page = visit(report)
    drawn(page, "curves")
    dashes = page.evaluate(
        "Object.fromEntries(document.querySelector('#curves .plot').data.map(t => [t.name, t.line.dash]))"
    )
    assert dashes["q"] == "solid"
    for name in ("k", "v", "o"):
        assert dashes[name] == ",".join(f"{2 * length:g}px" for length in projection_look(name).dash)
    assert page.locator("#curves .toggle svg").count() == 5
    page.get_by_label("Panels").select_option("projections")
    assert page.locator("#curves .toggle svg").count() == 0
    assert page.locator("#curves .legend svg").count() == 2
    until(page, "document.querySelector('#curves .plot').data.filter(t => t.name === 'low').length === 4")


def test_logarithmic_axes_say_so_and_have_few_labels(visit: Any, report: Path) -> None:
    page = visit(report)
    drawn(page, "curves")
    page.get_by_label("Logarithmic").check()
    until(page, "document.querySelector('#curves .plot').layout.yaxis.type === 'log'")
    drawn(page, "lengths")
    for axis in ("#curves .plot').layout.yaxis", "#lengths .plot').layout.xaxis", "#lengths .plot').layout.yaxis"):
        found = page.evaluate(f"document.querySelector('{axis}")
        assert found["title"]["text"].endswith(" (log scale)")
        assert 2 <= len(found["ticktext"]) <= 8
        assert len(found["ticktext"]) == len({*found["ticktext"]})


def test_missing_correlations_are_grey_and_the_caption_says_what_is_pooled(visit: Any, tmp_path: Path) -> None:
    comparison = made_comparison(n=9, layers=2)
    place = pl.int_range(pl.len())
    changed = comparison.correlations.with_columns(
        pl.when(place > 0).then(pl.col("spearman")).alias("spearman"),
        pl.when(place > 1).then(pl.col("n")).otherwise(17).alias("n"),
    )
    page = visit(write_report(replace(comparison, correlations=changed), out=tmp_path / "report.html").path)
    drawn(page, "correlations")
    n = len({*changed["x"], *changed["y"]})
    grey = page.evaluate("document.querySelector('#correlations .plot').data[1].z.map(r => r.map(v => v !== null))")
    assert grey == [[i == j or {i, j} == {0, 1} for j in range(n)] for i in range(n)]
    caption = page.locator("#correlations figcaption").inner_text()
    assert "n = 17 to 80." in caption
    assert "pooled" in caption
    assert "Grey: the diagonal, and pairs without a value" in caption


def test_a_cut_example_says_how_far_its_loss_reaches(visit: Any, tmp_path: Path) -> None:
    comparison = made_report(tmp_path, n=4)
    cut = pl.col("example_id") == "high-1"
    examples = comparison.examples.with_columns(
        cut.alias("truncated"), pl.when(cut).then(7).otherwise(pl.col("n_response_tokens")).alias("n_response_tokens")
    )
    page = visit(write_report(replace(comparison, examples=examples), out=tmp_path / "report.html").path)
    dialog = open_example(page, "high-1")
    heading = dialog.locator(".turn.response h3").inner_text()
    assert heading == "Response – cut at the greatest length: the loss is of the first 7 response tokens"


def test_each_name_keeps_its_own_direction_and_option_texts_hold_no_marks(visit: Any, tmp_path: Path) -> None:
    names = ("\u202eשלום", "عال")
    comparison = made_comparison(names, 9, 3)
    said = findings.findings(comparison.effects, ["effective_rank"])
    noted = replace(comparison, findings=tuple(said), notes=(f"{names[0]} and {names[1]} hardly overlap.",))
    page = visit(write_report(noted, out=tmp_path / "report.html").path)
    for box in ("#curves figcaption", ".findings p", "#top .notice li", "#effects figcaption", "#layer-title"):
        inside = page.locator(box).first.locator("bdi").all_text_contents()
        assert [name for name in inside if name in names][:2] == [*names], box
        assert "\u202e" not in page.locator(box).first.evaluate(
            "each => { const copy = each.cloneNode(true);"
            "copy.querySelectorAll('bdi').forEach(name => name.remove()); return copy.textContent; }"
        )
    assert page.title().startswith("שלום · عال on")
    texts = page.evaluate("[...document.querySelectorAll('option')].map(o => o.textContent)")
    labels = page.evaluate("[...document.querySelectorAll('[aria-label]')].map(o => o.getAttribute('aria-label'))")
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", "".join([*texts, *labels]))


def test_the_tab_key_stops_at_boxes_that_scroll_and_at_one_row(visit: Any, report: Path) -> None:
    page = visit(report)
    stops = (
        "[...document.querySelectorAll('#examples tbody tr')].filter(r => r.tabIndex === 0).map(r => r.dataset.place)"
    )
    assert page.evaluate(stops) == ["0"]
    page.locator("#examples tbody tr").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(stops) == ["2"]
    page.keyboard.press("End")
    assert page.evaluate(stops) == ["24"]
    wrong = (
        "[...document.querySelectorAll('[data-scrolls]')].filter(b => b.checkVisibility() &&"
        "(b.tabIndex === 0) !== (b.scrollWidth > b.clientWidth + 1 || b.scrollHeight > b.clientHeight + 1)).length"
    )
    assert page.evaluate(wrong) == 0
    assert page.evaluate("document.querySelectorAll('.table-box[tabindex]').length") == 0
    page.set_viewport_size({"width": 390, "height": 800})
    until(page, "document.querySelectorAll('.table-box[tabindex]').length > 2")
    assert page.evaluate(wrong) == 0
    assert page.locator(".table-box[tabindex]").first.get_attribute("role") == "region"


def test_tags_are_explained_and_columns_say_over_what_they_are_means(visit: Any, report: Path) -> None:
    page = visit(report)
    page.get_by_text("What the tags mean").click()
    legend = page.locator("#verdict .tags dl")
    assert legend.locator("dt").count() == 11
    assert "a raw difference, and overlap weights find it again" in legend.inner_text()
    head = page.locator("#examples th", has_text="Nuclear norm")
    assert "mean over layers and projections" in head.inner_text()
    assert (
        "mean over layers and projections"
        in open_example(page, "high-7").locator("dt", has_text="Effective rank").inner_text()
    )


def test_measures_and_projections_are_a_click_away(visit: Any, report: Path) -> None:
    page = visit(report)
    table = page.locator("#verdict table.ratio-table")
    names = table.locator("tbody th:visible")
    folded = ["Further measures of the same singular values: Frobenius norm, spectral norm, stable rank"]
    metrics = ["Metrics: IFD, response tokens, loss"]
    main = ["Nuclear norm", "Effective rank"]
    assert names.all_inner_texts() == ["high against low", *main, *folded, *metrics]
    table.get_by_role("button", name="Nuclear norm").click()
    projections = ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert names.all_inner_texts() == ["high against low", main[0], *projections, main[1], *folded, *metrics]
    table.get_by_role("button", name="Further measures").press("Enter")
    assert names.all_inner_texts()[-4:-1] == ["Frobenius norm", "Spectral norm", "Stable rank"]
    page.get_by_text("Means of the groups").click()
    assert page.locator("#verdict table.paper .over").all_inner_texts() == [
        "Nuclear norm", "Effective rank", "Frobenius norm", "Spectral norm", "Stable rank",
    ]  # fmt: skip
    assert page.locator("#verdict .table-box[tabindex]").count() == 0  # nothing is cut off at its right
