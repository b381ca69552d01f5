"""Lay out the pages of the site in a folder: the repository's own, where their links hold, and one of all public names.

python website/pages.py FOLDER
"""

import base64
import json
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
    for notebook in sorted((folder / "examples/notebooks").glob("*.ipynb")):
        _lay_out_notebook(notebook)
    (folder / REFERENCE).write_text(reference(), encoding="utf-8")


def _lay_out_notebook(notebook: Path) -> None:
    """Write the page of a notebook beside it: its text, its code, and what it gave."""
    parts = list[str]()
    for number, cell in enumerate(json.loads(notebook.read_text("utf-8"))["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if png := data.get("image/png"):
                picture = notebook.with_name(f"{notebook.stem}-{number}.png")
                picture.write_bytes(base64.b64decode("".join(png)))
                parts.append(f"![{notebook.stem}]({picture.name})")
            elif text := "".join(output.get("text", data.get("text/plain", ""))).rstrip():
                parts.append(f"```text\n{text}\n```")
    notebook.with_suffix(".md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


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
