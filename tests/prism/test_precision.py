from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gradprism
from gradprism import GradientAnalyzer
from gradprism.models.full_precision import full_products
from gradprism.prism import precision
from gradprism.prism.precision import Arithmetic, Computing, arithmetic_of

CPU = torch.device("cpu")
REDUCED: list[Arithmetic] = ["TF32 products", "bf16 products", "bf16 autocast", "int8 products"]


def test_what_a_precision_comes_to_follows_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    has: dict[str, bool] = {}
    monkeypatch.setattr(precision, "_cpu_capabilities", lambda: has)
    assert [arithmetic_of(p, CPU) for p in ("exact", "balanced", "fast")] == ["as loaded"] * 3
    has["avx512_vnni"] = True
    assert [arithmetic_of(p, CPU) for p in ("exact", "balanced", "fast")] == ["as loaded", "as loaded", "int8 products"]
    has["amx_bf16"] = True
    assert [arithmetic_of(p, CPU) for p in ("exact", "balanced", "fast")] == [
        "as loaded", "bf16 products", "bf16 autocast",
    ]  # fmt: skip


@pytest.mark.parametrize("arithmetic", REDUCED)
def test_everything_is_put_back(arithmetic: Arithmetic, make_model: Callable[..., Any]) -> None:
    model = make_model("llama")
    before = {name: dict(vars(module)) for name, module in model.named_modules()}
    torch.set_float32_matmul_precision("high")
    try:
        with pytest.raises(IndexError), Computing(model, arithmetic, CPU)():
            model(torch.tensor([[1, 10**6]]))  # no such token
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert not torch.is_autocast_enabled("cpu")
    assert {name: dict(vars(module)) for name, module in model.named_modules()} == before


def test_exact_turns_reduced_products_off_and_so_do_spectra(make_model: Callable[..., Any]) -> None:
    torch.set_float32_matmul_precision("medium")
    try:
        with Computing(make_model("llama"), "as loaded", CPU)():
            assert torch.get_float32_matmul_precision() == "highest"
        with torch.autocast("cpu", torch.bfloat16), full_products():
            assert torch.get_float32_matmul_precision() == "highest"
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


def test_int8_products_and_their_gradient_are_within_a_percent() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(256, 128).requires_grad_(False)
    x, deltas = torch.randn(2, 50, 256), torch.randn(2, 50, 128)
    deltas[1, 20:] = 0.0
    inputs = x.clone().requires_grad_(True)
    with Computing(nn.Sequential(linear), "int8 products", CPU)():
        outputs = linear(inputs)
        outputs.backward(deltas)
    truth = linear(x)
    assert torch.linalg.norm(outputs - truth) < 0.015 * torch.linalg.norm(truth)
    expected = deltas @ linear.weight
    assert inputs.grad is not None
    assert torch.linalg.norm(inputs.grad - expected) < 0.015 * torch.linalg.norm(expected)
    assert not inputs.grad[1, 20:].any()  # what is exactly zero stays so: such tokens are left out


def test_weights_trained_in_between_are_rounded_anew() -> None:
    linear, x = nn.Linear(8, 8).requires_grad_(False), torch.randn(3, 8)
    computing = Computing(nn.Sequential(linear), "int8 products", CPU)
    with computing():
        linear(x)
    linear.weight.mul_(2.0)
    with computing():
        outputs = linear(x)
    torch.testing.assert_close(outputs, linear(x), rtol=0.05, atol=0.05)


def test_memory_that_runs_out_leaves_no_layer_in_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    make = precision._Int8Linear

    def once(linear: nn.Linear) -> Any:
        if linear is layers[1]:
            raise torch.OutOfMemoryError
        return make(linear)

    monkeypatch.setattr(precision, "_Int8Linear", once)
    with pytest.raises(torch.OutOfMemoryError), Computing(layers, "int8 products", CPU)():
        pass
    assert not any("forward" in vars(layer) for layer in layers)


def test_a_value_that_is_not_finite_stays_so_in_int8() -> None:
    linear, x = nn.Linear(8, 8).requires_grad_(False), torch.randn(2, 8)
    x[0, 3], x[1, 3] = torch.nan, torch.inf
    with Computing(nn.Sequential(linear), "int8 products", CPU)():
        assert linear(x).isnan().all()


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3"])
@pytest.mark.parametrize("arithmetic", ["bf16 autocast", "int8 products"])
@pytest.mark.slow
def test_measures_stay_close(
    arithmetic: Arithmetic, family: str, make_model: Callable[..., Any], tokenizer: Any,
    sample_rows: list[dict[str, str]],
) -> None:  # fmt: skip
    model = make_model(family)
    exact, reduced = (GradientAnalyzer(model, tokenizer, max_length=120) for _ in range(2))
    reduced._computing = Computing(model, arithmetic, CPU, but=[model.lm_head])
    expected, found = exact.analyze(sample_rows[:4]), reduced.analyze(sample_rows[:4])
    assert found.examples["status"].to_list() == ["ok"] * 4
    for measure in ("nuclear_norm", "effective_rank"):
        off = np.abs(found.spectra[measure] / expected.spectra[measure] - 1)
        assert 0 < np.median(off) < 0.1


def test_precision_is_written_with_the_run(
    tiny_checkpoint: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_cpu_capabilities", lambda: {"avx512_vnni": True})
    rows = [{"prompt": "a", "completion": "b c d"}]
    made = gradprism.spectra(rows, tiny_checkpoint, out=tmp_path / "run", precision="fast")
    assert made.record["identity"]["arithmetic"] == "int8 products"
    monkeypatch.setattr(precision, "_cpu_capabilities", lambda: {"amx_bf16": True})
    with pytest.raises(gradprism.GradPrismError, match="arithmetic"):
        gradprism.spectra(rows, tiny_checkpoint, out=tmp_path / "run", precision="fast")
