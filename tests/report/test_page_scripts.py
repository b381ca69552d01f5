"""The page's scripts beside the package's own code: numbers are read alike, packed curves are undone."""

import re
from collections import Counter
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

from gradprism.core import numbers
from gradprism.report.example_curves import ExampleCurves
from gradprism.report.packed import log_codes

NUMBERS = [
    ("number", 43.9496, "43.9"), ("number", 9.9951, "10.0"), ("number", 0.99951, "1.00"), ("number", 1234.5, "1,234"),
    ("number", 1235.5, "1,236"), ("number", 99.96, "100"), ("number", 999_999.6, "1,000,000"), ("number", 0.0, "0.00"),
    ("number", 0.0432149, "0.0432"), ("number", -0.00123456, "-0.00123"), ("number", 5.0, "5.00"),
    ("number", 0.000543219, "5.43e-04"), ("number", -2_345_678.0, "-2.35e+06"), ("number", 1_125_000.0, "1.12e+06"),
    ("number", None, "–"), ("share", 0.355, "0.35"), ("share", 0.335, "0.34"), ("share", 0.125, "0.12"),
    ("share", 0.375, "0.38"), ("share", -0.001, "0.00"), ("share", -0.9951, "-1.00"), ("share", None, "–"),
    ("probability", 0.000999, "<0.001"), ("probability", 0.001, "0.0010"), ("probability", 0.234, "0.23"),
    ("probability", 1.0, "1.0"), ("probability", None, "–"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "text"), NUMBERS)
def test_numbers_in_the_package(kind: str, value: float | None, text: str) -> None:
    assert getattr(numbers, kind)(value) == text


@pytest.mark.slow  # starts Chromium
def test_numbers_on_the_page(run_on_page: Any) -> None:
    """Set in type: a true minus, and powers of ten without `+0`."""
    found = run_on_page(
        "numbers", "given.map(([kind, value]) => ({ number, share, probability })[kind](value))", [*map(list, NUMBERS)]
    )
    assert found == [text.replace("e+0", "e").replace("e-0", "e-").replace("-", "\u2212") for *_, text in NUMBERS]


@pytest.mark.slow  # starts Chromium
def test_a_median_between_two_whole_numbers_keeps_its_half(run_on_page: Any) -> None:
    assert run_on_page("numbers", "given.map(medianCount)", [4.5, 174.0, 1524.5, None]) == [
        "4.5",
        "174",
        "1,524.5",
        "–",
    ]


@pytest.mark.slow  # starts Chromium
def test_singular_values_over_layers_are_medians_in_which_what_is_beyond_a_rank_is_zero(run_on_page: Any) -> None:
    values = np.array([0.5, 0.25, 0.0, 0.125, 0.03125])
    codes = log_codes(values[None, None, :, None], -6.0, 0.0, 127)

    def over_layers(layers: list[int]) -> Any:
        curves = np.where(np.array(layers, dtype=bool), 1.0, np.nan)[None, None, None, :].repeat(2, axis=1)
        packed = ExampleCurves(curves, codes, (1, 2)).json([0])
        return run_on_page("packed", "new Measured(given).spectraOf(0, null)", packed)

    for layers, expected in (([1, 1, 1, 1, 1], 0.125), ([1, 1, 1, 0, 0], 0.25), ([0, 0, 1, 1, 1], 0.03125)):
        assert over_layers(layers)[0] == [1, pytest.approx(expected, rel=0.06)]
    for layers in ([0, 0, 1, 0, 0], [0, 0, 0, 0, 0]):
        assert over_layers(layers) is None


@pytest.mark.slow  # half a second or more
def test_no_script_replaces_a_name_of_another() -> None:
    """Every script of the page shares one scope, in which the later of two functions of a name is the only one."""
    scripts = [item.read_text(encoding="utf-8") for item in (files("gradprism.report") / "assets").iterdir()
               if item.name.endswith(".js")]  # fmt: skip
    names = [
        name for text in scripts for name in re.findall(r"^(?:async )?(?:function|class|const|let) (\w+)", text, re.M)
    ]
    assert len(names) > 100
    assert not [name for name, times in Counter(names).items() if times > 1]
