"""Charts of the report in a real Chromium: hidden groups, distributions, fit lines, downloads, and views by address."""

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import polars as pl
import pytest
from tests.made_comparisons import made_comparison
from tests.made_reports import made_report
from tests.report.browsing import PHONE, drawn, until

from gradprism.comparison.comparison import Comparison
from gradprism.files.csv_tables import csv_bytes
from gradprism.report import write_report

pytestmark = pytest.mark.slow  # a page of 5 MB is loaded anew for each test, one to two seconds each
GROUPS = ("high", "low", "far")
FAR = 8  # times the other groups


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    made = made_comparison(GROUPS, 20, 5)
    far = (pl.col("group") == "far") & (pl.col("measure") == "nuclear_norm")
    means = [
        pl.when(far).then(FAR * pl.col(name)).otherwise(name).alias(name) for name in ("mean", "mean_low", "mean_high")
    ]
    return replace(made, levels=made.levels.with_columns(means))


@pytest.fixture(scope="module")
def report(comparison: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(comparison, out=tmp_path_factory.mktemp("report") / "report.html").path


def names(page: Any, section: str, place: int = 0) -> set[str]:
    """Names of what a chart of a section draws, fit lines aside."""
    data = f"[...document.querySelectorAll('#{section} .plot')][{place}].data"
    return {name for name in page.evaluate(f"{data}.map(t => t.name)") if name and not name.startswith("fit")}


def hide(page: Any, section: str, group: str) -> None:
    page.locator(f"#{section} .group-toggle", has_text=group).click()


def test_one_click_hides_a_group_in_every_chart_and_shows_it_again(visit: Any, report: Path) -> None:
    page = visit(report, view="#panels=projections")
    for section in ("curves", "distributions", "lengths"):
        drawn(page, section)
    until(page, "document.querySelectorAll('#lengths .js-plotly-plot').length === 2")
    hide(page, "lengths", "far")
    shown = {"high", "low"}
    until(page, "!document.querySelector('#curves .plot').data.some(t => t.name === 'far')")
    assert [names(page, *where) for where in (("curves",), ("distributions",), ("lengths",), ("lengths", 1))] == [
        shown
    ] * 4
    assert page.locator(".group-toggle[aria-pressed=false] bdi").all_inner_texts() == ["far"] * 4
    assert "far" not in page.locator("#curves figcaption").first.inner_text().split("Logarithmic")[0]
    hide(page, "curves", "far")
    until(page, "document.querySelector('#curves .plot').data.some(t => t.name === 'far')")
    assert names(page, "distributions") == {*GROUPS}


def test_a_heatmap_of_a_hidden_group_is_not_drawn_and_says_how_to_have_it_again(visit: Any, report: Path) -> None:
    page = visit(report)
    drawn(page, "effects")
    hide(page, "curves", "low")
    assert "low is hidden." in page.locator("#effects .notice").first.inner_text()
    assert not page.locator("#effects figure").is_visible()
    page.get_by_role("button", name="Show again").click()
    assert page.locator("#effects figure").is_visible()
    drawn(page, "effects")


def test_hiding_the_last_group_shows_all(visit: Any, report: Path) -> None:
    page = visit(report)
    for group in GROUPS:
        hide(page, "curves", group)
    assert page.locator("#curves .group-toggle[aria-pressed=true]").count() == 3


def test_axes_are_logarithmic_where_a_group_flattens_others_until_they_are_chosen(visit: Any, report: Path) -> None:
    page = visit(report)
    drawn(page, "curves")
    kind = "document.querySelector('#curves .plot').layout.yaxis.type"
    assert page.evaluate(kind) == "linear"
    page.locator("#curves").get_by_label("Measure").select_option("nuclear_norm")
    until(page, f"{kind} === 'log'")
    assert re.search(r"far reaches [\d.]+ times as high as low", page.locator("#curves figcaption").inner_text())
    page.get_by_label("Logarithmic").uncheck()
    until(page, f"{kind} === 'linear'")


def test_points_of_a_distribution_are_the_examples_and_boxes_their_quantiles(
    visit: Any, report: Path, comparison: Comparison
) -> None:
    page = visit(report)
    plot = drawn(page, "distributions")
    own = comparison.examples.filter(group="low")["nuclear_norm:mean"].to_numpy()
    box, points = page.evaluate("document.querySelector('#distributions .plot').data.slice(2, 4).map(t => ({...t}))")
    assert points["x"] == pytest.approx(np.sort(own), rel=1e-3)
    found = [box[name][0] for name in ("lowerfence", "q1", "median", "q3", "upperfence")]
    assert found == pytest.approx(np.quantile(own, [0.05, 0.25, 0.5, 0.75, 0.95]), rel=2e-3)
    assert page.evaluate("document.querySelector('#distributions .plot').layout.xaxis.type") == "log"
    at = plot.evaluate(
        "plot => { const {xaxis, yaxis} = plot._fullLayout; const t = plot.data[3];"
        "return [xaxis._offset + xaxis.d2p(t.x[19]), yaxis._offset + yaxis.d2p(t.y[19])]; }"
    )
    plot.hover(position={"x": at[0], "y": at[1]})
    plot.click(position={"x": at[0], "y": at[1]})
    assert f"low-{int(own.argmax())}" in page.locator("#detail-title").inner_text()


def test_a_distribution_may_be_cumulative_and_differences_have_no_logarithm(visit: Any, report: Path) -> None:
    page = visit(report)
    section = page.locator("#distributions")
    drawn(page, "distributions")
    section.get_by_label("Drawn as").select_option("ecdf")
    until(page, "document.querySelector('#distributions .plot').data.length === 3")
    line = page.evaluate("(t => ({x: t.x, y: t.y}))(document.querySelector('#distributions .plot').data[0])")
    assert line["x"] == sorted(line["x"])
    assert line["y"] == pytest.approx(np.arange(1, 21) / 20)
    section.get_by_label("Measure").select_option("adjacent_cosine:q")
    until(page, "document.querySelector('#distributions .plot').layout.xaxis.type !== 'log'")
    assert section.get_by_label("Log scale").is_disabled()
    section.get_by_label("Measure").select_option("ifd")
    assert not section.get_by_label("Log scale").is_checked()  # its groups are not compared by ratios


def test_the_fit_line_says_slope_and_r2_of_the_shown_groups(visit: Any, report: Path, comparison: Comparison) -> None:
    page = visit(report)
    drawn(page, "lengths")

    def expected(examples: pl.DataFrame) -> str:
        x, y = (np.log10(examples[name].to_numpy()) for name in ("n_response_tokens", "effective_rank:mean"))
        return f"slope {np.polyfit(x, y, 1)[0]:.2f}, R² {np.corrcoef(x, y)[0, 1] ** 2:.2f}"

    caption = page.locator("#lengths figcaption").first
    assert f"(n = 60): {expected(comparison.examples)}." in caption.inner_text()
    assert page.locator("#lengths .annotation-text").all_text_contents() == [expected(comparison.examples)]
    hide(page, "lengths", "low")
    assert f"(n = 40): {expected(comparison.examples.filter(pl.col('group') != 'low'))}." in caption.inner_text()
    page.get_by_role("combobox", name="Fit line").select_option("groups")
    assert f"far {expected(comparison.examples.filter(group='far'))}" in caption.inner_text()
    until(page, "document.querySelector('#lengths .plot').data.filter(t => t.mode === 'lines').length === 2")


def saved(page: Any, button: Any) -> tuple[str, str]:
    """The name and the content of what a button downloads."""
    with page.expect_download() as download:
        button.click()
    return download.value.suggested_filename, Path(download.value.path()).read_text(encoding="utf-8")


def test_every_chart_is_saved_as_svg_and_csv(visit: Any, report: Path, comparison: Comparison) -> None:
    page = visit(report)
    until(page, "[...document.querySelectorAll('.plot')].every(plot => plot.querySelector('.main-svg'))")
    for figure in page.locator("main figure").all():
        name, svg = saved(page, figure.get_by_role("button", name="Download this chart as SVG"))
        assert name.startswith("high-low-far-tiny-1b-")
        root = ElementTree.fromstring(svg)
        assert root.tag.endswith("}svg")
        assert root[0].text.startswith("tiny-1b: ")  # what the chart is, for those who do not see it
    texts = [text for text in ElementTree.fromstring(svg).itertext() if text in GROUPS]
    assert texts == []  # the last one, correlations, has no groups
    _, svg = saved(page, page.locator("#lengths").get_by_role("button", name="as SVG").first)
    assert [text for text in ElementTree.fromstring(svg).itertext() if text in GROUPS] == [*GROUPS]  # its legend
    _, text = saved(page, page.locator("#curves").get_by_role("button", name="as CSV"))
    rows = pl.read_csv(io.StringIO(text))
    levels = comparison.levels.filter(pl.col("layer").is_not_null(), pl.col("projection").is_in(["q", "k", "v", "o"]))
    wanted = levels.filter(measure="effective_rank")
    joined = rows.join(wanted, on=["group", "projection", "layer"], validate="1:1")
    assert rows.height == joined.height == wanted.height
    assert joined["mean"].to_numpy() == pytest.approx(joined["mean_right"].to_numpy(), rel=1e-6)


def test_p_is_named_apart_from_the_projection_q_in_what_is_saved(visit: Any, report: Path) -> None:
    page = visit(report)
    _, text = saved(page, page.locator("#effects").get_by_role("button", name="as CSV"))
    heads = text.splitlines()[0].split(",")
    assert {"p_adj", "matched_p_adj", "regression_p_adj", "partial_p_adj"} <= {*heads}
    assert not [head for head in heads if head == "q" or head.endswith("_q")]


def test_the_filtered_examples_are_saved_in_their_order(visit: Any, report: Path, comparison: Comparison) -> None:
    page = visit(report)
    page.locator("#examples").get_by_label("Group").select_option(label="low")
    page.get_by_label("Response tokens from").fill("60")
    page.locator("#examples th", has_text="Loss").get_by_role("button").click()
    page.locator("#examples th", has_text="Response tokens").get_by_role("button").click()
    name, text = saved(page, page.get_by_role("button", name="Download the filtered examples as CSV"))
    assert name == "high-low-far-tiny-1b-examples.csv"
    own = comparison.examples.filter(pl.col("n_response_tokens") >= 60, group="low")
    own = own.sort("n_response_tokens", descending=True, maintain_order=True)
    found = pl.read_csv(io.StringIO(text))
    assert found["example_id"].to_list() == own["example_id"].to_list()
    assert {*found.columns} == {*comparison.examples.columns}
    assert found["effective_rank:v"].to_numpy() == pytest.approx(own["effective_rank:v"].to_numpy(), rel=1e-3)


CELLS = ["plain", "=1+1", "+1", "-x", "@sum", "\tx", "\rx", "a,b", 'say "no"', "two\nlines", "", "-"]


def test_csv_is_guarded_as_that_of_the_package(visit: Any, report: Path, run_on_page: Callable[..., Any]) -> None:
    table = pl.DataFrame({"text": CELLS, "=name": CELLS, "number": [-1.5, None, *range(10)]})
    found = run_on_page("downloads", "csvText(given)", table.to_dicts())
    assert [*csv.reader(io.StringIO(found, newline=""))] == [
        [cell.removesuffix(".0") if at == 2 else cell for at, cell in enumerate(row)]
        for row in csv.reader(io.StringIO(csv_bytes(table).decode(), newline=""))
    ]


VIEW = (
    "#measure=nuclear_norm&contrast=2&layer=1&hide=high&without=&panels=projections&bands=0&effects=raw"
    "&distribution=loss&drawn=ecdf&length=ifd&fit=slope&correlation=partial&find=low&group=1&from=20&sort=tokens"
)  # fmt: skip


LEFT = "#measure=stable_rank&hide=high&without=mean&without=k&length=ifd&find=low-1&sort=loss&descending=1"


def test_what_is_chosen_is_in_the_address(visit: Any, report: Path) -> None:
    page = visit(report, scheme="dark")
    hide(page, "curves", "high")
    page.get_by_role("button", name="k", exact=True).click()
    page.locator("#curves").get_by_label("Measure").select_option("stable_rank")
    page.locator("#lengths").get_by_label("Measure").select_option("ifd")
    page.locator("#examples th", has_text="Loss").get_by_role("button").click()
    page.get_by_label("Find in id and text").fill("low-1")
    page.locator("#examples tbody tr").nth(2).click()
    until(page, f"location.hash === '{LEFT}&example=31'")
    page.keyboard.press("Escape")
    until(page, f"location.hash === '{LEFT}'")


def test_an_address_reopens_the_view_it_was_taken_of(visit: Any, report: Path) -> None:
    page = visit(report, view=f"{LEFT}&example=31")
    assert "low-11" in page.locator("#detail-title").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("#curves").get_by_label("Measure").input_value() == "stable_rank"
    assert page.locator("#curves .toggle[aria-pressed=false]").all_inner_texts() == ["k", "mean"]
    assert page.locator("#curves .group-toggle[aria-pressed=false]").all_inner_texts() == ["high"]
    assert page.locator("#lengths").get_by_label("Measure").input_value() == "ifd"
    assert page.get_by_label("Find in id and text").input_value() == "low-1"
    assert page.locator("#examples th[aria-sort=descending]").inner_text().startswith("Loss")


def test_every_choice_is_kept_in_the_address(visit: Any, report: Path) -> None:
    page = visit(report, view=VIEW)
    page.keyboard.press("Shift")  # any key: the page looks whether its view has changed
    page.wait_for_timeout(300)
    assert {*page.evaluate("location.hash.slice(1)").split("&")} == {*VIEW[1:].split("&")}
    page.evaluate("location.hash = ''")
    until(page, "document.querySelector('#count').textContent === '60 examples'")
    assert page.locator(".group-toggle[aria-pressed=false]").count() == 0


def test_an_address_of_nothing_on_the_page_opens_it_as_it_is(visit: Any, report: Path) -> None:
    evil = (
        "#measure=none&contrast=99&layer=999&model=9&example=9999&group=7&page=55&sort=__proto__&length=x&from=x&fit=y"
    )
    page = visit(
        report, view=evil + "&hide=high&hide=low&hide=far&distribution=%3Cimg%3E&panels=x&correlation=constructor"
    )
    assert page.locator("#count").inner_text() == "60 examples"
    assert not page.locator("#detail").is_visible()
    for section in ("curves", "distributions", "lengths", "correlations", "effects"):
        drawn(page, section)
    assert names(page, "lengths") == {*GROUPS}


def test_sections_are_reached_without_losing_the_view(visit: Any, report: Path) -> None:
    page = visit(report)
    hide(page, "curves", "low")
    page.locator("#nav").get_by_role("link", name="Length").click()
    until(page, "location.hash === '#hide=low'")
    until(page, "Math.abs(document.querySelector('#lengths').getBoundingClientRect().top) < 120")


def test_runs_of_two_models_are_told_apart(visit: Any, tmp_path: Path) -> None:
    def alone(group: str, model: str) -> Comparison:
        made = made_comparison((group,), 9, 3, model=model)
        return replace(made, effects=made.effects.clear(), rd=made.rd.clear(), contrasts=(), findings=())

    two = alone("run-a", "tiny-1b"), alone("run-b", "tiny-2b")
    page = visit(write_report(*two, out=tmp_path / "report.html").path)
    assert page.title() == "run-a on tiny-1b, run-b on tiny-2b – GradPrism"
    assert page.locator("h1").inner_text() == "run-a (run-a.jsonl) on tiny-1b"
    page.locator("#model").select_option("run-b on tiny-2b")
    assert page.locator("h1").inner_text() == "run-b (run-b.jsonl) on tiny-2b"
    name, _ = saved(page, page.locator("#curves").get_by_role("button", name="as CSV"))
    assert name == "run-b-on-tiny-2b-effective_rank-by-layer.csv"


def test_an_example_saves_its_curves_and_singular_values(visit: Any, tmp_path: Path) -> None:
    page = visit(write_report(made_report(tmp_path, n=4), out=tmp_path / "report.html").path, view="#example=1")
    until(page, "document.querySelectorAll('#detail .plot.js-plotly-plot').length === 2")
    buttons = page.locator("#detail").get_by_role("button", name="as CSV")
    name, text = saved(page, buttons.first)
    assert name.endswith("nuclear_norm-of-high-1.csv")
    assert text.splitlines()[0] == "projection,layer,nuclear_norm,group_median,group_q25,group_q75"
    assert len(text.splitlines()) == 1 + 4 * 3
    assert saved(page, buttons.last)[1].startswith("projection,index,relative_to_largest\nq,1,1\n")


def test_new_sections_fit_on_a_phone(visit: Any, report: Path) -> None:
    page = visit(report, PHONE)
    for section in ("distributions", "lengths"):
        drawn(page, section)
    assert page.locator("html").evaluate("each => each.scrollWidth") == PHONE[0]
