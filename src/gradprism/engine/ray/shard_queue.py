"""Queue the shards that are still to be assigned, and the pieces of shards to retry after a worker's death."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Generic

from gradprism.engine.shards import Shard
from gradprism.engine.task import Part, Task

TRIES = 3
"""Number of times that a whole shard is tried before it is cut in halves."""
MOST_CRASHES = 16
"""Number of workers that may die on one shard: enough to isolate 2 fatal rows among 32."""
MOST_LOSSES = 64
"""Number of times that the machine of a shard may be lost before such a loss counts as a crash."""
_TRIES_ALONE = 2  # of a single row: the first crash may have had another cause


@dataclass(frozen=True)
class Piece:
    """A whole shard, or some of its examples once the whole shard has crashed `TRIES` times."""

    index: int
    examples: tuple[Any, ...]
    is_whole: bool
    tries: int = 0


@dataclass
class _OpenShard(Generic[Part]):
    """The state of a shard that was assigned and is not finished."""

    pieces: int = 1  # not finished
    crashes: int = 0
    losses: int = 0
    parts: list[Part] = field(default_factory=list)


class ShardQueue(Generic[Part]):
    """A queue of shards. One whose worker died is retried whole, at most `TRIES` times in all, then in halves.

    So a row that kills every worker ends as the only failed row of its shard. After `MOST_CRASHES` the rest of the
    shard fails. Parts with such rows are published only after some other piece has finished: while none can finish, the
    machine is the likely cause and not the rows, which must not be recorded as failed.
    """

    def __init__(self, shards: Iterable[Shard], task: Task[Any, Part]) -> None:
        """Begin with no shard assigned; `task` makes the parts of failed rows, and joins parts."""
        self._shards = iter(shards)
        self._task = task
        self._repeats: deque[Piece] = deque()
        self._open: dict[int, _OpenShard[Part]] = {}
        self._are_all_out = False
        self._waiting: list[tuple[int, Part]] = []
        self.retries = 0
        self.n_failed = 0  # rows

    def next(self) -> Piece | None:
        """Return the next piece to process, retries first; None where all are assigned."""
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
        """True once every shard was assigned and is finished."""
        return self._are_all_out and not self._repeats and not self._open

    def done(self, piece: Piece, part: Part | None) -> list[tuple[int, Part]]:
        """Accept the part of a finished piece, and return the parts to publish now, with their indices.

        `part` is None for a whole shard that its worker has published itself.
        """
        self._finish(piece, part)
        return self.remaining()

    def crashed(self, piece: Piece, reason: str, *, with_its_node: bool = False) -> None:
        """Retry a piece whose worker died, cut it in halves, or fail its rows.

        `with_its_node` says that the whole machine was lost, of which the rows are not the likely cause.
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
        """Return the parts with failed rows that wait to be published, with their indices."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def _finish(self, piece: Piece, part: Part | None) -> None:
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
        """Fail the rows of a piece, and of the other pieces of its shard that wait for a retry."""
        others = [other for other in self._repeats if other.index == piece.index]
        self._repeats = deque(other for other in self._repeats if other.index != piece.index)
        for lost in [piece, *others]:
            self._fail(lost, reason)

    def _fail(self, piece: Piece, reason: str) -> None:
        crashes = self._open[piece.index].crashes
        workers = "1 worker" if crashes == 1 else f"{crashes} workers"
        self.n_failed += len(piece.examples)
        self._finish(piece, self._task.failed(piece.examples, f"{workers} died on its shard: {reason}"))


def _halves(piece: Piece) -> tuple[Piece, Piece]:
    half = len(piece.examples) // 2
    first, second = piece.examples[:half], piece.examples[half:]
    return Piece(piece.index, first, is_whole=False), Piece(piece.index, second, is_whole=False)
