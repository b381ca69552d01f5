"""Nothing overlaps at any size: every figure in every style, measured."""

import math
import warnings
from collections.abc import Iterator
from dataclasses import replace

import polars as pl
import pytest
from length_controlled import NO_SUPPORT, length_controlled
from overlaps import faults
from tests.made_comparisons import made_comparison

from gradprism.comparison.comparison import Comparison
from gradprism.figures import STYLES, available, figure

pytestmark = pytest.mark.slow  # every figure is drawn, in every style or format
EXHAUSTIVE = pytest.mark.exhaustive

KINDS = (
    "answer",
    "nuclear-norm",
    "four-panels",
    "groups-",
    "adjacent-",
    "same-layer-",
    "effect-heatmap",
    "effect-forest",
    "decay",
    "length",
    "correlations",
    "depth",
)
SHORT = ("high", "low", "random", "middle", "all", "none")
LONG = (
    "a very long name of a group whose rows are ranked highest by reward",
    "_under $x_1$ % & # ^ {}\\",
    "漢字とかな",
    "مجموعة عربية طويلة",
    "a very long name of a group whose rows are ranked lowest by reward",
    "😀 emoji\nin two lines",
)


def kinds(made: Comparison) -> Iterator[str]:
    """One figure of each kind: those of other contrasts, measures and projections are laid out alike."""
    names = available(made)
    for kind in KINDS:
        yield from [name for name in names if name.startswith(kind)][:1]


def check(made: Comparison, style: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # glyphs that are missing, layouts that collapse
        found = {name: faults(figure(made, name, style)[0]) for name in kinds(made)}
    assert not {name: lines for name, lines in found.items() if lines}


@pytest.mark.parametrize(
    ("style", "names", "layers"),
    [
        ("slides", LONG[:3], 12),
        pytest.param("acl", SHORT[:2], 12, marks=EXHAUSTIVE),
        pytest.param("acl", SHORT[:2], 30, marks=EXHAUSTIVE),
        pytest.param("neurips", LONG, 80, marks=EXHAUSTIVE),
    ],
)
def test_nothing_overlaps(style: str, names: tuple[str, ...], layers: int) -> None:
    check(length_controlled(made_comparison(names, n=30, layers=layers), windows=True), style)


@pytest.mark.parametrize(
    ("style", "names"),
    [
        ("acl", SHORT[:2]),
        *(
            pytest.param(style, names, marks=EXHAUSTIVE)
            for style, names in (("neurips", LONG[:3]), ("slides", SHORT[:3]))
        ),
    ],
)
def test_nothing_overlaps_on_logarithmic_axes_where_controls_extrapolate(style: str, names: tuple[str, ...]) -> None:
    made = length_controlled(made_comparison(names, n=12, layers=12), **NO_SUPPORT)
    steep = (pl.col("layer").fill_null(0) + 1) ** 3
    means = ("mean", "mean_low", "mean_high")
    check(
        replace(
            made,
            levels=made.levels.with_columns(pl.col(name) * steep for name in means),
            effects=made.effects.with_columns(pl.lit(0, pl.Int64).alias("matched_pairs")),
        ),
        style,
    )


SIZES = [(LONG, 1, 12), (LONG, 2, 1), (LONG, 2, 2), (LONG, 3, 30), (SHORT, 3, 30), (LONG, 6, 80)]


@pytest.mark.parametrize(
    ("names", "count", "layers", "style"),
    [
        pytest.param(
            *size, [*STYLES][(place + half) % len(STYLES)], marks=EXHAUSTIVE if half or size != SIZES[1] else ()
        )
        for place, size in enumerate(SIZES)
        for half in (0, 2)
    ],
)
def test_nothing_overlaps_at_any_size(names: tuple[str, ...], count: int, layers: int, style: str) -> None:
    """Each size in one style, in `make test-all` in two; short names leave more room, and are tried at one size."""
    check(length_controlled(made_comparison(names[:count], n=30, layers=layers)), style)


@EXHAUSTIVE
@pytest.mark.parametrize("style", STYLES)
def test_nothing_overlaps_with_many_models(style: str) -> None:
    names = ["Organisation/A-Model-With-A-Long-Name-7B-Instruct", "Organisation/A-Model-With-A-Long-Name-70B-Instruct"]
    models = [made_comparison(LONG[:3], n=12, layers=6, model=name) for name in (*names, "漢字", "x" * 80, "m")]
    assert faults(figure(models, "depth", style)[0]) == []
    assert faults(figure([made_comparison(SHORT[:4], n=12, layers=6, model=m) for m in names], "depth", style)[0]) == []
    assert faults(figure(made_comparison(LONG, n=12, layers=6), "depth", style)[0]) == []


def test_a_name_that_no_font_has_is_drawn_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert (
            faults(figure(made_comparison(["漢字", "\U0010fffd"], n=12, layers=2), "nuclear-norm", "neurips")[0]) == []
        )


@EXHAUSTIVE
@pytest.mark.parametrize("style", STYLES)
def test_many_groups_make_a_taller_figure(style: str) -> None:
    many = made_comparison([f"group {place}" for place in range(14)], n=5, layers=4)
    assert faults(figure(many, "nuclear-norm", style)[0]) == []
    assert faults(figure(many, "groups-nuclear-norm", style)[0]) == []


@pytest.mark.exhaustive  # half a minute
@pytest.mark.parametrize("style", ["acl", "slides"])
def test_numbers_of_any_size_fit(style: str) -> None:
    made = length_controlled(made_comparison(n=30, layers=12))
    columns = ("mean", "mean_low", "mean_high")
    for factor in (1e-9, 12_345.0, 1e9):
        ratio = math.log(factor)
        scaled = replace(
            made,
            levels=made.levels.with_columns(made.levels[name] * factor for name in columns),
            effects=made.effects.with_columns(
                made.effects[name] + ratio
                for name in made.effects.columns
                if name.startswith(("raw_effect", "matched_effect", "weighted_effect", "weighted_low", "weighted_high"))
            ),
        )
        for name in ("answer", "nuclear-norm", "four-panels", "effect-forest", "effect-heatmap", "adjacent-cosine"):
            assert faults(figure(scaled, name, style)[0]) == [], (name, factor)
