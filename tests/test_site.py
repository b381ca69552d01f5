"""The site builds without a warning: no link of a page is broken, and every public name has its text."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import gradprism
from tests.conftest import ROOT

pytestmark = pytest.mark.slow  # a site of sixty pages
PAGES = ROOT / ".cache/pages"


def build() -> "subprocess.CompletedProcess[str]":
    config = ROOT / "website/mkdocs.yml"
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", config],
        check=False, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def site() -> Path:
    pytest.importorskip("mkdocs", reason="needs the extra `docs`")
    subprocess.run([sys.executable, ROOT / "website/pages.py", PAGES], check=True)
    done = build()
    assert done.returncode == 0, done.stderr
    return ROOT / ".cache/site"


def test_every_page_is_there_and_can_be_searched(site: Path) -> None:
    pages = [page.relative_to(PAGES) for page in (PAGES / "docs").rglob("*.md")]
    for page in pages:
        assert (site / page.with_suffix("") / "index.html").is_file(), page
    assert "relative_effective_rank" in (site / "search/search_index.json").read_text("utf-8")
    listed = (ROOT / "website/mkdocs.yml").read_text("utf-8")
    assert [str(page) for page in pages if f": {page}\n" not in listed] == []


def test_the_reference_has_every_public_name(site: Path) -> None:
    text = (site / "docs/reference/index.html").read_text("utf-8")
    missing = [name for name in gradprism.__all__ if not name.startswith("__") and f'.{name}"' not in text]
    assert missing == []


def test_a_broken_link_fails(site: Path) -> None:
    page = PAGES / "docs/glossary.md"
    before = page.read_text("utf-8")
    try:
        page.write_text(before + "\n[gone](gone.md)\n", "utf-8")
        done = build()
    finally:
        page.write_text(before, "utf-8")
    assert done.returncode != 0
    assert "gone.md" in done.stderr


def test_the_pages_are_those_of_the_repository() -> None:
    spec = importlib.util.spec_from_file_location("pages", ROOT / "website/pages.py")
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    assert all((ROOT / name).exists() for name in (*made.FILES, *made.FOLDERS))
