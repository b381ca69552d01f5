"""Rows in the order in which a greedy choice takes them, so that they differ and are good.

It maximises f(S) = log det(I + α L_S) of the chosen rows S, with L = diag(q) K diag(q): K holds the cosines of rows, q
their quality. That is the kernel of a determinantal point process (Kulesza & Taskar, "Determinantal point processes for
machine learning", 2012, section 3.1: quality times diversity), with a ridge 1/α, so that f is defined for copies and is
monotone and submodular: the greedy choice of k rows has at least 1 - 1/e of the largest f of any k rows (Nemhauser,
Wolsey & Fisher, Mathematical Programming 14, 1978). The gain of row j is ln(1 + α q_j² (1 - its part in the chosen)).

Lazy (Minoux 1978): a gain only falls while rows are chosen, so an old one is a bound, and most rows are not looked at
again.
"""

import numpy as np
from jaxtyping import Float, Int

from gradprism.stats.vendi import unit_rows

ALPHA = 10.0
"""Weight of the kernel against the identity: a second copy of a row has 0.27 of the gain of a new row."""
_TOGETHER = 32  # gains that are computed at a time
_TIE = 1e-6  # fp32 products: closer than this, the earlier row comes first


def diverse_order(
    values: Float[np.ndarray, "n d"],
    quality: Float[np.ndarray, " n"] | None = None,
    *,
    tokens: Float[np.ndarray, " n"] | None = None,
    most_rows: int | None = None,
    most_tokens: float | None = None,
    alpha: float = ALPHA,
) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Order rows by greedy choice: return their positions and gains, until enough rows or tokens are chosen.

    The first `most_rows`, and of these one more than fit into `most_tokens`. Of equal gains the earlier row comes
    first. A row of quality 0 gains nothing.
    """
    chosen = _Chosen(values, np.ones(len(values)) if quality is None else quality, alpha)
    bounds = np.log1p(alpha * chosen.quality**2)  # what each row gains alone
    k, spent = len(values) if most_rows is None else min(most_rows, len(values)), 0.0
    order, gains = list[int](), list[float]()
    while len(order) < k and (most_tokens is None or spent <= most_tokens):
        best = _next(bounds, chosen)
        order.append(best)
        gains.append(float(bounds[best]))
        spent += 0.0 if tokens is None else float(tokens[best])
        chosen.add(best)
        bounds[best] = -np.inf
    return np.array(order, dtype=np.int64), np.array(gains)


def quality_of_places(places: Float[np.ndarray, " n"], weight: float) -> Float[np.ndarray, " n"]:
    """Return the quality of rows at places from 0 (worst) to 1 (best): q² from 1/`weight` to 1, by equal ratios.

    So the worst row, where it is all new, and the best row with a part 1 - 1/`weight` in the chosen ones gain alike.
    """
    return np.asarray(weight ** ((places - 1) / 2))


def _next(bounds: np.ndarray, chosen: "_Chosen") -> int:
    """Return the row of the largest gain, and set `bounds` of all rows that were looked at to their gains now."""
    fresh = np.zeros(len(bounds), dtype=bool)
    together = _TOGETHER
    while True:
        stale = np.where(fresh, -np.inf, bounds)
        together = min(together, len(bounds))
        top = np.argpartition(-stale, together - 1)[:together]
        top = np.sort(top[np.isfinite(stale[top])])
        best = float(bounds[fresh].max(initial=-np.inf))
        if not len(top) or stale[top].max() < best - _TIE:
            return int(np.flatnonzero(fresh & (bounds >= best - _TIE))[0])
        bounds[top] = np.minimum(chosen.gains(top), bounds[top])
        fresh[top] = True
        together *= 2


class _Chosen:
    """Chosen rows, and the Cholesky factor of I + α L of them."""

    def __init__(self, values: np.ndarray, quality: np.ndarray, alpha: float):
        self.quality = np.asarray(quality, dtype=np.float64)
        self._values, self._alpha, self._n = values, alpha, 0
        self._rows = np.empty((16, values.shape[1]), dtype=np.float32)
        self._factor = np.empty((16, 16))

    def gains(self, rows: np.ndarray) -> Float[np.ndarray, " m"]:
        """Compute what each of some rows would add to log det(I + α L)."""
        return np.asarray(np.log(self._pivots(rows)[1]))

    def add(self, row: int) -> None:
        """Choose a row: one more row of the factor."""
        column, pivot = self._pivots(np.array([row]))
        n = self._n
        if n == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
            factor = np.empty((2 * n, 2 * n))
            factor[:n, :n] = self._factor
            self._factor = factor
        self._rows[n] = self._features(np.array([row]))[0]
        self._factor[n, :n], self._factor[:n, n], self._factor[n, n] = column[:, 0], 0.0, np.sqrt(pivot[0])
        self._n += 1

    def _features(self, rows: np.ndarray) -> Float[np.ndarray, "m d"]:
        unit = np.concatenate([*unit_rows(self._values, rows)])
        return np.asarray(unit * self.quality[rows, None].astype(np.float32))

    def _pivots(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what a row would add to the Cholesky factor: (chosen, m) beside the chosen, (m,) its square below."""
        from scipy.linalg import solve_triangular

        n, alone = self._n, 1 + self._alpha * self.quality[rows] ** 2
        if not n:
            return np.empty((0, len(rows))), alone
        products = self._alpha * (self._rows[:n] @ self._features(rows).T)  # (chosen, d) @ (d, m)
        column = solve_triangular(self._factor[:n, :n], products.astype(np.float64), lower=True, check_finite=False)
        return column, np.maximum(alone - (column**2).sum(axis=0), 1.0)
