"""What tests of the page in a browser wait for."""

import time
from typing import Any

WIDE, PHONE = (1280, 800), (390, 844)


def until(page: Any, condition: str, seconds: float = 20) -> None:
    """Ask until a condition of the page holds. Playwright's own wait evaluates text in the page, which its policy
    forbids as soon as it has to ask twice."""
    last = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < last, f"never true: {condition}"
        page.wait_for_timeout(20)


def drawn(page: Any, section: str) -> Any:
    """The plot of a section, once it is drawn."""
    page.locator(f"#{section} .plot").first.scroll_into_view_if_needed()
    page.wait_for_selector(f"#{section} .plot.js-plotly-plot .main-svg")
    return page.locator(f"#{section} .plot").first


def open_example(page: Any, name: str) -> Any:
    """The detail view of an example that is found by its name."""
    page.get_by_label("Find in id and text").fill(name)
    page.locator("#examples tbody tr").first.click()
    return page.locator("#detail")
