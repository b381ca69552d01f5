"""Every projection of every family in the table against autograd on its weight and SVD in fp64."""

from collections.abc import Sequence
from typing import Any

import pytest
from tests import oracle
from tests.conftest import ROOT
from tests.families import FAMILIES
from tests.families.family import MEASURES, Family, examples, true_gradients
from tests.families.page import page

from gradprism import GradientAnalyzer
from gradprism.data.encode import Encoded
from gradprism.data.example import Example, Turn
from gradprism.data.settings import TextSettings
from gradprism.models.positions import position_limit

FAST = {"llama", "gpt2", "gpt_neox", "falcon", "phi3", "qwen3_moe", "phimoe", "llama4_text", "deepseek_v3", "lfm2"}
ONE_OF_EACH = FAST | {family.name for family in {family.layout: family for family in reversed(FAMILIES)}.values()}


def marks(family: Family) -> list[pytest.MarkDecorator]:
    """Return none for a family of `make check`, slow for one of `make test`, and exhaustive for the others."""
    if family.name in FAST:
        return []
    return [pytest.mark.slow] if family.name in ONE_OF_EACH else [pytest.mark.slow, pytest.mark.exhaustive]


EACH = [pytest.param(family, id=family.name, marks=marks(family)) for family in FAMILIES]
TURNS = (Turn("user", "a"), Turn("assistant", "b"))


def measured(family: Family, model: Any, tokenizer: Any) -> Any:
    """All projections of two examples of different length, in one padded batch."""
    names = [*family.attention, *family.mlp]
    encoded = [(Example(row, str(row), TURNS), Encoded(*item, False)) for row, item in enumerate(examples())]
    tables = GradientAnalyzer(model, tokenizer, projections=names, batch_tokens=10_000).analyze_encoded(encoded)
    assert tables.examples["status"].to_list() == ["ok", "ok"], tables.examples["reason"].to_list()
    return tables


@pytest.mark.parametrize("family", EACH)
@pytest.mark.slow
def test_every_projection_equals_autograd_on_its_weight(family: Family, tokenizer: Any) -> None:
    """In fp32, as users run it, within 3e-5 (the largest seen is 6e-6); in fp64, where only the method can err, 2e-6.

    The head computes the loss in fp32 whatever the model is. The truth is each example by itself, in fp64 (XGLM's code
    has none: fp32, and the same bound for both). Means and cosines, which may cancel to nothing, are as close as the
    mean size of an entry and as 1.
    """
    model = family.make()
    truth = family.in_truth(model)
    gradients = [true_gradients(family, truth, *item) for item in examples()]
    for tables, in_fp64 in ((measured(family, model, tokenizer), False), (measured(family, truth, tokenizer), True)):
        error = 2e-6 if in_fp64 and family.in_fp64 else 3e-5
        keys = [(row, layer, name) for row in range(2) for name, layer in family.places()]
        assert sorted(tables.spectra.select("row", "layer", "projection").iter_rows()) == sorted(keys)
        for row in tables.spectra.iter_rows(named=True):
            assert_measures(row, gradients[row["row"]][row["projection"], row["layer"]], error)
        assert_cosines(tables.similarity, gradients, error)


def assert_measures(row: dict[str, Any], gradient: Any, error: float) -> None:
    assert (row["d_out"], row["d_in"]) == gradient.shape
    expected = oracle.measures(gradient, min(len(examples()[row["row"]][0]) - 1, *gradient.shape))
    for measure in MEASURES:
        at = row["projection"], row["layer"], measure
        assert row[measure] == pytest.approx(expected[measure], rel=error), at
    assert row["grad_mean"] == pytest.approx(gradient.mean(), abs=error * abs(gradient).mean())


def assert_cosines(similarity: Any, gradients: Sequence[Any], error: float) -> None:
    """Of k with v and of q with o in each layer that has both; null where their shapes differ."""
    expected = {
        (row, layer, f"{a}-{b}"): oracle.cosine(true[a, layer], true[b, layer])
        if true[a, layer].shape == true[b, layer].shape
        else None
        for row, true in enumerate(gradients)
        for a, b in ("kv", "qo")
        for name, layer in true
        if name == a and (b, layer) in true
    }
    found = similarity.filter(kind="same_layer").select("row", "layer", "pair", "cosine")
    assert {(row, layer, pair): cosine for row, layer, pair, cosine in found.iter_rows()} == pytest.approx(
        expected, abs=error
    )


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "mpt", "gemma3 (with vision)", "llava", "qwen3_vl"])
def test_no_more_tokens_than_a_model_has_positions(name: str) -> None:
    """Each calls them something else."""
    family = next(each for each in FAMILIES if each.name == name)
    assert TextSettings(max_length=4096).at_most(position_limit(family.make().config)).max_length == 128


def test_the_table_of_the_documents_is_that_of_the_tests() -> None:
    text = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")
    assert page(text) == text, "write it anew: python -m tests.families.page"
