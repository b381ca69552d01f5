"""On a CUDA GPU, against the same model in fp64 on the CPU."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from gradprism import GradientAnalyzer
from gradprism.data.encode import Encoded
from gradprism.data.example import Example
from gradprism.prism.eigen_pool import EigenPool
from gradprism.prism.factors import Factors
from gradprism.prism.precision import Arithmetic
from gradprism.prism.settings import Precision
from gradprism.prism.spectrum import solve, spectra_of
from gradprism.prism.tables import Tables

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU; this machine has none")

LENGTHS = (20, 50, 190, 190, 300, 700)  # of examples; the models are 256 wide
MEASURES = ("nuclear_norm", "effective_rank", "frobenius_norm", "spectral_norm")


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2048, hidden_size=256, intermediate_size=512, num_hidden_layers=4,
        num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=1024,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def encoded() -> list[tuple[Example, Encoded]]:
    random = np.random.default_rng(0)
    made = []
    for row, n in enumerate(LENGTHS):
        ids, mask = random.integers(2048, size=n).tolist(), (False,) * (n // 4) + (True,) * (n - n // 4)
        made.append((Example(row, str(row), ()), Encoded(tuple(ids), mask, truncated=False)))
    return made


@pytest.fixture(scope="module")
def truth(model: Any, encoded: list[tuple[Example, Encoded]]) -> Tables:
    return GradientAnalyzer(copy.deepcopy(model).double(), None).analyze_encoded(encoded)


@pytest.fixture(scope="module")
def on_gpu(model: Any, truth: Tables) -> Iterator[Any]:
    yield model.cuda()
    model.cpu()


def errors(found: Tables, truth: Tables) -> dict[str, float]:
    assert found.examples["status"].to_list() == ["ok"] * len(LENGTHS)
    worst = {name: float((found.spectra[name] / truth.spectra[name] - 1).abs().max()) for name in MEASURES}
    return worst | {"cosine": float((found.similarity["cosine"] - truth.similarity["cosine"]).abs().max())}


@pytest.mark.parametrize("share", [0.0, None, 1.0], ids=["every matrix on the GPU", "by speed", "all on threads"])
def test_exact_is_as_exact_as_on_a_cpu(
    on_gpu: Any, encoded: list[tuple[Example, Encoded]], truth: Tables, share: float | None
) -> None:
    analyzer = GradientAnalyzer(on_gpu, None)
    analyzer.pool = EigenPool(4, stacked=True, share=share)
    assert max(errors(analyzer.analyze_encoded(encoded), truth).values()) < 2e-5


def test_gradients_of_zero_have_no_values() -> None:
    zeros = Factors.of(torch.randn(5, 8, device="cuda"), torch.zeros(5, 6, device="cuda"))
    assert spectra_of([zeros] * 2, [solve([zeros] * 2)]).shape == (2, 0)


@pytest.mark.parametrize(
    ("precision", "arithmetic", "most"), [("balanced", "TF32 products", 1e-2), ("fast", "bf16 autocast", 0.1)]
)
def test_reduced_precisions_stay_close(
    on_gpu: Any, encoded: list[tuple[Example, Encoded]], truth: Tables, precision: Precision,
    arithmetic: Arithmetic, most: float,
) -> None:  # fmt: skip
    analyzer = GradientAnalyzer(on_gpu, None, precision=precision)
    assert analyzer.arithmetic == arithmetic
    assert 1e-6 < max(errors(analyzer.analyze_encoded(encoded), truth).values()) < most


def test_out_of_memory_halves_the_batch_and_goes_on(
    on_gpu: Any, encoded: list[tuple[Example, Encoded]], truth: Tables
) -> None:
    analyzer = GradientAnalyzer(on_gpu, None, batch_tokens=10_000)
    analyzer.analyze_encoded(encoded[-1:])
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    analyzer.analyze_encoded(encoded[-1:])
    enough_for_one = torch.cuda.max_memory_allocated() * 1.3
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(enough_for_one / torch.cuda.get_device_properties(0).total_memory)
    try:
        many = [(Example(row, str(row), ()), encoded[-1][1]) for row in range(6)]
        found = analyzer.analyze_encoded(many)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert found.examples["status"].to_list() == ["ok"] * 6, found.examples["reason"].to_list()
    assert analyzer._batches.tokens < 10_000
    longest = truth.spectra.filter(row=len(LENGTHS) - 1)["nuclear_norm"]
    for row in range(6):
        np.testing.assert_allclose(found.spectra.filter(row=row)["nuclear_norm"], longest, rtol=2e-5)
