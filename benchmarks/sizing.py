"""What a large run would take, reckoned from what was measured: GPU hours, storage, parts.

    python -m benchmarks.sizing [--examples 1000000] [--tokens 600] [--tflops 40,400]

Time: a training pass takes 6 N T floating-point operations for N parameters and T tokens; ours takes the share of it
that `benchmarks.cost` measured on the shape of a 7B model, on a CPU. A GPU does the model's part of that at the rate
given. Its fp64 eigenvalue problems are given as the core hours they took here, at 512 tokens; `benchmarks.gpu` measures
all of it on a GPU, and docs/speed.md has the figures of one. A model on several GPUs keeps one of them busy at a time,
and pays for all. Storage: bytes per row of real runs (zstd Parquet).
"""

import argparse
from dataclasses import dataclass

from benchmarks.results import load
from gradprism.measurement.estimate import BYTES_PER_COSINE, BYTES_PER_GRADIENT, BYTES_PER_VALUE

MEASURED_EXAMPLES, MEASURED_LAYERS, MEASURED_CORES = 2, 2, 2  # of the work of `benchmarks.cost` that is taken
PART_MB = 64  # of a part worth opening: object stores and Parquet readers like 10 to 100 MB


@dataclass(frozen=True)
class Shape:
    """A model, as far as it decides cost and storage."""

    name: str
    parameters: float
    layers: int
    widths: tuple[int, ...]  # min(d_out, d_in) of q, k, v, o
    gpus: int  # of 80 GB, what one worker takes; they work one after the other
    weights: str

    def values(self, tokens: int) -> int:
        """Singular values of one example."""
        return self.layers * sum(min(tokens - 1, width) for width in self.widths)

    def megabytes(self, tokens: int, spectrum: bool) -> float:
        """Of one example in a run."""
        gradients = self.layers * len(self.widths)
        cosines = (self.layers - 1) * len(self.widths) + 2 * self.layers
        rest = BYTES_PER_GRADIENT * gradients + BYTES_PER_COSINE * cosines
        return (rest + BYTES_PER_VALUE * self.values(tokens) * spectrum) / 1e6

    def floating_point_operations(self, tokens: int) -> float:
        """Of one example's ordinary training pass."""
        return 6 * self.parameters * tokens


SHAPES = (
    Shape("7B (Qwen2.5-7B)", 7.6e9, 28, (3584, 512, 512, 3584), 1, "31 GB in fp32"),
    Shape("70B (Llama-3-70B)", 70.6e9, 80, (8192, 1024, 1024, 8192), 3, "141 GB in bf16"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=1_000_000)
    parser.add_argument("--tokens", type=int, default=600)
    parser.add_argument("--tflops", default="40,400", help="what a GPU really does of the model's products")
    options = parser.parse_args()
    work = load("cost")["works"][-1]["seconds"]
    ours, floor = work["gradprism"] / work["plain"], work["floor"] / work["plain"]
    layer = (work["gradprism"] - work["floor"]) / MEASURED_EXAMPLES / MEASURED_LAYERS * MEASURED_CORES  # core seconds
    print(
        f"{options.examples:,} examples of {options.tokens:,} tokens. On the shape of a 7B model ours took {ours:.2f}"
    )
    print(f"of a training pass, of that {floor:.2f} the model's own two passes (fp32, on a CPU).\n")
    for shape in SHAPES:
        print(f"{shape.name}: {shape.values(options.tokens):,} singular values an example, weights of {shape.weights}, "
              f"{shape.gpus} GPUs of 80 GB a worker")  # fmt: skip
        for rate in map(float, options.tflops.split(",")):
            hours = options.examples * shape.floating_point_operations(options.tokens) / (rate * 1e12) / 3600
            print(f"  at {rate:>5,.0f} TFLOP/s: {hours * floor * shape.gpus:>8,.0f} GPU hours for the model's passes"
                  f" (a training pass: {hours * shape.gpus:,.0f}), and the eigenvalue problems")  # fmt: skip
        if shape is SHAPES[0]:
            core_hours = options.examples * layer * shape.layers / 3600
            print(f"  eigenvalue problems and the rest, on CPUs as measured: {core_hours:,.0f} core hours")
        for spectrum in (True, False):
            each = shape.megabytes(options.tokens, spectrum)
            rows = max(int(PART_MB / each), 1)
            kind = "with spectra" if spectrum else "--no-spectrum"
            print(f"  {kind:<14}{each * 1e3:>7,.0f} kB an example, {each * options.examples / 1e6:>6,.2f} TB;"
                  f" --part-rows {min(rows, 512):>3}: {options.examples // min(rows, 512):>6,} shards of"
                  f" {each * min(rows, 512):,.0f} MB")  # fmt: skip
        print()


if __name__ == "__main__":
    main()
