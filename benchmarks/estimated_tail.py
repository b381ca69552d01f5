"""How close leading singular values and an estimated tail come to nuclear norm and effective rank, on real gradients.

    python -m benchmarks.estimated_tail ROWS.json [--rows 3] [--tokens 900]

On a GPU exact eigenvalues in fp64 are most of the cost. Here k + 16 leading values come of a randomised range with one
power step (Halko, Martinsson and Tropp, SIAM Review 53 (2011)), the rest of stochastic Lanczos quadrature on what is
left, with its known trace as control. Two things make it better than a plain one, and are tried apart:

- Gauss quadrature of a concave function with a singular slope at 0 is too large, Gauss-Radau with a node at 0 is too
  small (Golub and Meurant, Matrices, Moments and Quadrature (2010)): their mean is nearly unbiased, and half of their
  distance is an error that costs nothing.
- Leading and remaining part are not independent: each leading value and the part of its residual form a 2 x 2 matrix,
  whose eigenvalues take the place of its diagonal.

Prints a table of relative errors against fp64; some minutes.
"""

import argparse
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradprism import GradientAnalyzer
from gradprism.prism.example_gradients import ExampleGradients
from gradprism.prism.gradient import Gradient

_OVERSAMPLING, _TINY = 16, 1e-300
WAYS = {
    "gauss": (1.0, False),
    "gauss, coupled": (1.0, True),
    "radau, coupled": (0.0, True),
    "mean, coupled": (0.5, True),
}


def estimate(gradient: Tensor, k: int, steps: int, seed: int, weight: float, coupled: bool, probes: int = 8) -> Any:
    """Return (nuclear norm, effective rank) of a matrix from its leading k values and an estimated tail.

    `weight` is that of Gauss quadrature, the rest of Gauss-Radau; `coupled` adds the 2 x 2 correction.
    """
    matrix = (gradient.T if gradient.shape[0] > gradient.shape[1] else gradient).float()
    scale = float(matrix.abs().max())
    matrix = matrix / scale
    m, n = matrix.shape
    size = min(k + _OVERSAMPLING, m)
    random = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(matrix @ torch.randn(n, size, generator=random)).Q
    q = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ q).Q).Q
    b = (q.T @ matrix).double()
    squares, vectors = torch.linalg.eigh(b @ b.T)
    squares = squares.clamp_min(0)
    sums = [float(part.sum()) for part in _functions(squares)]
    if size < m:
        rest = max(float(matrix.double().square().sum() - squares.sum()), 0.0)
        starts = torch.randint(0, 2, (m, probes), generator=random).float() * 2 - 1
        for index, part in enumerate(_tail(matrix, q, starts, steps, rest, weight)):
            sums[index] += part
        if coupled:
            for index, part in enumerate(_coupling(matrix, q, b, squares, vectors)):
                sums[index] += part
    total, entropy = sums
    return total * scale, math.exp(math.log(total) - entropy / total)


def exact(gradient: Tensor) -> tuple[float, float]:
    """Return (nuclear norm, effective rank) by an fp64 SVD."""
    values = torch.linalg.svdvals(gradient.double())
    values = values[values > 1e-8 * values[0]]
    shares = values / values.sum()
    return float(values.sum()), math.exp(-float((shares * shares.log()).sum()))


def _functions(squares: Tensor) -> tuple[Tensor, Tensor]:
    """Return s and s log s of the squares of singular values."""
    return squares.sqrt(), 0.5 * squares.sqrt() * squares.clamp_min(_TINY).log()


def _tail(matrix: Tensor, q: Tensor, starts: Tensor, steps: int, rest: float, weight: float) -> Iterator[float]:
    """Yield the sums of both functions over what `q` leaves, whose squares add up to `rest`."""
    starts = starts - q @ (q.T @ starts)
    starts = starts - q @ (q.T @ starts)
    norms = starts.double().norm(dim=0)
    basis, diagonal, off = [(starts.double() / norms).float()], [], []
    for _ in range(steps):
        image = matrix @ (matrix.T @ basis[-1])
        image = image - q @ (q.T @ image)
        diagonal.append((image.double() * basis[-1].double()).sum(0))
        for known in (*basis, *basis):
            image = image - known * (known.double() * image.double()).sum(0).float()
        off.append(image.double().norm(dim=0))
        basis.append((image.double() / off[-1].clamp_min(_TINY)).float())
    a, b = torch.stack(diagonal, 1), torch.stack(off, 1)
    last = torch.zeros_like(a)
    last[:, -1] = b[:, -1].square()
    at_zero = torch.linalg.solve(_tridiagonal(a, b[:, :-1]), last[:, :, None])[:, -1, 0]
    rules = (_tridiagonal(a, b[:, :-1]), _tridiagonal(torch.cat([a, at_zero[:, None]], 1), b))
    found = [_controlled(rule, norms, rest) for rule in rules]
    for gauss, radau in zip(*found, strict=True):
        yield weight * gauss + (1 - weight) * radau


def _tridiagonal(diagonal: Tensor, off: Tensor) -> Tensor:
    return torch.diag_embed(diagonal) + torch.diag_embed(off, 1) + torch.diag_embed(off, -1)


def _controlled(rule: Tensor, norms: Tensor, rest: float) -> list[float]:
    """Return the means over probes of both functions, regressed on the trace that is known."""
    nodes, vectors = torch.linalg.eigh(rule)
    nodes, weights = nodes.clamp_min(0), vectors[:, 0, :].square() * norms.square()[:, None]
    traces = (weights * nodes).sum(1)
    x, found = traces - traces.mean(), []
    for values in ((weights * each).sum(1) for each in _functions(nodes)):
        slope = (x * (values - values.mean())).sum() / x.square().sum().clamp_min(_TINY)
        found.append(float(values.mean() - slope * (traces.mean() - rest)))
    return found


def _coupling(matrix: Tensor, q: Tensor, b: Tensor, squares: Tensor, vectors: Tensor) -> Iterator[float]:
    """Yield what both functions change by where each leading value and its residual are taken together."""
    residual = matrix @ (b.T @ vectors).float()
    residual = residual - q @ (q.T @ residual)
    sizes = residual.double().square().sum(0)
    back = matrix.T @ residual - b.T.float() @ (q.T @ residual)
    lead = squares.clamp_min(1e-30)
    other = (back.double().square().sum(0) / sizes.clamp_min(_TINY)).clamp_min(1e-30)
    other = torch.minimum(other, lead)
    middle, half = (lead + other) / 2, (((lead - other) / 2).square() + sizes).sqrt()
    high, low = middle + half, (middle - half).clamp_min(0)
    after, before = (map(_functions, pair) for pair in ((high, low), (lead, other)))
    for parts in zip(*after, *before, strict=True):
        yield float((parts[0] + parts[1] - parts[2] - parts[3]).sum())


class _Keep:
    """A reader that keeps gradients of some layers, whole."""

    def __init__(self, layers: Sequence[int]):
        self.layers, self.found = {*layers}, list[Tensor]()

    def begin(self, n_examples: int) -> "_Keep":
        return self

    def read(self, row: int, gradients: Sequence[Gradient]) -> None:
        kept = [each for each in gradients if each.projection.layer in self.layers]
        self.found += [each.factors.form(keep=False).float() for each in kept]

    def finish(self, answers: Sequence[ExampleGradients]) -> None:
        return


def real_gradients(model: str, file: Path, rows: int, tokens: int) -> list[Tensor]:
    """Return the gradients of long rows in three layers."""
    given = [row for row in json.loads(file.read_text("utf-8")) if len(str(row)) > 6 * tokens][:rows]
    analyzer = GradientAnalyzer(model, max_length=tokens)
    layers = sorted({each.layer for each in analyzer.projections})
    keep = _Keep([layers[len(layers) // 10], layers[len(layers) // 2], layers[-2]])
    analyzer._readers = [keep]
    analyzer.analyze(given)
    return keep.found


def table(gradients: Sequence[Tensor], ks: Sequence[int], steps: int) -> Iterator[str]:
    """Yield the lines of a table of relative errors."""
    truth = [exact(each) for each in gradients]
    yield "| k | way | nuclear norm: median, max, mean with sign | effective rank: median, max, mean with sign |"
    yield "|---|---|---|---|"
    for k in ks:
        for name, (weight, coupled) in WAYS.items():
            found = [estimate(each, k, steps, seed, weight, coupled) for seed, each in enumerate(gradients)]
            cells = []
            for part in (0, 1):
                errors = torch.tensor([mine[part] / true[part] - 1 for mine, true in zip(found, truth, strict=True)])
                cells.append(f"{errors.abs().median():.1e}, {errors.abs().max():.1e}, {errors.mean():+.1e}")
            yield f"| {k} | {name} | {cells[0]} | {cells[1]} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="JSON array of long rows")
    parser.add_argument("--models", default="smollm2-135m,gemma-3-270m")
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=900)
    parser.add_argument("--steps", type=int, default=16)
    args = parser.parse_args()
    found = [each for model in args.models.split(",")
             for each in real_gradients(model, args.data, args.rows, args.tokens)]  # fmt: skip
    for line in table([each for each in found if min(each.shape) > 500], (64, 128, 256), args.steps):
        print(line, flush=True)


if __name__ == "__main__":
    main()
