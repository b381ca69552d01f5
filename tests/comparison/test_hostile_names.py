"""Names of groups and models are text in every file of a comparison."""

import csv
import io
from dataclasses import replace
from pathlib import Path

from tests.made_comparisons import made_comparison

from gradprism.comparison.comparison_files import open_comparison, save_comparison

FORMULA, HTML, BREAK = (
    "=cmd|'/c calc'!A1",
    "<img src=x onerror=alert(1)>",
    "a\n\n\\input{/etc/passwd}\n# b \x1b[31m & 50%",
)


def test_a_saved_comparison_shows_hostile_names_as_text(tmp_path: Path) -> None:
    made = made_comparison((FORMULA, HTML, BREAK), layers=3, model="m\n\\immediate\\write18{id}")
    made = replace(made, notes=(f"{HTML} and [x](javascript:alert(1))",))
    save_comparison(made, tmp_path / "c")
    assert open_comparison(tmp_path / "c").groups == made.groups
    for file in (tmp_path / "c").glob("*.csv"):
        for row in csv.reader(io.StringIO(file.read_bytes().decode(), newline="")):
            assert not [cell for cell in row if cell.startswith(("=", "+", "@")) or cell[:2] == "-c"]
    assert f"'{FORMULA}" in (tmp_path / "c" / "levels.csv").read_text()
    assert "\n'=cmd" in (tmp_path / "c" / "paper_table.csv").read_text()
    summary = (tmp_path / "c" / "summary.md").read_text()
    assert "<img" not in summary
    assert "](" not in summary
    assert "\x1b" not in summary
    assert not [line for line in summary.splitlines() if line.startswith(("\\input", "# b"))]
    latex = (tmp_path / "c" / "paper_table.tex").read_text()
    written = [line for line in latex.splitlines() if not line.startswith("%")]
    assert r"\textbackslash{}input\{/etc/passwd\}" in latex
    assert not [line for line in written if "\\input" in line or "\\immediate" in line or "\x1b" in line]
    assert r"\& 50\%" in latex
    assert "" not in written[: written.index(r"\bottomrule")]
