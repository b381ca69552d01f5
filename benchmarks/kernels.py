"""Count what a pass asks of a device, by part of the code: kernels, waits for the device, and fp64 numbers written.

    python -m benchmarks.kernels [--layers 28] [--tokens 512,2048] [--precisions exact,fast]

A kernel takes some microseconds to start whatever it does: at short lengths that is the time. Counted on the CPU, on
the path that a GPU takes (stacks), with the attention of Qwen2.5-7B and a small MLP. Views cost nothing and are not
counted; a number that Python reads makes it wait for the device.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

import gradprism
from benchmarks.gpu import analyzers_of, make
from benchmarks.machine import describe
from benchmarks.results import save
from benchmarks.ways import plain
from benchmarks.works import qwen_7b, random_example
from gradprism.prism import analyzer as analyzer_module
from gradprism.prism import factors, matrix_stack, products, reducer, solver
from gradprism.prism.settings import Precision

PACKAGE = str(Path(gradprism.__file__).parent)
VIEWS = {"_unsafe_view", "lift_fresh", "_reshape_alias", "detach", "alias"}  # the schema says so of other views
WAITS = {"_local_scalar_dense", "nonzero", "_linalg_check_errors", "is_nonzero"}
COLUMNS = ("kernels", "waits", "fp64 numbers")
MODEL, PLAIN = "the model's passes, without weights' gradients", "`plain`, for comparison"


class Counter(TorchDispatchMode):
    """Counts the calls that reach a device, by the module of ours that makes them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(COLUMNS, 0.0))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        part, name = self.found[_caller()], func.overloadpacket.__name__
        part["waits"] += name in WAITS
        tensors = [each for each in (result if isinstance(result, (tuple, list)) else [result])
                   if isinstance(each, torch.Tensor)]  # fmt: skip
        is_view = any(each.alias_info and not each.alias_info.is_write for each in func._schema.returns)
        if tensors and not is_view and name not in VIEWS:
            part["kernels"] += 1
            part["fp64 numbers"] += sum(each.numel() for each in tensors if each.dtype == torch.float64)
        return result


def _caller() -> str:
    """Return which part of the package asks: its innermost module but those that torch calls back."""
    frame: Any = sys._getframe(2)
    while frame:
        path = frame.f_code.co_filename
        if path.startswith(PACKAGE):
            part = Path(path).relative_to(PACKAGE).with_suffix("")
            return str(part) if part.parts[0] == "prism" and part.stem != "analyzer" else MODEL
        frame = frame.f_back
    return MODEL


def _go_the_way_of_a_gpu() -> None:
    """Switch off what the code does on a CPU alone, and cut memory as on a card of 80 GB."""
    analyzer_module.arithmetic_of = lambda *_: "as loaded"
    products._BLOCKS, factors._FEWER = ((0, 1),), 1
    matrix_stack._norms_by_tokens = matrix_stack.norms_of_formed
    reducer._WAITING, solver._STACK = {True: 1 << 33, False: 1 << 33}, 1 << 32


def counted(layers: int, tokens: int, rows: int, precision: Precision) -> Mapping[str, Mapping[str, float]]:
    """Count the calls of a batch of examples, and those of an ordinary pass of each under `plain`."""
    config = qwen_7b(layers)
    config.intermediate_size, config.vocab_size = 256, 1024
    model = make(config, torch.float32, "cpu")
    _go_the_way_of_a_gpu()
    analyzer = analyzers_of(model, True, [precision])[precision]
    analyzer._batches.tokens = tokens * rows
    encoded = [random_example(row, tokens, config.vocab_size) for row in range(rows)]
    with Counter() as of_plain:
        plain(model, encoded)
    with Counter() as counter:
        analyzer.analyze_encoded(encoded)
    total = {name: sum(row[name] for row in of_plain.found.values()) for name in COLUMNS}
    return {**counter.found, PLAIN: total}


def lines(found: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Yield the rows of one table, most kernels first."""
    for part, row in sorted(found.items(), key=lambda item: -item[1]["kernels"]):
        if row["kernels"]:
            yield f"| {part} | {row['kernels']:,.0f} | {row['waits']:,.0f} | {row['fp64 numbers'] / 1e6:,.1f} |"
    total = {name: sum(row[name] for part, row in found.items() if part not in (MODEL, PLAIN)) for name in COLUMNS}
    yield f"| ours | {total['kernels']:,.0f} | {total['waits']:,.0f} | {total['fp64 numbers'] / 1e6:,.1f} |"


def main() -> None:
    """Print a table for every length and precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--tokens", default="512,2048")
    parser.add_argument("--rows", type=int, default=1, help="examples in a batch")
    parser.add_argument("--precisions", default="exact,fast")
    options = parser.parse_args()
    print(", ".join(describe().values()))
    results = []
    for tokens in map(int, options.tokens.split(",")):
        for precision in options.precisions.split(","):
            found = counted(options.layers, tokens, options.rows, precision)
            print(f"\n{precision}, T = {tokens:,}, {options.layers} layers, a batch of {options.rows}\n")
            print("| part | kernels | waits | fp64 numbers (millions) |\n|---|---|---|---|")
            print("\n".join(lines(found)), flush=True)
            results.append({"precision": precision, "tokens": tokens, "parts": found})
    save("kernels", {"layers": options.layers, "rows": options.rows, "results": results})


if __name__ == "__main__":
    main()
