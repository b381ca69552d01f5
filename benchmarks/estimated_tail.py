"""How close estimated spectra come to an fp64 SVD: real gradients of all layers, and power laws.

    python -m benchmarks.estimated_tail [FILE.json ...] [--rows 8] [--tokens 2048] [--blocks 3,4] [--wide]

`fast` takes 3 or 4 blocks of 64 leading values, `balanced` 5 to 8. Without files only power laws are measured; `--wide`
adds matrices of 3,584 and 8,192 rows. Columns: relative errors (median, 95%, largest, mean with its sign), and how many
are within two of the standard errors that an estimate states.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.machine import describe
from benchmarks.results import save
from gradprism import GradientAnalyzer
from gradprism.data.example_set import open_examples
from gradprism.data.settings import ReadSettings
from gradprism.prism.estimated_spectrum import BLOCK, estimate
from gradprism.prism.example_gradients import ExampleGradients
from gradprism.prism.gradient import Gradient
from gradprism.prism.matrix_stack import MatrixStack
from gradprism.prism.norms_and_ranks import effective_rank, nuclear_norm

MODELS = ("smollm2-135m", "gemma-3-270m")
FEWEST = 504  # values of a gradient that is estimated
CHARACTERS = 4.5  # of a token, at least
MEASURES = {"nuclear norm": nuclear_norm, "effective rank": effective_rank}

Errors = dict[tuple[int, str], list[tuple[float, float]]]
"""By blocks and measure: relative errors, and errors over their standard errors."""


def compare(gradient: Tensor, blocks: Sequence[int], seed: int, found: Errors, values: Tensor | None = None) -> None:
    """Add the errors of one gradient."""
    n = min(gradient.shape)
    values = torch.linalg.svdvals(gradient.double()) if values is None else values
    values = values.where(values > 1e-8 * values[0], 0.0)
    for each in blocks:
        spectra = estimate(MatrixStack.of_gradients([gradient]), [n], [[seed]], each)
        assert spectra.errors is not None
        for index, (name, measure) in enumerate(MEASURES.items()):
            true, value = float(measure(values)), float(measure(spectra.values, spectra.tail))
            found[each, name].append((value / true - 1, (value - true) / float(spectra.errors[0, index])))


class Comparing:
    """A reader of gradients that compares each estimate with its truth."""

    def __init__(self, blocks: Sequence[int]):
        self.blocks, self.found, self.count = blocks, defaultdict(list), 0

    def begin(self, n_examples: int) -> "Comparing":
        return self

    def read(self, row: int, gradients: Sequence[Gradient]) -> None:
        for each in gradients:
            if each.factors.n_values >= FEWEST:
                self.count += 1
                compare(each.factors.form(keep=False).float(), self.blocks, self.count, self.found)

    def finish(self, answers: Sequence[ExampleGradients]) -> None:
        return


def real(model: str, files: Sequence[str], rows: int, tokens: int, blocks: Sequence[int]) -> Comparing:
    """Compare the gradients of the first rows of each file that are long enough for an estimate, in every layer."""
    analyzer = GradientAnalyzer(model, max_length=tokens, projections="q,o")
    reader = Comparing(blocks)
    analyzer._readers = [reader]
    for file in files:
        all_rows = open_examples(file, ReadSettings())
        long = (row for row in all_rows if sum(len(turn.text) for turn in row.turns) > CHARACTERS * FEWEST)
        analyzer.analyze([*islice(long, rows)])
    return reader


def power_laws(n: int, blocks: Sequence[int], repeats: int) -> Iterator[tuple[str, Errors]]:
    """Compare matrices whose singular values fall as powers of their index."""
    random = torch.Generator().manual_seed(n)
    left, right = (torch.linalg.qr(torch.randn(n, n, generator=random)).Q for _ in range(2))
    for exponent in (0.5, 1.0, 1.5, 2.0):
        values = torch.arange(1, n + 1, dtype=torch.float64) ** -exponent
        matrix = (left * values.float()) @ right
        found: Errors = defaultdict(list)
        for seed in range(repeats):
            compare(matrix, blocks, seed, found, values)
        yield f"n = {n:,}, index^-{exponent}", found


def lines(name: str, errors: Errors) -> Iterator[str]:
    """Yield the rows of the table for one kind of gradients."""
    for blocks in sorted({key[0] for key in errors}):
        cells = []
        for measure in MEASURES:
            off, z = torch.tensor(errors[blocks, measure]).unbind(1)
            cells.append(
                f"{off.abs().median():.1e}, {off.abs().quantile(0.95):.1e}, {off.abs().max():.1e}, {off.mean():+.1e}; "
                f"{(z.abs() <= 2).double().mean():.0%}"
            )
        yield f"| {name} | {BLOCK * blocks} | {cells[0]} | {cells[1]} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", help="files of rows, long ones among them")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--blocks", default="3,4")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--wide", action="store_true")
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    blocks = [int(each) for each in options.blocks.split(",")]
    print(", ".join(describe().values()))
    print("| gradients | values | nuclear norm | effective rank |\n|---|---|---|---|")
    table: list[str] = []

    def show(name: str, errors: Errors) -> None:
        for line in lines(name, errors):
            table.append(line)
            print(line, flush=True)

    for model in options.models.split(",") if options.data else ():
        reader = real(model, options.data, options.rows, options.tokens, blocks)
        show(f"{model}, {reader.count:,} of {', '.join(Path(each).stem for each in options.data)}", reader.found)
    for n in (1040, 3584, 8192) if options.wide else (1040,):
        for name, errors in power_laws(n, blocks, options.repeats if n < 2000 else 4):
            show(name, errors)
    if not options.no_save:
        save("estimated_tail", {"table": table, "rows": options.rows, "tokens": options.tokens})


if __name__ == "__main__":
    main()
