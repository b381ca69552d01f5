from dataclasses import replace
from pathlib import Path

import pytest
from tests.made_comparisons import made_comparison

from gradprism.comparison.comparison import Comparison
from gradprism.figures import draw_figures
from gradprism.figures.captions import escaped, read_entries

pytestmark = pytest.mark.slow  # comparisons are catalogued anew for each call


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write figures without drawing them: captions come from the tables."""
    monkeypatch.setattr("gradprism.figures.files.make", lambda *_: None)
    monkeypatch.setattr("gradprism.figures.files.figure_bytes", lambda *_: b"a figure")


@pytest.fixture(scope="module")
def made() -> Comparison:
    return made_comparison(n=12, layers=3)


@pytest.fixture(scope="module")
def other(made: Comparison) -> Comparison:
    return replace(made, levels=made.levels.with_columns(made.levels["mean"] * 2), notes=("of the other",))


def drawn(comparison: Comparison, out: Path, *only: str, formats: tuple[str, ...] = ("png",)) -> str:
    draw_figures(comparison, out=out, formats=formats, only=only)
    return (out / "captions.md").read_text(encoding="utf-8")


def part(text: str, heading: str) -> str:
    return text.partition(f"# {heading}\n")[2].partition("\n# ")[0]


def test_notes_stand_under_the_figures(made: Comparison, tmp_path: Path) -> None:
    noted = replace(made, notes=("high: 3 of 12 rows were cut at the greatest length.", "made <up>"))
    notes = part(drawn(noted, tmp_path, "depth"), "Notes")
    assert "- high: 3 of 12 rows were cut at the greatest length.\n- made \\<up\\>\n" in notes


def test_each_model_has_its_notes(made: Comparison, other: Comparison, tmp_path: Path) -> None:
    draw_figures(made, other, out=tmp_path, formats=["png"], only=["depth"])
    notes = part((tmp_path / "captions.md").read_text(), "Notes")
    assert notes.count("tiny-1b, comparison ") == 2
    assert notes.index("made up") < notes.index("of the other")


def test_an_incomplete_run_is_said_in_every_caption(made: Comparison, tmp_path: Path) -> None:
    groups = (made.groups[0], replace(made.groups[1], pending=4))
    names = ["answer", "nuclear-norm", "four-panels", "effect-forest", "decay", "length", "correlations", "depth"]
    for one in draw_figures(replace(made, groups=groups), out=tmp_path, formats=["svg"], only=names):
        assert one.caption.endswith("Incomplete run."), one.name
    for one in draw_figures(made, out=tmp_path, formats=["png"], only=["depth", "decay"]):
        assert "Incomplete" not in one.caption


def test_captions_stay_while_their_figures_do(made: Comparison, tmp_path: Path) -> None:
    drawn(made, tmp_path, "depth", "decay", "length", formats=("png", "svg"))
    (tmp_path / "decay.png").unlink()
    for file in tmp_path.glob("length.*"):
        file.unlink()
    text = drawn(made, tmp_path, "depth", formats=("pdf",))
    assert {entry.name: entry.files for entry in read_entries(tmp_path)} == {
        "decay": ("decay.svg", "decay.csv"),
        "depth": ("depth.pdf", "depth.csv", "depth.png", "depth.svg"),
    }
    assert "From earlier" not in text
    assert drawn(made, tmp_path, "depth", formats=("pdf",)) == text


def test_figures_of_another_comparison_are_told_apart(made: Comparison, other: Comparison, tmp_path: Path) -> None:
    drawn(made, tmp_path, "depth", "decay", "length")
    text = drawn(other, tmp_path, "depth", "length", formats=("svg",))
    here, _, earlier = text.partition("# From earlier\n")
    assert [line for line in here.splitlines() if line.startswith("## ")] == ["## length", "## depth"]
    assert sorted(line for line in earlier.splitlines() if line.startswith("## ")) == [
        "## decay",
        "## depth",
        "## length",
    ]
    assert "Files: depth.svg, depth.csv\n" in here
    assert "Files: depth.png\n" in earlier  # the svg and the numbers were drawn anew
    assert "Files: decay.png, decay.csv\n" in earlier
    of = {line for line in here.splitlines() if line.startswith("Of: ")}
    assert len(of) == 1
    assert not of & {*earlier.splitlines()}
    again = drawn(made, tmp_path, "decay")
    assert {entry.name for entry in read_entries(tmp_path)} == {"depth", "decay", "length"}
    assert "## decay" in again.partition("# From earlier\n")[0]


def test_a_file_by_other_hands_is_no_harm(made: Comparison, tmp_path: Path) -> None:
    text = b"# Captions\n\n## mine\n\nA caption.\n\nFiles: ../secret\n\nOf: \xff\n## \n\nFiles: \n\nOf: \n"
    (tmp_path / "captions.md").write_bytes(text)
    drawn(made, tmp_path, "depth")
    assert [entry.name for entry in read_entries(tmp_path)] == ["depth"]


@pytest.mark.parametrize("name", ["*a* _b_ `c` [d](e) <img src=x> # | ~ & $ \\", "# h", "a\n\n## b\n\nFiles: c\n"])
def test_names_are_shown_letter_by_letter(name: str, tmp_path: Path) -> None:
    text = drawn(made_comparison([name, "low"], n=5, layers=2, model=name), tmp_path, "depth")
    shown = escaped(name)
    assert f"{shown} (n = 5)" in text
    assert "\n" not in shown
    assert [entry.name for entry in read_entries(tmp_path)] == ["depth"]
    bare = text.replace(shown, "")
    assert not {*bare} & {*"*_`[]<>|~&$"}


def test_direction_cannot_be_turned() -> None:
    assert escaped("a\u202eb\u2066c") == "abc"


def test_what_else_can_be_drawn_is_listed(made: Comparison, tmp_path: Path) -> None:
    others = part(drawn(made, tmp_path / "few", "decay"), "Also available by name")
    assert {"- frobenius-norm", "- groups-stable-rank", "- depth-q", "- depth"} <= {*others.splitlines()}
    assert "- decay\n" not in others
    many = made_comparison(["a", "b", "c", "d"], n=5, layers=2)
    listed = part(drawn(many, tmp_path / "many", "decay", "effect-forest"), "Also available by name")
    assert "- effect-heatmap-c-d\n" in listed
    assert "effect-forest" not in listed
