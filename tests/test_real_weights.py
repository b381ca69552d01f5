"""Both built-in models, fetched from the package registry, against autograd in fp64 and an fp64 SVD on the spot."""

import polars as pl
import pytest

from gradprism import GradientAnalyzer
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.settings import CheckpointSettings
from tests import oracle

pytestmark = pytest.mark.slow  # real weights, and full SVDs of their gradients


@pytest.mark.parametrize("name", ["smollm2-135m", pytest.param("gemma-3-270m", marks=pytest.mark.exhaustive)])
def test_every_projection_of_some_layers_equals_autograd(name: str, sample_rows: list[dict[str, str]]) -> None:
    checkpoint = find_checkpoint(CheckpointSettings(model=name))
    model, tokenizer = checkpoint.load_model(), checkpoint.load_tokenizer()
    row = sample_rows[2]
    prompt = row["instruction"] + (f"\n{row['input']}" if row["input"] else "") + "\n"
    ids = tokenizer(prompt + row["output"])["input_ids"]
    mask = [position >= len(tokenizer.encode(prompt)) for position in range(len(ids))]
    layers = (0, model.config.num_hidden_layers // 2, model.config.num_hidden_layers - 1)
    weights = {(p, i): f"model.layers.{i}.self_attn.{p}_proj.weight" for p in "qkvo" for i in layers}
    weights |= {(p, i): f"model.layers.{i}.mlp.{p}_proj.weight" for p in ("gate", "up", "down") for i in layers}
    truth = oracle.TrueModel(model).gradients(ids, mask, list(weights.values()))
    tables = GradientAnalyzer(model, tokenizer, projections=[p for p, i in weights if not i]).analyze([row])
    assert tables.examples["loss"][0] == pytest.approx(truth["loss"], abs=3e-5)
    for found in tables.spectra.filter(pl.col("layer").is_in(layers)).iter_rows(named=True):
        gradient = truth[weights[found["projection"], found["layer"]]]
        expected = oracle.measures(gradient, min(len(ids) - 1, *gradient.shape))
        for measure, value in expected.items():
            assert found[measure] == pytest.approx(value, rel=3e-5), (found["layer"], found["projection"], measure)
