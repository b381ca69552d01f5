"""Tokens on the page: what is embedded of them and how many, and what a reader sees and does with them."""

import base64
import json
import re
import zlib
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.made_reports import made_report
from tests.report.browsing import PHONE, open_example, until

from gradprism.comparison.comparison import Comparison
from gradprism.core.progress import say_nothing
from gradprism.report import write_report
from gradprism.report.draft import Draft, with_sampling_order
from gradprism.report.token_shading import MOST_TOKENS, ExampleTokens, read_tokens

TEXTS = {"high": [("One two", "three four\nfive"), ("Ask", "word " * (MOST_TOKENS + 10))]}


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return made_report(tmp_path_factory.mktemp("runs"), n=20, layers=2, rank=4, texts=TEXTS, tokens=("high",))


def read(comparison: Comparison, most_bytes: float = 1e9) -> ExampleTokens:
    table = with_sampling_order(comparison.examples, 0)
    return read_tokens(comparison, table, "sampled_from", most_bytes, say_nothing)


def unpacked(packed: dict[str, Any]) -> list[Any]:
    """What the page's script does."""
    found = [each for chunk in packed["chunks"] for each in json.loads(zlib.decompress(base64.b64decode(chunk)))]
    return [None if index is None else found[index] for index in packed["index"]]


def test_tokens_are_those_of_the_run(comparison: Comparison) -> None:
    rows = [*range(40)]
    found = unpacked(read(comparison).json(rows))
    assert found[0] == [
        ["One", " two", "\n", "three", " four", "\nfive"], [None, None, None, 0.75, 1, 1.25],
        [1, 0.5, 0.25, 0.125, 0.0625, 0], 0,
    ]  # fmt: skip
    assert [len(each) for each in found[1][:3]] == [MOST_TOKENS] * 3
    assert found[1][3] == 3 + (MOST_TOKENS + 10) - MOST_TOKENS
    assert [each is None for each in found] == [False] * 20 + [True] * 20
    chosen = unpacked(read(comparison).json([0, 25, 3]))
    assert chosen == [found[0], None, found[3]]


def test_a_run_without_says_how_to_get_them(comparison: Comparison) -> None:
    assert read(comparison).missing == {
        "low": "The run low holds no tokens. Measure it with --tokens, which stores them."
    }


def test_only_the_first_of_the_sampling_order_are_read_where_space_is_short(comparison: Comparison) -> None:
    whole, few = read(comparison), read(comparison, most_bytes=8_000)
    kept = [place for place, text in enumerate(few.tokens) if text]
    assert 1 <= len(kept) < 20
    assert [few.tokens[place] for place in kept] == [whole.tokens[place] for place in kept]
    order = with_sampling_order(comparison.examples, 0)["sampled_from"].to_list()[:20]
    assert max(order[place] for place in kept) <= min(order[place] for place in range(20) if place not in kept)


def test_without_texts_there_are_no_tokens(comparison: Comparison) -> None:
    draft = Draft([comparison], 0, False, say_nothing, 12_000_000)
    assert [tokens.json([0, 1]) for tokens in draft.tokens] == [None]


def _luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    """WCAG 2.2, contrast ratio."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [":root", ':root[data-theme="dark"]'])
def test_text_is_read_on_every_shade_and_shades_differ_in_lightness(theme: str) -> None:
    assets = files("gradprism.report") / "assets"
    colours = dict[str, str]()
    for name in ("page.css", "tokens.css"):
        block = re.search(rf"^{re.escape(theme)} \{{(.*?)\}}", (assets / name).read_text("utf-8"), re.M | re.S)
        assert block is not None
        colours |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block[1]))
    shades = [colours[f"shade-{step}"] for step in range(1, 6)]
    assert all(_contrast(colours["ink"], shade) >= 4.5 for shade in shades)
    order = [_luminance(shade) for shade in shades]
    assert order == sorted(order, reverse=theme == ":root")


@pytest.fixture(scope="module")
def report(comparison: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(comparison, out=tmp_path_factory.mktemp("report") / "report.html").path


def shades(dialog: Any) -> list[str | None]:
    return dialog.locator(".token").evaluate_all("all => all.map(each => each.dataset.shade ?? null)")


def shade_by(dialog: Any, what: str) -> None:
    dialog.get_by_label("Shade tokens by").select_option(label=what)


@pytest.mark.slow  # starts Chromium
def test_shades_are_by_rank_and_equal_values_have_one(run_on_page: Any) -> None:
    """The top half, 30%, 15%, 5% and 1%, each shade without those above it."""
    for values in (np.random.default_rng(0).lognormal(0, 3, 400).tolist(), [1.0] * 7, [0.0, 2.0, 2.0, 2.0, 5.0, None]):
        known = np.array([value for value in values if value is not None])
        lower = np.array([(known < value).mean() for value in known])
        expected = np.digitize(lower, [0.5, 0.7, 0.85, 0.95, 0.99])
        script = "(({ of, starts }) => [given.map(of), starts.map(each => each ?? null)])(shadesOf(given))"
        found, starts = run_on_page("tokens", script, values)
        assert [shade for shade in found if shade is not None] == expected.tolist()
        assert found.count(None) == values.count(None)
        assert starts == [min(known[expected == step], default=None) for step in range(6)]


@pytest.mark.slow  # a page of 5 MB in Chromium
def test_text_is_shaded_by_choice_and_plain_until_then(visit: Any, report: Path) -> None:
    page = visit(report)
    dialog = open_example(page, "high-0")
    assert dialog.locator(".token").count() == 0
    assert dialog.locator(".turn .text").all_text_contents() == ["One two", "three four\nfive"]
    shade_by(dialog, "loss")
    until(page, "document.querySelectorAll('#detail .token').length === 6")
    assert dialog.locator(".turn .text").all_text_contents() == ["One two\n", "three four\nfive"]
    assert dialog.locator(".turn h3").all_inner_texts() == ["Context – no loss tokens", "Response – loss tokens"]
    assert shades(dialog) == [None, None, None, "0", "0", "1"]
    assert dialog.locator(".shade").all_inner_texts() == ["lower half", "1.2 top 50%"]
    shade_by(dialog, "gradient size")
    until(page, "document.querySelector('#detail .token').dataset.shade === '2'")
    assert shades(dialog) == ["2", "1", "1", "0", "0", "0"]
    page.keyboard.press("Escape")
    dialog = open_example(page, "high-2")
    assert dialog.get_by_label("Shade tokens by").input_value() == "size"  # as it was chosen before
    shade_by(dialog, "nothing")
    assert dialog.locator(".token").count() == 0


@pytest.mark.slow  # a page of 5 MB in Chromium
def test_a_token_says_its_numbers_to_mouse_and_keyboard(visit: Any, report: Path) -> None:
    page = visit(report)
    dialog = open_example(page, "high-0")
    shade_by(dialog, "loss")
    until(page, "document.querySelectorAll('#detail .token').length === 6")
    dialog.locator(".token").nth(3).hover()
    tip = dialog.locator(".token-tip")
    assert tip.inner_text().split("\n") == ["“three”", "loss 0.750 (p = 0.47)", "gradient size 0.125"]
    dialog.locator(".token").first.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert tip.inner_text().split("\n") == ["“↵five”", "loss 1.25 (p = 0.29)", "gradient size 0.00"]
    assert "high-0" in dialog.locator("#detail-title").inner_text()  # arrows stay within the text
    assert dialog.locator(".token[tabindex='0']").count() == 1
    page.keyboard.press("ArrowLeft")
    assert tip.inner_text().startswith("“ four”")


@pytest.mark.slow  # a page of 5 MB in Chromium
def test_where_there_are_none_the_text_is_plain_and_it_is_said_how_to_get_them(visit: Any, report: Path) -> None:
    dialog = open_example(visit(report), "low-0")
    assert dialog.get_by_label("Shade tokens by").count() == 0
    assert "--tokens, which stores them" in dialog.inner_text()
    assert dialog.locator(".turn .text").count() == 2


@pytest.mark.slow  # a page of 5 MB in Chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut_and_tips_stay_in_view(scheme: str, visit: Any, report: Path) -> None:
    page = visit(report, PHONE, scheme)
    dialog = open_example(page, "high-1")
    shade_by(dialog, "gradient size")
    until(page, f"document.querySelectorAll('#detail .token').length === {MOST_TOKENS}")
    assert dialog.evaluate("each => each.scrollWidth <= each.clientWidth")
    assert "13 more tokens, left out of this report" in dialog.inner_text()
    for index in (0, 12):
        dialog.locator(".token").nth(index).hover()
        box = dialog.locator(".token-tip").bounding_box()
        assert 0 <= box["x"] <= box["x"] + box["width"] <= PHONE[0]
        assert box["y"] >= 0
