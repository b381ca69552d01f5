"""Real weights, real data, against reference values computed elsewhere in fp64 throughout: norms and loss too."""

import json
from pathlib import Path
from typing import Any

import pytest

from gradprism import GradientAnalyzer
from gradprism.prism.tables import Tables

pytestmark = pytest.mark.slow  # real examples of up to 505 tokens, one by one and in a batch; of up to 1,024 in all

EXACT, EXACT_ENTRY = 3e-5, 5e-4  # what fp32 may be off, on any machine; single entries are sums that cancel
MEASURES = ("nuclear_norm", "effective_rank", "frobenius_norm", "spectral_norm")


@pytest.fixture(scope="module")
def reference(shared: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((shared / "reference" / "smollm2-135m.json").read_text())
    return loaded


@pytest.fixture(scope="module")
def rows(shared: Path, reference: dict[str, Any]) -> list[dict[str, str]]:
    def read(item: dict[str, Any]) -> dict[str, str]:
        home = "" if item["file"].startswith("reasoning") else "quality"
        row = json.loads((shared / "data" / home / item["file"]).read_text())[item["index"]]
        return {name: row[name] for name in ("instruction", "input", "output") if name in row}

    return [read(item) for item in reference["examples"]]


Measured = tuple[Tables, list[dict[str, Any]]]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((1, 450), id="one by one", marks=pytest.mark.exhaustive),
        pytest.param((3, 450), id="a batch of three"),
        pytest.param((4, 600), id="a batch of four", marks=pytest.mark.exhaustive),
        pytest.param((4, 1024), id="batches of four", marks=pytest.mark.exhaustive),  # ninety seconds
    ],
)
def measured(
    request: pytest.FixtureRequest, smollm2: Any, rows: list[dict[str, str]], reference: dict[str, Any]
) -> Measured:
    """Measure the examples of at most so many tokens; return the tables, and what the reference says of each."""
    (size, longest), examples = request.param, reference["examples"]
    chosen = [i for i, item in enumerate(examples) if item["n_tokens"] <= longest]
    assert len(chosen) >= 3
    budget = 1 if size == 1 else 4 * reference["max_length"]
    sizes: list[int] = []
    analyzer = GradientAnalyzer(*smollm2, max_length=reference["max_length"], batch_tokens=budget, entry_stats=True)
    made = analyzer.analyze([rows[i] for i in chosen], lambda examples, tokens: sizes.append(examples))
    assert max(sizes) >= size
    return made, [examples[i] for i in chosen]


def test_tokens_and_losses(measured: Measured) -> None:
    tables, examples = measured
    for found, item in zip(tables.examples.iter_rows(named=True), examples, strict=True):
        assert (found["n_tokens"], found["n_response_tokens"]) == (item["n_tokens"], item["n_response_tokens"])
        assert found["loss"] == pytest.approx(item["loss"], abs=EXACT)


def test_measures_of_every_layer_and_projection(measured: Measured) -> None:
    tables, examples = measured
    for index, item in enumerate(examples):
        of_example = tables.spectra.filter(row=index)
        assert of_example.height == 4 * len(item["layers"])
        for found in of_example.iter_rows(named=True):
            expected = item["layers"][found["layer"]][found["projection"]]
            for name in MEASURES:
                assert found[name] == pytest.approx(expected[name], rel=EXACT), (index, found["layer"], name)
            for name in ("grad_min", "grad_max"):
                assert found[name] == pytest.approx(expected[name], rel=EXACT_ENTRY)
            assert found["grad_mean"] == pytest.approx(expected["grad_mean"], abs=1e-6 * expected["grad_max"])
            assert found["singular_values"][:5] == pytest.approx(
                expected["top5"][: len(found["singular_values"])], rel=1e-4
            )


def test_cosines(measured: Measured) -> None:
    tables, examples = measured
    for index, item in enumerate(examples):
        cosines = {
            (kind, pair, other): value
            for kind, pair, other, value in tables.similarity.filter(row=index)
            .select("kind", "pair", "other_layer", "cosine")
            .iter_rows()
        }
        for layer in item["layers"]:
            number = layer["layer"]
            assert cosines["same_layer", "k-v", number] == pytest.approx(layer["cos_kv"], abs=EXACT)
            assert cosines["same_layer", "q-o", number] == pytest.approx(layer["cos_qo"], abs=EXACT)
            for pair, value in (layer.get("cos_prev") or {}).items():
                assert cosines["adjacent", pair, number] == pytest.approx(value, abs=EXACT)
