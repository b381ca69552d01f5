import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import polars as pl
import pytest
from PIL import Image
from tests.made_comparisons import made_comparison

from gradprism.comparison.comparison import Comparison
from gradprism.core.errors import GradPrismError
from gradprism.figures import FORMATS, STYLES, available, draw_figures, figure, write_figure

pytestmark = pytest.mark.slow  # every figure is drawn, in every style or format

ALL = [
    "answer",
    "nuclear-norm",
    "effective-rank",
    "four-panels-high-low",
    "groups-nuclear-norm",
    "groups-effective-rank",
    "adjacent-cosine",
    "same-layer-cosine",
    "effect-heatmap-high-low",
    "effect-forest-high-low",
    "decay",
    "length",
    "correlations",
    "depth",
]


def png_width(file: Path) -> int:
    with Image.open(io.BytesIO(file.read_bytes())) as image:
        return image.width


@pytest.fixture(scope="module")
def made() -> Comparison:
    return made_comparison(layers=6)


@pytest.fixture(scope="module")
def drawn(made: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("figures")
    draw_figures(made, out=out, style="acl")
    return out


def test_every_figure_comes_in_every_format_with_its_numbers_and_a_caption(drawn: Path) -> None:
    files = {f"{name}.{ending}" for name in ALL for ending in (*FORMATS, "csv")}
    assert {file.name for file in drawn.iterdir()} == {*files, "captions.md"}
    captions = (drawn / "captions.md").read_text(encoding="utf-8")
    for block in captions.split("## ")[1:]:
        name, _, caption = block.partition("\n\n")
        assert name in ALL
        assert "high (n = 40)" in caption
        assert "tiny-1b" in caption


def test_pdf_embeds_its_fonts_as_truetype(drawn: Path) -> None:
    for file in drawn.glob("*.pdf"):
        content = file.read_bytes()
        assert content.startswith(b"%PDF-")
        assert b"/FontFile2" in content, file
        assert b"/Type3" not in content, file
        assert b"CreationDate" not in content


def test_svg_needs_no_font(drawn: Path) -> None:
    for file in drawn.glob("*.svg"):
        tags = [element.tag.rpartition("}")[2] for element in ElementTree.parse(file).iter()]
        assert "path" in tags
        assert "text" not in tags, file


def test_png_is_as_wide_as_the_page_at_300_dots_per_inch(drawn: Path) -> None:
    widths = {file.stem: png_width(file) / 300 for file in drawn.glob("*.png")}
    assert widths["nuclear-norm"] == pytest.approx(6.3, abs=0.01)
    assert max(widths.values()) <= 6.31


def test_slides_fill_the_slide(made: Comparison) -> None:
    for name in available(made)[::4]:
        assert figure(made, name, "slides")[0].get_size_inches() == pytest.approx([13.33, 7.5]), name


def test_the_same_numbers_give_the_same_bytes(made: Comparison, drawn: Path, tmp_path: Path) -> None:
    draw_figures(made, out=tmp_path, style="acl", only=["nuclear-norm", "effect-forest", "length", "answer"])
    again = [file for file in tmp_path.iterdir() if file.suffix != ".md"]
    assert len(again) == 4 * 4
    for file in again:
        assert file.read_bytes() == (drawn / file.name).read_bytes(), file.name


def test_drawing_leaves_matplotlib_as_it_was(made: Comparison, tmp_path: Path) -> None:
    with matplotlib.rc_context({"font.size": 31, "axes.grid": False}):
        before = dict(matplotlib.rcParams)
        draw_figures(made, out=tmp_path, only=["depth"])
        assert dict(matplotlib.rcParams) == before
        assert figure(made, "depth")[0].axes[0].title.get_fontsize() == STYLES["neurips"].font


def test_importing_needs_no_matplotlib_and_drawing_no_pyplot() -> None:
    code = (
        "import sys, gradprism.figures, gradprism.figures.colours\n"
        "assert 'matplotlib' not in sys.modules\n"
        "from tests.made_comparisons import made_comparison\n"
        "gradprism.figures.figure(made_comparison(layers=3), 'length')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_one_group_has_what_needs_no_other(tmp_path: Path) -> None:
    drawn = draw_figures(made_comparison(["all"], layers=3), out=tmp_path, formats=["svg"])
    reasons = {one.name: one.reason for one in drawn if one.reason}
    assert reasons == dict.fromkeys(
        ("answer", "four-panels", "effect-heatmap", "effect-forest"), "there is only one group"
    )
    assert all(one.files == () and one.csv is None for one in drawn if one.reason)
    assert "- four-panels: there is only one group" in (tmp_path / "captions.md").read_text()
    assert (tmp_path / "nuclear-norm.svg").exists()


def test_one_layer_has_no_curves() -> None:
    names = available(made_comparison(layers=1))
    assert {"answer", "effect-forest-high-low", "decay", "length", "correlations"} == set(names)
    with pytest.raises(GradPrismError, match=r"nuclear-norm.*one layer only"):
        figure(made_comparison(layers=1), "nuclear-norm")


def test_what_was_not_measured_is_left_out_with_the_reason(made: Comparison, tmp_path: Path) -> None:
    nothing = replace(
        made,
        levels=made.levels.filter(~pl.col("measure").str.contains("cosine")),
        decay=made.decay.clear(),
        correlations=made.correlations.clear(),
        examples=made.examples.drop("nuclear_norm:mean", "effective_rank:mean"),
        effects=made.effects.clear(),
    )
    drawn = draw_figures(nothing, out=tmp_path, formats=["png"])
    assert {one.name for one in drawn if one.reason} == {
        "answer", "adjacent-cosine", "same-layer-cosine", "decay", "length", "correlations",
        "effect-heatmap-high-low", "effect-forest-high-low",
    }  # fmt: skip


def test_of_many_groups_the_first_contrasts_are_drawn_and_the_others_on_request(tmp_path: Path) -> None:
    many = made_comparison(["a", "b", "c", "d"], layers=3)
    names = [one.name for one in draw_figures(many, out=tmp_path, formats=["png"], only=["effect-forest"])]
    assert len(names) == 6
    assert "effect-forest-c-d" in available(many)
    assert draw_figures(many, out=tmp_path, formats=["png"], only=["effect-forest-c-d"])[0].files


def test_several_models_have_figures_of_their_own_and_depth_together(tmp_path: Path) -> None:
    models = [made_comparison(layers=3, model=name) for name in ("Org/A-1B", "Org/B-7B", "Org/B-7B")]
    names = available(models)
    assert {"nuclear-norm-Org-A-1B", "nuclear-norm-Org-B-7B-2", "nuclear-norm-Org-B-7B-3", "depth"} <= set(names)
    assert sum(name.startswith("depth") for name in names) == 5  # mean, q, k, v, o
    with pytest.raises(GradPrismError, match="stands for 3 figures"):
        figure(models, "nuclear-norm")
    drawn = draw_figures(*models, out=tmp_path, formats=["png"], only=["depth"])
    assert "Org/A-1B: high (n = 40), low (n = 40)" in drawn[0].caption


@pytest.mark.parametrize(
    "call", [lambda made, out: draw_figures(made, out=out, only=["no"]), lambda made, _: figure(made, "no")]
)
def test_an_unknown_figure_is_answered_with_those_there_are(made: Comparison, tmp_path: Path, call) -> None:
    with pytest.raises(GradPrismError, match=r"no figure 'no'.*nuclear-norm.*effect-heatmap-high-low") as error:
        call(made, tmp_path)
    assert all(name in str(error.value) for name in ALL)


def test_unknown_styles_formats_and_nothing_are_refused(made: Comparison, tmp_path: Path) -> None:
    with pytest.raises(GradPrismError, match="neurips, acl, icml, slides"):
        draw_figures(made, out=tmp_path, style="nature")
    with pytest.raises(GradPrismError, match=r"'tiff'.*pdf, svg, png"):
        draw_figures(made, out=tmp_path, formats=["pdf", "tiff"])
    with pytest.raises(GradPrismError, match="nothing to draw"):
        figure([], "depth")
    with pytest.raises(GradPrismError, match="Expected at least one run"):
        draw_figures(out=tmp_path)


def test_a_folder_that_cannot_be_written_is_said(made: Comparison, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GradPrismError, match="file is no folder"):
        draw_figures(made, out=tmp_path / "file", only=["depth"])


def test_without_matplotlib_the_extra_is_named(
    made: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(GradPrismError, match=r"pip install 'gradprism\[report\]'"):
        draw_figures(made, out=tmp_path)


def test_progress_hears_of_each_figure(made: Comparison, tmp_path: Path) -> None:
    heard: list[str] = []
    draw_figures(made, out=tmp_path, formats=["png"], only=["depth", "decay"], progress=heard.append)
    assert heard == ["depth", "decay"]


def test_one_figure_is_written_by_itself(made: Comparison, tmp_path: Path) -> None:
    write_figure(figure(made, "decay")[0], tmp_path / "own.png")
    assert png_width(tmp_path / "own.png") == 1650
    with pytest.raises(GradPrismError, match="'jpg'"):
        write_figure(figure(made, "decay")[0], tmp_path / "own.jpg")
