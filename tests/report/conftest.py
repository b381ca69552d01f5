"""A real Chromium, started once a file, and the page of a report in it."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from tests.report.browsing import WIDE, until


def chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("GRADPRISM_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="module")  # playwright holds an event loop as long as it runs, in which no other may
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
def tab(browser: Any) -> Iterator[Any]:
    """One tab for all tests: in a new context the browser compiles the scripts of the page anew, for five seconds."""
    context = browser.new_context()
    yield context.new_page()
    context.close()


@pytest.fixture
def visit(browser: Any, tab: Any) -> Iterator[Callable[..., Any]]:
    """`visit(file)`: the page once it is ready; whatever it logs or requests fails the test at its end.

    `before` is a script that runs before those of the page, in a context of its own; `view` the hash of the address.
    """
    troubles: list[str] = []
    own: list[Any] = []
    heard: dict[str, Callable[[Any], None]] = {
        "console": lambda message: troubles.append(f"console: {message.text}"),
        "pageerror": lambda error: troubles.append(f"error: {error}"),
        "request": lambda request: troubles.append(request.url),
    }

    def go(file: Path, size: tuple[int, int] = WIDE, scheme: str = "light", before: str = "", view: str = "") -> Any:
        if before:
            own.append(browser.new_context())
        page = own[-1].new_page() if before else tab
        page.set_viewport_size({"width": size[0], "height": size[1]})
        page.emulate_media(media="screen", color_scheme=scheme)
        page.add_init_script(before) if before else None
        for event, hear in heard.items():
            page.on(event, hear)
        page.goto(file.as_uri() + view)
        until(page, "window.__gradprismReady !== undefined")
        assert troubles.pop(0).split("#")[0] == file.as_uri()  # its own request comes first, and there is no other
        return page

    yield go
    for context in own:
        context.close()
    for event, hear in heard.items():
        with suppress(KeyError):  # where nothing was visited in the common tab
            tab.remove_listener(event, hear)
    tab.mouse.move(0, 0)
    tab.goto("about:blank")
    assert [trouble for trouble in troubles if not trouble.startswith(("data:", "blob:"))] == []


@pytest.fixture
def run_on_page(browser: Any) -> Iterator[Callable[[str, str, Any], Any]]:
    """Return what an expression over `given` is after one of the page's scripts has run."""
    page = browser.new_page()

    def run(script: str, expression: str, given: Any) -> Any:
        text = (files("gradprism.report") / "assets" / f"{script}.js").read_text(encoding="utf-8")
        return page.evaluate(f"async (given) => {{ {text} return await ({expression}); }}", given)

    yield run
    page.close()
