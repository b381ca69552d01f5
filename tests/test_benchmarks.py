"""The benchmark scripts run: what they time elsewhere works here, small."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gradprism.prism.estimated_spectrum import estimate
from gradprism.prism.matrix_stack import MatrixStack
from tests.conftest import ROOT

pytestmark = pytest.mark.slow  # models are loaded, and passes timed


def bench(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_gpu_benchmark_takes_the_same_path_on_a_cpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import gpu

    small = ["--device", "cpu", "--layers", "2", "--width", "64", "--tokens", "40,120", "--rows", "1",
             "--dtypes", "bfloat16,float32"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["gpu", *small, "--repeats", "1", "--no-save", "--stacked"])
    gpu.main()
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith(("bfloat16", "float32"))]
    assert [(row[0], int(row[1])) for row in rows] == [
        ("bfloat16", 40), ("bfloat16", 120), ("float32", 40), ("float32", 120),
    ]  # fmt: skip
    assert all(float(ratio) > 0 for row in rows for ratio in row[3:])


@pytest.mark.exhaustive  # smollm2-135m in a process of its own: no number of the package depends on it
def test_peak_memory_is_read_in_a_process_of_its_own(tmp_path: Path) -> None:
    found = json.loads(bench("benchmarks.memory", "--inside", "2,exact").splitlines()[-1])
    assert found["ok"] == found["examples"]
    assert found["peak_mib"] >= found["loaded_mib"] > 0


@pytest.mark.exhaustive  # files of 120 MiB in processes of their own: no number of the package depends on it
def test_an_import_and_an_export_take_the_same_memory_for_more_lines() -> None:
    output = bench("benchmarks.interop", "--mib", "30", "90", "--no-save")
    peaks = {tuple(line.split()[:2]): int(line.split()[-2]) for line in output.splitlines() if "peak" in line}
    for verb in ("import", "export"):
        assert peaks[verb, "90"] < peaks[verb, "30"] + 40  # MiB; the file grows by 60


def test_the_table_of_errors_against_fp64(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import exactness

    small = ["--models", str(tiny_checkpoint), "--rows", "2", "--mlp", "--no-save"]
    monkeypatch.setattr(sys, "argv", ["exactness", *small])
    exactness.main()
    output = capsys.readouterr().out
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in output.splitlines() if line.startswith("| ")]
    errors = {row[0]: (float(row[1]), float(row[2])) for row in table[1:]}
    assert {"loss", "cosine", "nuclear norm", "effective rank", "largest entry"} <= errors.keys()
    for name, (largest, median) in errors.items():
        assert 0 < median <= largest < (5e-4 if "entry" in name else 3e-5), name


def test_the_cost_of_options_is_a_ratio(
    make_model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import options
    from benchmarks.works import Work, random_example

    rows = [random_example(row, 30, len(tokenizer)) for row in range(2)]
    tiny = Work("tiny", lambda: (make_model("llama"), tokenizer, rows))
    monkeypatch.setattr(options, "the_four", lambda data: [tiny])
    monkeypatch.setattr(sys, "argv", ["options", "--repeats", "1", "--no-save"])
    options.main()
    found = {line[:18].strip(): float(line[18:].split()[0]) for line in capsys.readouterr().out.splitlines()[1:]}
    assert found.keys() == {*options.OPTIONS, "--target"}
    assert all(ratio > 0 for ratio in found.values())


def test_estimates_are_compared_with_power_laws(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks import estimated_tail

    monkeypatch.setattr(sys, "argv", ["estimated_tail", "--repeats", "2", "--blocks", "3", "--no-save"])
    estimated_tail.main()
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| n = 1,040")]
    assert len(rows) == 4
    assert all(float(row.split("|")[3].split(",")[1]) < 1e-2 for row in rows)  # 95% of nuclear norms


@pytest.mark.parametrize(("rows", "blocks"), [(None, 3), (None, 5), (520, 3)])
def test_operations_are_counted_as_the_code_asks_for_them(rows: int | None, blocks: int) -> None:
    """Every product of an estimate, by its shapes, against the count that predictions for cards are made of."""
    from benchmarks.sizing import estimate_operations

    from gradprism.prism import matrix_stack

    random = torch.Generator().manual_seed(0)
    deltas, inputs = (torch.randn(520, width, generator=random) for width in (900, 640))
    with Operations() as counted, pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrix_stack, "_norms_by_tokens", matrix_stack.norms_of_formed)  # the way of a GPU
        stack = MatrixStack.of_factors([deltas], [inputs]) if rows else MatrixStack.of_gradients([deltas.T @ inputs])
        if not rows:
            counted.found.clear()  # forming is a part of its own
        estimate(stack, [520], [[0]], blocks)
    expected = estimate_operations(900, 640, rows, blocks)
    expected["fp32"] += expected.pop("tf32", 0.0)
    assert counted.found["fp64"] == pytest.approx(expected["fp64"], rel=0.02)  # decompositions of blocks are left out
    assert counted.found["fp32"] == pytest.approx(expected["fp32"], rel=0.02)


class Operations(TorchDispatchMode):
    """Counts the operations of matrix products and triangular solutions by type."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in ("mm", "bmm", "baddbmm"):
            self.found[_KIND[result.dtype]] += 2 * result.numel() * args[1 if name == "baddbmm" else 0].shape[-1]
        elif name == "linalg_solve_triangular":
            self.found[_KIND[result.dtype]] += result.numel() * args[0].shape[-1]
        return result


_KIND = {torch.float32: "fp32", torch.float64: "fp64"}
