"""Settings of a selection: what contradicts itself is refused before any data is read."""

from typing import Any

import pytest
import yaml

from gradprism import GradPrismError
from gradprism.core.settings import checked, recipe_text
from gradprism.selection.settings import SelectRecipe, SelectSettings


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": "m"}, "Nothing says what to take"),
        ({"top": 3}, "Expected --by METRIC"),
        ({"tokens": 3}, "Expected --by METRIC"),
        ({"by": "m", "quantile": "0.9:0.1"}, "expected A:B with 0 <= A < B <= 1"),
        ({"by": "m", "quantile": "0.1"}, "expected A:B"),
        ({"by": "m", "quantile": "nan:1"}, "expected A:B"),
        ({"by": "m", "quantile": "0:2"}, "expected A:B"),
        ({"by": "m", "quantile": "0:1", "top": 3}, "--quantile goes with none"),
        ({"by": "m", "top": "0"}, "--top '0': expected a number of rows"),
        ({"by": "m", "top": "-3"}, "expected a number of rows"),
        ({"by": "m", "bottom": "2.5"}, "--bottom '2.5': expected a number of rows"),
        ({"by": "m", "top": "101%"}, "a share such as 10%"),
        ({"by": "m", "top": "many"}, "expected a number of rows"),
        ({"by": "m", "tokens": 0}, "tokens"),
        ({"by": "m", "top": 3, "dedup": 1.5}, "dedup"),
        ({"by": "m", "top": 3, "max_perplexity": 0.5}, "max_perplexity"),
        ({"by": "m", "top": 3, "match_length": True}, "--top N --bottom N"),
        ({"by": "m", "top": 3, "bottom": 3, "caliper": 0.2}, "--caliper is of the pairs of --match-length"),
        ({"where": "m > 1", "given": "length"}, "--given length ranks: expected --by METRIC"),
        ({"by": "m", "top": 3, "given": "loss"}, "given"),
        ({"by": ("m", "-m"), "top": 3}, "one metric twice"),
        ({"by": "-", "top": 3}, "the name of a metric"),
        ({"by": ("a", "b"), "tokens": 3, "combine": "or"}, "expected --combine rank"),
        ({"by": "m", "top": 3, "stratify_equal": True}, "--stratify COLUMN"),
        ({"by": "m", "quantile": "0:1", "stratify": "k", "stratify_equal": True}, "--stratify-equal needs --top"),
        ({"where": "m > 1", "stratify": "k"}, "--stratify shares out"),
        ({"by": "m", "top": 3, "topp": 4}, "topp"),
    ],
)
def test_settings_that_contradict_themselves(options: dict[str, Any], said: str) -> None:
    with pytest.raises(GradPrismError, match=said):
        checked(SelectSettings, options).check()


def test_a_recipe_is_its_yaml() -> None:
    recipe = SelectRecipe.from_options(("run",), "out.jsonl", ["ifd", "-difficulty"], top=200, bottom="10%", seed=3)
    assert recipe.select.by == ("ifd", "-difficulty")
    assert (recipe.select.top, recipe.select.bottom, recipe.read.seed) == ("200", "10%", 3)
    assert checked(SelectRecipe, yaml.safe_load(recipe_text(recipe))) == recipe


def test_a_later_setting_is_written_only_where_it_is_given() -> None:
    """Studies know the steps that are done by a digest of their settings, which stays what it was."""
    plain = SelectRecipe.from_options(("run",), "out.jsonl", "ifd", top=200)
    assert not {"max_perplexity", "caliper", "given"} & {*yaml.safe_load(recipe_text(plain))["select"]}
    cut = SelectRecipe.from_options(("run",), "out.jsonl", "ifd", top=200, max_perplexity=50)
    assert "max_perplexity: 50.0" in recipe_text(cut)
    assert checked(SelectRecipe, yaml.safe_load(recipe_text(cut))) == cut


def test_an_unknown_option_gets_the_nearest() -> None:
    with pytest.raises(GradPrismError, match="did you mean 'stratify'"):
        SelectRecipe.from_options(("run",), None, "ifd", top=3, stratfy="kind")
