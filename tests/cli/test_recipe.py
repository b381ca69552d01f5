from pathlib import Path

import pytest

from gradprism import GradPrismError
from gradprism.cli.recipes import load_verb_and_recipe
from gradprism.core.settings import recipe_text
from gradprism.measurement.settings import SpectraRecipe


def test_a_recipe_survives_being_written_and_read(tmp_path: Path) -> None:
    recipe = SpectraRecipe.from_options(
        ("a.json", "b.json"),
        "out",
        model="m",
        max_length=99,
        columns={"prompt": "q"},
        projections=("q", "v"),
        system="é",
    )
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe_text(recipe), encoding="utf-8")
    assert load_verb_and_recipe(path)[1] == recipe
    assert recipe.prism.projection_names == ("q", "v")
    assert recipe.read.columns == "prompt=q"


@pytest.mark.parametrize(
    "text", ["", "- a list", "verb: dance", "verb: spectra\nout: x", "{torn: [", "verb: spectra\nbogus: 1"]
)
def test_what_is_no_recipe_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(GradPrismError):
        load_verb_and_recipe(path)[1]


def test_settings_out_of_range_say_which() -> None:
    with pytest.raises(GradPrismError, match="max_length"):
        SpectraRecipe.from_options(("a",), "out", model="m", max_length=0)
    with pytest.raises(GradPrismError, match="turns"):
        SpectraRecipe.from_options(("a",), "out", model="m", turns="some")


def test_only_how_the_work_is_done_may_differ_on_resume() -> None:
    def identity(**options: object) -> dict[str, object]:
        return SpectraRecipe.from_options(("a",), "out", model="m", **options).identity()

    assert identity(batch_tokens=1, threads=3, device="cuda") == identity()
    for change in ({"template": "chat"}, {"limit": 3}, {"entry_stats": True}, {"part_rows": 2}, {"from_scratch": True}):
        assert identity(**change) != identity()


def test_spaces_between_projections_change_nothing() -> None:
    recipe = SpectraRecipe.from_options(("a",), "out", model="m", projections="q, v ,")
    assert recipe.prism.projections == "q,v"
    assert recipe.prism.projection_names == ("q", "v")
