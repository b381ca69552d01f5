"""Which pieces of work are still to be handed out, and what becomes of those whose worker dies."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Generic

from gradprism.data.example import Example
from gradprism.engine.shards import Shard
from gradprism.engine.work import Part, Work

TRIES = 3
"""How often a whole shard is begun before it is cut."""
MOST_DEATHS = 16
"""How many workers one shard may cost. Enough to find 2 rows among 32 that kill."""
_TRIES_ALONE = 2  # of a row by itself: it may have been an accident


@dataclass(frozen=True)
class Piece:
    """A shard, or some of its examples after the whole had killed too many workers."""

    index: int
    examples: tuple[Example, ...]
    is_whole: bool
    tries: int = 0


@dataclass
class _Open(Generic[Part]):
    """A shard that has been handed out."""

    pieces: int = 1  # still to come back
    deaths: int = 0
    parts: list[Part] = field(default_factory=list)


class Attempts(Generic[Part]):
    """Hands out shards; those whose worker died again, at most `TRIES` times whole, then in halves.

    So a row that kills every worker ends as the one failed row of its shard. After `MOST_DEATHS` what is left of the
    shard has failed: on a machine where nothing works the run must end.
    """

    def __init__(
        self, shards: Iterable[Shard], work: Work[Part], tries: int = TRIES, most_deaths: int = MOST_DEATHS
    ) -> None:
        self._shards = iter(shards)
        self._work = work
        self._tries, self._most_deaths = tries, most_deaths
        self._again: deque[Piece] = deque()
        self._open: dict[int, _Open[Part]] = {}
        self._are_all_out = False
        self.retries = 0
        self.n_failed = 0  # rows

    def next(self) -> Piece | None:
        """What to do next: what has to be done again comes first. None where all is handed out."""
        if self._again:
            return self._again.popleft()
        shard = next(self._shards, None)
        if shard is None:
            self._are_all_out = True
            return None
        self._open[shard.index] = _Open()
        return Piece(shard.index, shard.examples, is_whole=True)

    @property
    def are_finished(self) -> bool:
        """Whether nothing is left to hand out, and nothing is to come back."""
        return self._are_all_out and not self._again and not self._open

    def done(self, piece: Piece, part: Part | None) -> Part | None:
        """Take what a worker made of a piece; the whole part of the run once there is one to publish.

        None for a whole shard that its worker has published.
        """
        if piece.is_whole:
            del self._open[piece.index]
            return part
        shard = self._open[piece.index]
        shard.pieces -= 1
        if part is not None:
            shard.parts.append(part)
        if shard.pieces:
            return None
        del self._open[piece.index]
        return self._work.join(shard.parts)

    def died(self, piece: Piece, reason: str, *, with_its_node: bool = False) -> Part | None:
        """Hear that a worker died on a piece; the whole part where that was the last of its shard to come.

        `with_its_node`: the whole machine went, which says little about the rows.
        """
        shard = self._open[piece.index]
        shard.deaths += 1
        tries = piece.tries + (not with_its_node)
        most = self._tries if piece.is_whole else _TRIES_ALONE if len(piece.examples) == 1 else 1
        if shard.deaths < self._most_deaths and tries < most:
            self._repeat(replace(piece, tries=tries))
            return None
        if shard.deaths < self._most_deaths and len(piece.examples) > 1:
            shard.pieces += 1
            self._repeat(*_halves(piece))
            return None
        self.n_failed += len(piece.examples)
        workers = "1 worker" if shard.deaths == 1 else f"{shard.deaths} workers"
        return self.done(piece, self._work.failed(piece.examples, f"{workers} died on its shard: {reason}"))

    def _repeat(self, *pieces: Piece) -> None:
        self.retries += 1
        self._again.extend(pieces)


def _halves(piece: Piece) -> tuple[Piece, Piece]:
    half = len(piece.examples) // 2
    first, second = piece.examples[:half], piece.examples[half:]
    return Piece(piece.index, first, is_whole=False), Piece(piece.index, second, is_whole=False)
