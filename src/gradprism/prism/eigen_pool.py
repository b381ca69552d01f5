"""Solve the eigenvalue problems of many gradients, on threads or on an accelerator and threads together."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from gradprism.prism.spectrum import eigenvalues_of

A = TypeVar("A")
B = TypeVar("B")

_PINNED = 1 << 28  # most bytes of page-locked memory

Matrices = Float[Tensor, "batch n n"]


class EigenPool:
    """Solves small matrix problems in parallel, one per thread: LAPACK's own threads are slower on small matrices.

    On an accelerator (`stacked`), matrices come in stacks, and the threads take some of every stack while it solves the
    others: in fp64 16 cores are a third as fast as an H100, and far faster than a card without fp64 units, or one whose
    library solves matrices one after the other. So the last bits of a value depend on the speed of both.
    """

    def __init__(self, threads: int | None, stacked: bool = False, share: float | None = None):
        """Start the threads, as many as torch uses where None; `share` is the threads' (None: by speed so far)."""
        self.threads = threads or torch.get_num_threads()
        self.stacked = stacked
        self._share = share
        self.speeds: dict[tuple[str, int], tuple[float, float] | None] = {}
        """Seconds of a matrix on the device, and of one on every thread, by what is solved and the bits of its size."""
        self._pool = ThreadPoolExecutor(
            self.threads, thread_name_prefix="prism", initializer=torch.set_num_threads, initargs=(1,)
        )

    def map(self, work: Callable[[A], B], items: Iterable[A]) -> list[B]:
        """Return the results in the order of the items. Raises the first exception that `work` raises."""
        return list(map(work, items) if self.stacked else self._pool.map(work, items))

    def eigenvalues(self, lower: Matrices) -> Float[Tensor, "batch n"]:
        """Return the eigenvalues, ascending, of symmetric matrices given by their lower triangles.

        They are on the CPU where threads solved some.
        """
        return self._solve("values", lambda matrices: (eigenvalues_of(matrices),), lower)[0]

    def eigenpairs(self, matrices: Matrices) -> tuple[Float[Tensor, "batch n"], Float[Tensor, "batch n n"]]:
        """Return eigenvalues, ascending, and eigenvectors of symmetric matrices; on the CPU where some were solved."""
        values, vectors = self._solve("pairs", torch.linalg.eigh, matrices)
        return values, vectors

    def _solve(self, name: str, work: Callable[[Tensor], tuple[Tensor, ...]], matrices: Matrices) -> tuple[Tensor, ...]:
        """Solve all matrices; on an accelerator the last of a stack on the threads at the same time."""
        key = name, matrices.shape[1].bit_length()
        n_threads = self._of_threads(key, len(matrices)) if self.stacked else 0
        n_device = len(matrices) - n_threads
        if not n_threads:
            return tuple(work(matrices))
        given = _on_cpu(matrices[n_device:])  # waits for the device, so that its time is that of its share
        began = time.perf_counter()
        solving = [self._pool.submit(_timed, work, each) for each in given]
        try:
            found = [tuple(part.cpu() for part in work(matrices[:n_device]))] if n_device else []
            here = time.perf_counter() - began
            solved = [future.result() for future in solving]
        except BaseException:
            for future in solving:
                future.cancel()
            raise
        there = max(ended for _, ended in solved) - began
        if n_device and key in self.speeds:
            self.speeds[key] = here / n_device, there / -(-n_threads // self.threads)
        self.speeds.setdefault(key, None)  # the first time the device's library is loaded
        found += [tuple(part[None] for part in parts) for parts, _ in solved]
        return tuple(torch.cat(parts) for parts in zip(*found, strict=True))

    def _of_threads(self, key: tuple[str, int], count: int) -> int:
        """Return how many matrices of a stack the threads take: so many that both are done soonest."""
        if self._share is not None:
            return round(self._share * count)
        speeds = self.speeds.get(key)
        if speeds is None:
            return min(self.threads, count // 2)  # to learn how fast they are
        here, there = speeds
        numbers = [min(rounds * self.threads, count - 1) for rounds in range(-(-count // self.threads) + 1)]
        return min(numbers, key=lambda n: max((count - n) * here, -(-n // self.threads) * there))


def _timed(work: Callable[[A], B], item: A) -> tuple[B, float]:
    return work(item), time.perf_counter()


def _on_cpu(matrices: Tensor) -> Tensor:
    """Copy matrices to the CPU, few of them to memory that is copied to sooner, of which torch gives none back."""
    pinned = matrices.is_cuda and matrices.nbytes <= _PINNED
    return torch.empty_like(matrices, device="cpu", pin_memory=pinned).copy_(matrices)
