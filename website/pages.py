"""Lay out the pages of the site in a folder: the repository's own, where their links hold, and one of all public names.

python website/pages.py FOLDER
"""

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
FILES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "LICENSE", "Makefile",
         "CITATION.cff", "llms.txt", "pyproject.toml")  # fmt: skip
FOLDERS = ("docs", "studies", "examples", "benchmarks", "requirements")
REFERENCE = "docs/reference.md"


def lay_out(folder: Path) -> None:
    """Copy the pages and what they link to into a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "tables"))
    (folder / REFERENCE).write_text(reference(), encoding="utf-8")


def reference() -> str:
    """Write the page of all public names, in the order of the modules that they come from."""
    names = [
        f"gradprism{module}.{name.strip()}"
        for module, listed in re.findall(
            r"^from (\.[\w.]+) import (.+)$", (ROOT / "src/gradprism/__init__.pyi").read_text("utf-8"), re.MULTILINE
        )
        for name in listed.split(",")
    ]
    about = "Options of functions are those of the command, with underscores; `gradprism VERB --help-all` has them too."
    return "\n\n".join(["# Python reference", about, *(f"::: {name}" for name in names)]) + "\n"


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
