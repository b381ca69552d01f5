"""What a large run would take, reckoned: operations and bytes by part, time beside a training pass by card, storage.

    python -m benchmarks.sizing [--examples 1000000] [--tokens 600] [--lengths 512,2048,8192]

Operations are counted from the shapes, as the code does them (`tests/test_benchmarks.py` compares them with what it
asks for); rates are those of data sheets, without sparsity, of which products reach the share `REACHED`. Eigenvalue
problems take what cuSOLVER's batched solver took on an H100 (docs/speed.md), times the cube of their size and the ratio
of fp64 rates, less the share of the `HOST`'s cores. A pass cannot be faster than its kernels are started, one every
`START`: `benchmarks/kernels.py` counts them. Nothing here was measured but the solver's times.
Storage: bytes per row of real runs (zstd Parquet).
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field

from gradprism.measurement.estimate import BYTES_PER_COSINE, BYTES_PER_GRADIENT, BYTES_PER_NUMBER, BYTES_PER_VALUE
from gradprism.models.batches import _TOKENS
from gradprism.prism.estimated_spectrum import BLOCK, PROBES, blocks_for, steps_for
from gradprism.prism.factors import is_worth_forming
from gradprism.prism.settings import Precision

PART_MB = 64  # of a part worth opening: object stores and Parquet readers like 10 to 100 MB
REACHED = 0.6  # of a data sheet's rate, by large products
SOLVER = {128: 0.01, 256: 0.09, 512: 0.45, 1024: 2.5, 2048: 15.5}  # ms a matrix of so many rows, on an H100
HOST = {128: 0.07, 256: 0.23, 512: 1.07, 1024: 10.3, 2048: 43.6}  # the same on 16 cores beside it
H100_FP64 = 34.0
START = 10e-6  # seconds between two kernels, PyTorch's and Python's time included
KERNELS = {"plain": (0, 2961), "floor": (2589, 0), "exact": (640, 970), "balanced": (2870, 30), "fast": (2870, 30)}
"""Kernels of 28 layers, of a batch and of each example in it; ours beside those of `floor`."""


@dataclass(frozen=True)
class Card:
    """Data sheet of a GPU: 10^12 operations a second by type, TB/s of memory."""

    name: str
    bf16: float
    tf32: float
    fp32: float
    fp64: float
    memory: float


CARDS = (
    Card("H100 SXM", 989, 494, 67, H100_FP64, 3.35),
    Card("A100 80 GB", 312, 156, 19.5, 9.7, 2.04),
    Card("L40S", 362, 183, 91.6, 1.43, 0.86),
    Card("RTX 4090", 165, 82.6, 82.6, 1.29, 1.01),
)


@dataclass(frozen=True)
class Shape:
    """A model, as far as it decides cost and storage."""

    name: str
    parameters: float
    layers: int
    width: int
    keys: int  # d_out of k and v
    gpus: int  # of 80 GB, what one worker takes in bf16; they work one after the other

    @property
    def projections(self) -> tuple[tuple[int, int], ...]:
        """(d_out, d_in) of q, k, v and o."""
        return (self.width, self.width), (self.keys, self.width), (self.keys, self.width), (self.width, self.width)

    def values(self, tokens: int) -> int:
        """Singular values of one example."""
        return self.layers * sum(min(tokens - 1, *shape) for shape in self.projections)

    def megabytes(self, values: int, numbers: int = 0) -> float:
        """Of one example in a run that stores so many singular values, and more numbers of each gradient."""
        gradients = self.layers * len(self.projections)
        cosines = (self.layers - 1) * len(self.projections) + 2 * self.layers
        each = BYTES_PER_GRADIENT + numbers * BYTES_PER_NUMBER
        return (each * gradients + BYTES_PER_COSINE * cosines + BYTES_PER_VALUE * values) / 1e6


SHAPES = (
    Shape("1B (Llama-3.2-1B)", 1.24e9, 16, 2048, 512, 1),
    Shape("7B (Qwen2.5-7B)", 7.6e9, 28, 3584, 512, 1),
    Shape("70B (Llama-3-70B)", 70.6e9, 80, 8192, 1024, 3),
)


@dataclass
class Part:
    """A part of the work of one example: operations by type, bytes moved, and eigenvalue problems by size."""

    operations: dict[str, float] = field(default_factory=dict)
    bytes_moved: float = 0.0
    problems: dict[int, int] = field(default_factory=dict)

    def seconds(self, card: Card) -> float:
        """Time on a card: the longer of arithmetic and memory, and the solver after it."""
        arithmetic = sum(count / (getattr(card, kind) * 1e12 * REACHED) for kind, count in self.operations.items())
        solver = sum(count * solver_seconds(n, card) for n, count in self.problems.items())
        return max(arithmetic, self.bytes_moved / (card.memory * 1e12)) + solver


def solver_seconds(n: int, card: Card) -> float:
    """Time of one fp64 eigenvalue problem in a stack that card and host share."""
    nearest = min(SOLVER, key=lambda size: abs(size - n))
    here, there = SOLVER[nearest] * H100_FP64 / card.fp64, HOST[nearest]
    return here * there / (here + there) / 1e3 * (n / nearest) ** 3


def estimate_operations(d_out: int, d_in: int, rows: int | None, blocks: int) -> dict[str, float]:
    """Count the operations of one estimate; `rows` of the factors, None where the gradient is formed.

    The products of `estimated_spectrum`, in its order: of the gradient with vectors, and of the basis with itself.
    """
    n, m = min(d_out, d_in), max(d_out, d_in)
    product = n * m if rows is None else rows * (n + m)  # with one vector
    k, steps = BLOCK * blocks, steps_for(n)
    vectors = PROBES * steps
    projections = sum(BLOCK * (block + 1) * (1 if block == blocks - 1 else 4) for block in range(blocks)) * BLOCK
    projections += k * (vectors + PROBES)
    orthogonalised = 2 * PROBES * steps * (steps + 1) // 2
    fp32 = 2 * product * (BLOCK * (2 + 2 * blocks + 1) + 2 * vectors) + 8 * n * projections + 4 * n * orthogonalised
    fp32 += 2 * n * k**2  # the check of the basis
    columns = (1 + blocks) * m + (1 + 3 * (blocks - 1)) * n  # of blocks that are made orthonormal, times their length
    fp64 = 6 * columns * BLOCK**2 + 2 * m * k**2 + 2 * n * BLOCK**2 + 2 * (n + m) * BLOCK * k
    return {"fp32": fp32, "fp64": fp64} | ({} if rows is None else {"tf32": 2 * rows * n * m})


def training_pass(shape: Shape, tokens: int, passes: int = 3) -> Part:
    """Forward and backward in bf16; two `passes` without the gradients of weights. Attention is counted as causal."""
    linear = 2 * passes * shape.parameters * tokens
    attention = (
        2 * (passes - 1 if passes == 3 else 2) * shape.layers * tokens**2 * shape.width * (1 if passes < 3 else 2)
    )
    return Part({"bf16": linear + attention}, 2.0 * passes * shape.parameters)


def parts_of(shape: Shape, tokens: int, precision: Precision) -> dict[str, Part]:
    """Count what spectra and cosines of one example take beside the model's passes."""
    found = {name: Part() for name in ("gradients", "fp64 products", "eigenvalues", "estimates", "cosines")}
    rows = tokens - 1
    for d_out, d_in in shape.projections:
        n, entries = min(rows, d_out, d_in), d_out * d_in
        blocks, formed = blocks_for(n, precision), is_worth_forming(rows, d_out, d_in)
        product = entries if formed else rows * (d_out + d_in)  # with one vector
        if formed:
            _add(found["gradients"], shape, "tf32", 2.0 * rows * entries, 4.0 * entries)
        if blocks:
            passes = 2 + 2 * blocks + 1 + 2 * steps_for(min(d_out, d_in))
            for kind, count in estimate_operations(d_out, d_in, None if formed else rows, blocks).items():
                _add(found["estimates"], shape, kind, count, 0.0)
            _add(found["estimates"], shape, "fp32", 0.0, 4.0 * passes * product)
        else:
            short = rows <= min(d_out, d_in)
            products = rows**2 * (d_out + d_in / 3) + 2 * rows**3 if short else n * entries
            _add(found["fp64 products"], shape, "fp64", products, 8.0 * n * (d_out + d_in))
            found["eigenvalues"].problems[n] = found["eigenvalues"].problems.get(n, 0) + shape.layers
        cosine = 3.0 * entries if formed else 3.0 * rows**2 * (d_out + d_in / 3)
        _add(found["cosines"], shape, "tf32", cosine, 12.0 * entries if formed else 8.0 * rows * (d_out + d_in))
    return found


def _add(part: Part, shape: Shape, kind: str, operations: float, moved: float) -> None:
    part.operations[kind] = part.operations.get(kind, 0.0) + shape.layers * operations
    part.bytes_moved += shape.layers * moved


def predictions(tokens: list[int]) -> Iterator[str]:
    """Yield the tables: operations and bytes by part, and time of plain by card."""
    yield "| model | T | precision | part | 10^12 operations | GB moved | eigenvalue problems |"
    yield "|---" * 7 + "|"
    for shape in SHAPES:
        for length in tokens:
            for precision in ("exact", "fast"):
                for name, part in parts_of(shape, length, precision).items():
                    if part.operations or part.problems:
                        counts = ", ".join(f"{count / 1e12:.2f} {kind}" for kind, count in part.operations.items())
                        problems = ", ".join(f"{count} of {n:,}" for n, count in part.problems.items())
                        yield (f"| {shape.name} | {length:,} | {precision} | {name} | {counts} "
                               f"| {part.bytes_moved / 1e9:.1f} | {problems} |")  # fmt: skip
    yield ""
    yield "Predicted time of plain (bf16 weights, batches as they are cut):\n"
    yield (
        "| model | T | precision | "
        + " | ".join(card.name for card in CARDS)
        + " |\n|---|---|---|"
        + "---|" * len(CARDS)
    )
    for shape in SHAPES:
        for length in tokens:
            for precision in ("exact", "balanced", "fast"):
                cells = []
                for card in CARDS:
                    rows = max(_TOKENS[False] // length, 1)
                    starts = {
                        name: (of_batch / rows + of_example) * START * shape.layers / 28
                        for name, (of_batch, of_example) in KERNELS.items()
                    }
                    plain = max(training_pass(shape, length).seconds(card), starts["plain"])
                    parts = parts_of(shape, length, precision).values()
                    floor = max(training_pass(shape, length, 2).seconds(card), starts["floor"])
                    ours = max(sum(part.seconds(card) for part in parts), starts[precision])
                    cells.append(f"{(floor + ours) / plain:.2f}")
                yield f"| {shape.name} | {length:,} | {precision} | {' | '.join(cells)} |"


def storage(examples: int, tokens: int) -> Iterator[str]:
    """Yield what a run takes on disk, and how many parts it has."""
    yield f"{examples:,} examples of {tokens:,} tokens:"
    for shape in SHAPES[1:]:
        hours = examples * training_pass(shape, tokens).seconds(CARDS[0]) * shape.gpus / 3600
        yield (f"{shape.name}: {shape.values(tokens):,} singular values an example; a training pass over all takes "
               f"{hours:,.0f} GPU hours (H100)")  # fmt: skip
        n = shape.layers * len(shape.projections)
        for kind, values in (("with spectra", shape.values(tokens)), ("top:64", 64 * n), ("--no-spectrum", 0)):
            each = shape.megabytes(values, 4 if kind.startswith("top") else 0)
            rows = min(max(int(PART_MB / each), 1), 512)
            yield (f"  {kind:<14}{each * 1e3:>7,.0f} kB an example, {each * examples / 1e6:>6,.2f} TB; --part-rows "
                   f"{rows:>3}: {examples // rows:>6,} shards of {each * rows:,.0f} MB")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=1_000_000)
    parser.add_argument("--tokens", type=int, default=600)
    parser.add_argument("--lengths", default="512,2048,8192")
    options = parser.parse_args()
    for line in (
        *predictions([int(each) for each in options.lengths.split(",")]),
        "",
        *storage(options.examples, options.tokens),
    ):
        print(line)


if __name__ == "__main__":
    main()
