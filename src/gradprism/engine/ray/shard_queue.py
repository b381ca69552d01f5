"""Queue the pieces of work that are still to be handed out, and those whose worker has died."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Generic

from gradprism.data.example import Example
from gradprism.engine.shards import Shard
from gradprism.engine.task import Part, Task

TRIES = 3
"""How often a whole shard is begun before it is cut."""
MOST_CRASHES = 16
"""How many workers one shard may cost. Enough to find 2 rows among 32 that kill."""
MOST_LOSSES = 64
"""How often a shard may lose its whole machine before that is held against it."""
_TRIES_ALONE = 2  # of a row by itself: it may have been an accident


@dataclass(frozen=True)
class Piece:
    """A shard, or some of its examples after the whole had killed too many workers."""

    index: int
    examples: tuple[Example, ...]
    is_whole: bool
    tries: int = 0


@dataclass
class _OpenShard(Generic[Part]):
    """A shard that has been handed out."""

    pieces: int = 1  # still to come back
    crashes: int = 0
    losses: int = 0
    parts: list[Part] = field(default_factory=list)


class ShardQueue(Generic[Part]):
    """Hands out shards; those whose worker died again, at most `TRIES` times whole, then in halves.

    So a row that kills every worker ends as the one failed row of its shard. After `MOST_CRASHES` what is left of the
    shard has failed. Parts with such rows wait until some other piece has been finished: where nothing can be, it is
    the machine and not the rows, and they must not be given up.
    """

    def __init__(self, shards: Iterable[Shard], task: Task[Part]) -> None:
        self._shards = iter(shards)
        self._task = task
        self._repeats: deque[Piece] = deque()
        self._open: dict[int, _OpenShard[Part]] = {}
        self._are_all_out = False
        self._waiting: list[tuple[int, Part]] = []
        self.retries = 0
        self.n_failed = 0  # rows

    def next(self) -> Piece | None:
        """Return the next piece, repeats first; None where all are handed out."""
        if self._repeats:
            return self._repeats.popleft()
        shard = next(self._shards, None)
        if shard is None:
            self._are_all_out = True
            return None
        self._open[shard.index] = _OpenShard()
        return Piece(shard.index, shard.examples, is_whole=True)

    @property
    def are_finished(self) -> bool:
        """True once nothing is left to hand out, and nothing is to come back."""
        return self._are_all_out and not self._repeats and not self._open

    def done(self, piece: Piece, part: Part | None) -> list[tuple[int, Part]]:
        """Take what a worker made of a piece; return the parts that are to be published now.

        `part` is None for a whole shard that its worker has published.
        """
        self._take(piece, part)
        return self.remaining()

    def crashed(self, piece: Piece, reason: str, *, with_its_node: bool = False) -> None:
        """Take note that a worker died on a piece.

        `with_its_node`: the whole machine went, which says nothing about the rows.
        """
        shard = self._open[piece.index]
        if with_its_node and shard.losses < MOST_LOSSES:
            shard.losses += 1
            self._repeat(piece)
            return
        shard.crashes += 1
        tries = piece.tries + 1
        most = TRIES if piece.is_whole else _TRIES_ALONE if len(piece.examples) == 1 else 1
        if shard.crashes >= MOST_CRASHES:
            self._give_up(piece, reason)
        elif tries < most:
            self._repeat(replace(piece, tries=tries))
        elif len(piece.examples) > 1:
            shard.pieces += 1
            self._repeat(*_halves(piece))
        else:
            self._fail(piece, reason)

    def remaining(self) -> list[tuple[int, Part]]:
        """Return the parts that wait, once all is finished and no piece is left to tell rows from machine."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def _take(self, piece: Piece, part: Part | None) -> None:
        shard = self._open[piece.index]
        shard.pieces -= 1
        if part is not None:
            shard.parts.append(part)
        if shard.pieces:
            return
        del self._open[piece.index]
        if shard.parts:
            whole = shard.parts[0] if piece.is_whole else self._task.join(shard.parts)
            self._waiting.append((piece.index, whole))

    def _repeat(self, *pieces: Piece) -> None:
        self.retries += 1
        self._repeats.extend(pieces)

    def _give_up(self, piece: Piece, reason: str) -> None:
        """Fail a piece, and those of its shard that nobody has begun."""
        others = [other for other in self._repeats if other.index == piece.index]
        self._repeats = deque(other for other in self._repeats if other.index != piece.index)
        for lost in [piece, *others]:
            self._fail(lost, reason)

    def _fail(self, piece: Piece, reason: str) -> None:
        crashes = self._open[piece.index].crashes
        workers = "1 worker" if crashes == 1 else f"{crashes} workers"
        self.n_failed += len(piece.examples)
        self._take(piece, self._task.failed(piece.examples, f"{workers} died on its shard: {reason}"))


def _halves(piece: Piece) -> tuple[Piece, Piece]:
    half = len(piece.examples) // 2
    first, second = piece.examples[:half], piece.examples[half:]
    return Piece(piece.index, first, is_whole=False), Piece(piece.index, second, is_whole=False)
