"""How large the report of 2,000 examples is, and how soon its page answers in headless Chromium.

    python -m benchmarks.opening

Examples are made up: 30 layers, 4 projections, 200 singular values, texts of 1.5 kB. The page answers once its table is
live and its first plot is drawn.
"""

import shutil
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright
from tests.made_reports import made_report

from benchmarks.machine import describe
from benchmarks.results import save
from gradprism.report import write_report

OPENED = 5


def main() -> None:
    print(", ".join(describe().values()))
    with tempfile.TemporaryDirectory() as name:
        comparison = made_report(Path(name), n=1000, layers=30, rank=200)
        began = time.perf_counter()
        facts = write_report(comparison, out=Path(name) / "report.html")
        seconds = time.perf_counter() - began
        ready = opened(facts.path)
    print(
        f"report of {facts.n_shown:,} examples: {facts.bytes / 1e6:.1f} MB, written in {seconds:.1f} s, answers after "
        f"{statistics.median(ready):.2f} s (median of {OPENED}; {min(ready):.2f} to {max(ready):.2f})"
    )
    save("opening", {"examples": facts.n_shown, "bytes": facts.bytes, "write_seconds": seconds, "ready_seconds": ready})


def opened(page: Path) -> list[float]:
    """Seconds from the start of each load until the page answers."""
    ready = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(OPENED):
            tab = browser.new_page()
            tab.goto(page.as_uri())
            while not tab.evaluate("window.__gradprismReady ?? 0"):  # wait_for_function is refused by the page's policy
                tab.wait_for_timeout(20)
            ready.append(tab.evaluate("window.__gradprismReady") / 1000)
            tab.close()
        browser.close()
    return ready


if __name__ == "__main__":
    main()
