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

Matrices = Float[Tensor, "batch n n"]


class EigenPool:
    """Solves small matrix problems in parallel, one per thread: LAPACK's own threads are slower on small matrices.

    On an accelerator (`stacked`), matrices come in stacks, and the threads take a share of every stack while it solves
    the rest: in fp64 16 cores are a third as fast as an H100, and far faster than a card without fp64 units, or one
    whose library solves matrices one after the other.
    """

    def __init__(self, threads: int | None, stacked: bool = False, share: float | None = None):
        """Start the threads, as many as torch uses where None; `share` is the threads' (None: by speed so far)."""
        self.threads = threads or torch.get_num_threads()
        self.stacked = stacked
        self._share = share
        self._seconds: dict[tuple[str, int], tuple[float, float]] = {}  # a matrix, on the device and on threads
        self._pool = ThreadPoolExecutor(
            self.threads, thread_name_prefix="prism", initializer=torch.set_num_threads, initargs=(1,)
        )

    def map(self, work: Callable[[A], B], items: Iterable[A]) -> list[B]:
        """Return the results in the order of the items. Raises the first exception that `work` raises."""
        return list(map(work, items) if self.stacked else self._pool.map(work, items))

    def eigenvalues(self, lower: Matrices) -> Float[Tensor, "batch n"]:
        """Return the eigenvalues, ascending, of symmetric matrices given by their lower triangles; on the CPU."""
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
        found = [tuple(part.cpu() for part in work(matrices[:n_device]))] if n_device else []
        here = time.perf_counter() - began
        solved = [future.result() for future in solving]
        there = max(ended for _, ended in solved) - began
        found += [tuple(part[None] for part in parts) for parts, _ in solved]
        if n_device:
            self._seconds[key] = here / n_device, there / n_threads
        return tuple(torch.cat(parts) for parts in zip(*found, strict=True))

    def _of_threads(self, key: tuple[str, int], count: int) -> int:
        """Return how many matrices of a stack the threads take: so many that both are done at the same time."""
        if self._share is None and key not in self._seconds:
            return min(self.threads, count // 2)  # to learn how fast they are
        share = self._share
        if share is None:
            here, there = self._seconds[key]
            share = here / (here + there)
        rounds = round(share * count / self.threads)
        return min(rounds * self.threads, count)


def _timed(work: Callable[[A], B], item: A) -> tuple[B, float]:
    return work(item), time.perf_counter()


def _on_cpu(matrices: Tensor) -> Tensor:
    return torch.empty_like(matrices, device="cpu", pin_memory=matrices.is_cuda).copy_(matrices)
