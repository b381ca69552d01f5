"""Exact results inside autocast, accelerate, reduced fp32 products and torch.compile: those without, bit for bit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

import gradprism
from gradprism import GradientAnalyzer, GradPrismError
from gradprism.models.full_precision import model_itself
from gradprism.models.sources import LoadedModel
from gradprism.prism.tables import Tables

Rows = list[dict[str, str]]


@contextmanager
def set_to(name: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
        assert torch.get_float32_matmul_precision() == name
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def backend_set_to(value: str) -> Iterator[None]:
    """By the names that torch has had since 2.9, for one backend: reading the process's own setting then fails."""
    matmul = getattr(torch.backends.mkldnn, "matmul", None)
    if matmul is None or not hasattr(matmul, "fp32_precision"):
        pytest.skip("this torch has no setting for each backend")
    before = matmul.fp32_precision
    matmul.fp32_precision = value
    try:
        yield
        assert matmul.fp32_precision == value
    finally:
        matmul.fp32_precision = before


@contextmanager
def allowed_tf32() -> Iterator[None]:
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.matmul.allow_tf32 = False


@contextmanager
def autocast(dtype: torch.dtype) -> Iterator[None]:
    with torch.autocast("cpu", dtype):
        yield
        assert torch.is_autocast_enabled("cpu")
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


AMBIENT: dict[str, Callable[[], Any]] = {
    "autocast to bf16": lambda: autocast(torch.bfloat16),
    "autocast to fp16": lambda: autocast(torch.float16),
    "TF32": lambda: set_to("high"),
    "bf16 products": lambda: set_to("medium"),
    "TF32 of CUDA": allowed_tf32,
    "TF32 of oneDNN": lambda: backend_set_to("tf32"),
    "bf16 of oneDNN": lambda: backend_set_to("bf16"),
}


def assert_equal(found: Tables, expected: Tables) -> None:
    assert expected.examples["status"].to_list() == ["ok"] * expected.examples.height
    assert found.examples.equals(expected.examples)
    assert found.spectra.equals(expected.spectra)
    assert found.similarity.equals(expected.similarity)


@pytest.mark.parametrize("ambient", AMBIENT)
@pytest.mark.parametrize("family", ["llama", pytest.param("gemma3", marks=pytest.mark.exhaustive)])
@pytest.mark.slow
def test_what_the_process_has_set_changes_nothing(
    ambient: str, family: str, make_model: Callable[..., Any], tokenizer: Any, sample_rows: Rows
) -> None:
    model, rows = make_model(family), sample_rows[:3]
    expected = GradientAnalyzer(model, tokenizer, max_length=80).analyze(rows)
    ifd = gradprism.ifd(rows, model, tokenizer=tokenizer, max_length=80)
    with AMBIENT[ambient]():
        found = GradientAnalyzer(model, tokenizer, max_length=80).analyze(rows)
        again = gradprism.ifd(rows, model, tokenizer=tokenizer, max_length=80)
        run = gradprism.spectra(rows, model, tokenizer=tokenizer, max_length=80)
    assert_equal(found, expected)
    assert again.equals(ifd)
    assert run.spectra["nuclear_norm"].to_list() == expected.spectra["nuclear_norm"].to_list()


@pytest.mark.parametrize("ambient", ["autocast to bf16", "bf16 products"])
def test_nor_a_reward(ambient: str, make_model: Callable[..., Any], tokenizer: Any, sample_rows: Rows) -> None:
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    config = make_model("llama").config
    config.num_labels = 1
    model = AutoModelForSequenceClassification.from_config(config).eval()
    expected = gradprism.reward(sample_rows[:3], model, tokenizer=tokenizer)
    with AMBIENT[ambient]():
        assert gradprism.reward(sample_rows[:3], model, tokenizer=tokenizer).equals(expected)


@pytest.mark.slow  # half a second or more
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_model_that_accelerate_has_prepared(
    precision: str, make_model: Callable[..., Any], tokenizer: Any, sample_rows: Rows
) -> None:
    """Its forward is wrapped in autocast, and what it gives is made fp32 again: nothing of that shows outside."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import convert_outputs_to_fp32

    AcceleratorState._reset_state(reset_partial_state=True)  # of trainings before it in this process
    model, rows = make_model("llama"), sample_rows[:3]
    expected = GradientAnalyzer(model, tokenizer, max_length=80).analyze(rows)
    losses = gradprism.loss(rows, model, tokenizer=tokenizer, max_length=80)
    if precision == "bf16":
        model = Accelerator(mixed_precision="bf16", cpu=True).prepare_model(model)
    else:  # which accelerate refuses on a CPU; wrapped the same way
        model._original_forward = model.forward
        model.forward = convert_outputs_to_fp32(torch.autocast("cpu", torch.float16)(model.forward))
    ids = torch.tensor([[5, 6, 7]])
    wrapped = model(input_ids=ids).logits
    assert not torch.equal(wrapped, model._original_forward(input_ids=ids).logits)
    assert_equal(GradientAnalyzer(model, tokenizer, max_length=80).analyze(rows), expected)
    assert gradprism.loss(rows, model, tokenizer=tokenizer, max_length=80).equals(losses)
    assert torch.equal(model(input_ids=ids).logits, wrapped)


def compiled_whole(model: Any) -> Any:
    return torch.compile(model, backend="eager")


def compiled_in_place(model: Any) -> Any:
    model.compile(backend="eager")
    return model


def compiled_forward(model: Any) -> Any:
    model.forward = torch.compile(model.forward, backend="eager")
    return model


def compiled_layers(model: Any) -> Any:
    for layer in model.model.layers:
        layer.compile(backend="eager")
    return model


@pytest.mark.slow  # starts the compiler
@pytest.mark.parametrize("compiled", [compiled_whole, compiled_in_place, compiled_forward, compiled_layers])
@pytest.mark.parametrize("used_before", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
def test_a_compiled_model_is_measured_as_itself(
    compiled: Callable[[Any], Any], used_before: bool, make_model: Callable[..., Any], tokenizer: Any,
    sample_rows: Rows,
) -> None:  # fmt: skip
    rows = sample_rows[:2]
    expected = GradientAnalyzer(make_model("llama"), tokenizer, max_length=60).analyze(rows)
    model = compiled(make_model("llama"))
    if used_before:
        model(input_ids=torch.tensor([[5, 6, 7]]))
    assert_equal(GradientAnalyzer(model, tokenizer, max_length=60).analyze(rows), expected)
    run = gradprism.spectra(rows, model, tokenizer=tokenizer, max_length=60)
    assert run.spectra["nuclear_norm"].to_list() == expected.spectra["nuclear_norm"].to_list()
    model(input_ids=torch.tensor([[5, 6, 7]]))


@pytest.mark.parametrize("take", [GradientAnalyzer, LoadedModel])
def test_a_model_spread_by_a_wrapper_is_refused(
    take: Callable[..., Any], make_model: Callable[..., Any], tokenizer: Any
) -> None:
    model = make_model("llama")
    wrapped = nn.DataParallel(model)
    with pytest.raises(GradPrismError, match=r"Given a DataParallel.*`\.module`"):
        take(wrapped, tokenizer)
    assert take(wrapped.module, tokenizer)


def test_distributed_and_sharded_wrappers_are_known_by_their_classes(make_model: Callable[..., Any]) -> None:
    for name, words in (("DistributedDataParallel", r"`\.module`"), ("FullyShardedDataParallel", "a whole model")):
        wrapped = type(name, (nn.Module,), {})()  # the real ones need several processes
        with pytest.raises(GradPrismError, match=f"Given a {name}.*{words}"):
            model_itself(wrapped)
        outer = nn.Sequential(wrapped)
        with pytest.raises(GradPrismError, match="at 0"):
            model_itself(outer)
    model = make_model("llama")
    assert model_itself(model) is model
