import pytest

from gradprism.figures.names import file_name
from gradprism.figures.styles import STYLES
from gradprism.figures.text import distinct, drawable, literal, shortened, width

STYLE = STYLES["neurips"]


def test_what_fits_is_left_alone() -> None:
    assert shortened("high", 5.0, STYLE, 9) == "high"


@pytest.mark.parametrize("room", [0.3, 0.6, 1.0, 2.0])
def test_what_is_too_long_loses_its_middle(room: float) -> None:
    text = "reward: highest 25% of WizardLM, matched in length"
    short = shortened(text, room, STYLE, 9)
    head, _, tail = short.partition("…")
    assert width(short, STYLE, 9) <= room
    assert text.startswith(head)
    assert text.endswith(tail)
    assert width(shortened(text, room + 0.1, STYLE, 9), STYLE, 9) >= width(short, STYLE, 9)


def test_names_that_look_the_same_when_shortened_are_numbered() -> None:
    names = [f"a long name {middle} with the same ends" for middle in ("of one group", "of another")]
    short = distinct([*names, "other", names[0]], 0.9, STYLE, 9)
    assert short[0].endswith("(1)")
    assert short[1].endswith("(2)")
    assert short[2] == "other"
    assert short[3] == short[0]
    assert all(width(text, STYLE, 9) <= 0.9 for text in short)


def test_characters_that_no_font_has_become_boxes_and_controls_go() -> None:
    assert drawable("漢 a", STYLE) == "□ a"
    assert drawable("a\u202eb\tc\nd\x07", STYLE) == "ab c d"
    assert drawable("Ünï ρ σ₁ −", STYLE) == "Ünï ρ σ₁ −"


def test_dollars_are_dollars() -> None:
    assert literal("$x$ for 5$") == r"\$x\$ for 5\$"


@pytest.mark.parametrize("name", ["", "漢字", "///", "a" * 99, "ä b:c", "Ω-set"])
def test_file_names_are_plain_and_never_empty(name: str) -> None:
    plain = file_name(name)
    assert plain
    assert len(plain) <= 32
    assert all(c.isascii() and (c.isalnum() or c == "-") for c in plain)


def test_names_in_other_scripts_get_files_of_their_own() -> None:
    assert file_name("漢字") != file_name("かな")
    assert file_name("quality 漢") != file_name("quality 字")
    assert file_name("ifd: highest 25%") == "ifd-highest-25"
