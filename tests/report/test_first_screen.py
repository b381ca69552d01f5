"""The first screen: sentences with the numbers, what would decide, and where the first chart stands."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.made_comparisons import made_comparison
from tests.made_reports import FOUND_AGAIN, WINDOWS, alone, judged
from tests.report.browsing import until

from gradprism.comparison.comparison import Comparison, Finding
from gradprism.report import write_report
from gradprism.report.first_screen import READING, findings_data, first_contrasts, main_measures, overview

MOST_WORDS = 250
FAR = FOUND_AGAIN | {"weighted_n_first": 0.4, "weighted_n_second": 3.0}
WIDE_INTERVAL = FOUND_AGAIN | {"weighted_low": -0.4, "weighted_high": 0.58, "weighted_q": 0.9}


def first_finding(comparison: Comparison) -> dict[str, str]:
    return next(each for each in findings_data(comparison) if each["measure"] == "nuclear_norm")


@pytest.mark.parametrize(
    ("values", "tag", "more"),
    [
        (FOUND_AGAIN, "not just length", ""),
        (
            FAR,
            "unclear",
            "the lengths hardly overlap; rows of both at the same lengths could decide",
        ),
        (WIDE_INTERVAL, "unclear", "the interval [×0.67, ×1.79] is wide; more rows could decide"),
        ({"q": 0.001}, "unclear", "lengths are not known; token counts could decide"),
        ({"q": 0.9, "raw_effect_low": -0.3}, "not shown", "more rows could decide"),
        (
            FOUND_AGAIN | {"weighted_effect": -0.09, "weighted_low": -0.15, "weighted_high": -0.03},
            "reversed",
            "with length controlled the difference turns around",
        ),
    ],
)
def test_a_headline_is_ratios_a_tag_and_what_would_decide(values: dict[str, object], tag: str, more: str) -> None:
    found = first_finding(judged(made_comparison(n=40, layers=2), **values))
    assert found["figures"].startswith("gradients 1.11 times as large raw")
    assert (found["tag"], found["more"]) == (tag, more)


def test_an_unclear_finding_names_the_window_that_would_decide() -> None:
    comparison = judged(made_comparison(n=40, layers=2), **FAR)
    advised = [
        replace(each, advice="--window 64 would decide: it measures the first 64.") for each in comparison.findings
    ]
    found = first_finding(replace(comparison, findings=tuple(advised)))
    assert found["more"] == "the lengths hardly overlap; --window 64 would decide"


def test_windows_that_cannot_decide_want_more_rows() -> None:
    found = first_finding(judged(made_comparison(n=40, layers=2), **FAR | WINDOWS))
    assert found["more"] == "the interval [×0.67, ×1.82] is wide; more rows could decide"
    assert found["figures"] == "gradients 1.11 times as large raw, 1.11 in the first 64 tokens"


def test_findings_without_headlines_have_no_parts() -> None:
    comparison = made_comparison(n=3, layers=2)
    assert {found["figures"] + found["tag"] + found["more"] for found in findings_data(comparison)} == {""}
    of_construction = Finding("high", "low", "nuclear_norm", "mean", "chosen", "Chosen.", "", "the groups are chosen")
    found = first_finding(replace(comparison, findings=(of_construction,)))
    assert [found[part] for part in ("figures", "tag", "more")] == [
        "Nuclear norm", "by construction", "the groups are chosen",
    ]  # fmt: skip


def test_a_run_alone_says_what_was_measured_how_large_and_where() -> None:
    comparison = alone(made_comparison(("mine",), n=20, layers=7))
    group = replace(comparison.groups[0], pending=4)
    [found] = overview(replace(comparison, groups=(group,)))
    lines = dict(found["lines"])
    assert lines["Measured"] == (
        "20 examples, 4 not measured yet, 2 skipped, 1 failed; q, k, v, o in 7 layers; median response 150 tokens"
    )
    levels = comparison.levels.filter(measure="effective_rank", projection="mean").sort("layer", nulls_last=True)
    curve, whole = levels["mean"].to_list()[:7], levels.row(7, named=True)
    thirds = [sum(curve[start:end]) / (end - start) for start, end in ((0, 2), (2, 4), (4, 7))]
    assert lines["Effective rank"] == (
        f"median {whole['median']:.1f} (middle half {whole['q25']:.1f} to {whole['q75']:.1f}); by depth "
        f"{thirds[0]:.1f} early, {thirds[1]:.1f} middle, {thirds[2]:.1f} late, "
        f"largest in layer {curve.index(max(curve))}"
    )


def test_values_that_are_missing_leave_their_words_out() -> None:
    comparison = alone(made_comparison(("mine",), n=20, layers=2))
    gone = comparison.levels.with_columns(pl.lit(None, pl.Float64).alias(name) for name in ("median", "q25", "q75"))
    [found] = overview(replace(comparison, levels=gone))
    assert dict(found["lines"])["Nuclear norm"].startswith("mean 1.")
    nothing = comparison.levels.with_columns(pl.lit(None, pl.Float64).alias("mean"))
    assert [name for name, _ in overview(replace(comparison, levels=nothing))[0]["lines"]] == ["Measured"]


def test_other_measures_stand_in_for_the_main_ones() -> None:
    assert main_measures(["stable_rank", "effective_rank"]) == ["effective_rank"]
    assert main_measures(["stable_rank", "spectral_norm", "frobenius_norm"]) == ["stable_rank", "spectral_norm"]


@pytest.mark.parametrize(("values", "n"), [(FOUND_AGAIN, 5), (WIDE_INTERVAL, 4), (FAR, 4)])
@pytest.mark.parametrize("words", [1, 40])
def test_the_first_screen_shows_contrasts_as_its_words_allow(values: dict[str, object], n: int, words: int) -> None:
    names = [" ".join([name] * words) for name in ("a", "b", "c", "d")]
    comparison = judged(made_comparison(names, n=40, layers=2), **values)
    found, measures = findings_data(comparison), main_measures(comparison.measures)
    shown = first_contrasts(found, measures)
    assert shown == (n if words == 1 else 1)
    main = [each for each in found if each["measure"] in measures][: shown * len(measures)]
    said = [f"{each['figures']} {each['tag']}" for each in main] + [*{each["first"] + each["more"] for each in main}]
    assert words > 1 or len(" ".join([READING, *said]).split()) < MOST_WORDS - 50


WORDS_BEFORE_THE_FIRST_CHART_ENDS = r"""
() => {
  const bottom = document.querySelector(".plot").getBoundingClientRect().bottom;
  const texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  let words = 0;
  while (texts.nextNode()) {
    range.selectNode(texts.currentNode);
    const { top, width } = range.getBoundingClientRect();
    if (!texts.currentNode.parentElement.checkVisibility() || width < 2 || top > bottom) continue;
    words += texts.currentNode.textContent.split(/\s+/).filter((word) => /[\p{L}\p{N}]/u.test(word)).length;
  }
  return words;
}
"""
PAGES: dict[str, Callable[[], list[Comparison]]] = {
    "comparison": lambda: [judged(made_comparison(("careful", "careless", "steps"), n=20, layers=12), **FOUND_AGAIN)],
    "unclear": lambda: [judged(made_comparison(("careful", "careless", "steps"), n=20, layers=12), **FAR)],
    "many contrasts": lambda: [
        judged(made_comparison(("bare", "careful", "careless", "steps"), n=9, layers=4), **FOUND_AGAIN)
    ],
    "many unclear": lambda: [judged(made_comparison(("bare", "careful", "careless", "steps"), n=9, layers=4), **FAR)],
    "earlier version": lambda: [made_comparison(n=20, layers=12)],
    "a run alone": lambda: [alone(made_comparison(("mine",), n=20, layers=12))],
    "two runs": lambda: [
        alone(made_comparison((name,), n=20, layers=12, model=model)) for name, model in (("a", "tiny"), ("b", "large"))
    ],
    "two models": lambda: [
        judged(made_comparison(n=20, layers=12, model=model), **FOUND_AGAIN) for model in ("tiny", "large")
    ],
    "2,000 examples": lambda: [judged(made_comparison(n=1000, layers=30), **FOUND_AGAIN)],
}  # fmt: skip


ALWAYS, EXHAUSTIVE = ("comparison", "a run alone", "two models", "2,000 examples"), pytest.mark.exhaustive


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the report of one of `PAGES`, written once."""

    @cache
    def write(name: str) -> Path:
        return write_report(*PAGES[name](), out=tmp_path_factory.mktemp("report") / "report.html", texts=False).path

    return write


@pytest.mark.slow  # a page of 5 MB is loaded in Chromium
@pytest.mark.parametrize("size", [(1280, 900), (390, 844)])
@pytest.mark.parametrize("name", [pytest.param(each, marks=() if each in ALWAYS else EXHAUSTIVE) for each in PAGES])
def test_the_first_screen_holds_the_sentences_and_the_first_chart(
    visit: Any, written: Callable[[str], Path], name: str, size: tuple[int, int]
) -> None:
    page = visit(written(name), size)
    chart, second = (page.locator(".plot").nth(place).bounding_box() for place in (0, 1))
    assert page.locator(".headlines p").first.bounding_box()["y"] <= 300
    assert page.evaluate(WORDS_BEFORE_THE_FIRST_CHART_ENDS) <= MOST_WORDS
    assert page.locator("html").evaluate("each => each.scrollWidth") == size[0]
    if size == (1280, 900):
        assert chart["y"] + chart["height"] <= 900
        assert abs(second["y"] - chart["y"]) < 60  # beside it
    else:
        assert chart["y"] + 100 <= 844
        assert second["y"] > chart["y"] + chart["height"]


@pytest.mark.slow  # as above
def test_further_contrasts_are_folded_and_hidden_groups_leave_the_forest(
    visit: Any, written: Callable[[str], Path]
) -> None:
    page = visit(written("many contrasts"), (1280, 900))
    rows = "document.querySelector('#top .plot').layout.yaxis.ticktext.length"
    until(page, f"{rows} === 2 * (1 + 5)")
    assert page.locator(".headlines li:visible").count() == 5
    page.get_by_text("1 more contrast").first.click()
    until(page, f"{rows} === 2 * (1 + 6)")
    page.locator("#top .group-toggle", has_text="bare").click()
    until(page, f"{rows} === 2 * (1 + 3)")


@pytest.mark.slow  # as above
def test_windows_stand_beside_what_has_no_common_support(visit: Any, tmp_path: Path) -> None:
    comparison = judged(made_comparison(n=20, layers=12), **FAR | WINDOWS)
    page = visit(write_report(comparison, out=tmp_path / "report.html", texts=False).path, (1280, 900))
    page.wait_for_selector("#top .plot.js-plotly-plot")
    drawn = page.evaluate("document.querySelector('#top .plot').data.map(t => [t.name, t.opacity])")
    assert drawn == [["raw", 1], ["length-controlled", 0.4], ["windows", 1]]
    cell = page.locator("table.ratio-table tr", has_text="Nuclear norm").first.locator("td").nth(3).inner_text()
    assert cell.endswith("first 64 tokens: 1.11 [0.67, 1.82], p adj. 0.50, 9 and 8 rows")


@pytest.mark.slow  # as above
def test_the_forest_draws_the_ratios_of_the_table(visit: Any, written: Callable[[str], Path]) -> None:
    page = visit(written("comparison"), (1280, 900))
    page.wait_for_selector("#top .plot.js-plotly-plot")
    raw, controlled = page.evaluate(
        "document.querySelector('#top .plot').data.map(t => ({x: t.x, high: t.error_x.array, symbol: t.marker.symbol}))"
    )
    assert raw["symbol"] == "circle-open"
    assert raw["x"] == pytest.approx([1.105171] * 6)  # e^0.1: three contrasts of two measures
    assert controlled["x"] == pytest.approx([1.094174] * 6)  # e^0.09
    assert controlled["high"] == pytest.approx([1.161834 - 1.094174] * 6, abs=1e-5)  # to e^0.15
    cells = page.locator("table.ratio-table tr", has_text="Nuclear norm").first.locator("td").all_inner_texts()
    assert cells == ["not just length", "1.11\n[1.02, 1.20]", "0.0010", "1.09\n[1.03, 1.16]", "0.0040", "20 and 18"]
