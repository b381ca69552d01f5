"""The engine that a recipe names, set to work on what is still to be done; what it did goes on record."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol

from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need
from gradprism.core.progress import Observer
from gradprism.data.source import ExampleSet
from gradprism.engine import local
from gradprism.engine.session import session
from gradprism.engine.settings import EngineSettings
from gradprism.engine.shards import Shard, cut, n_parts, rows_in
from gradprism.engine.work import Part, Publishing, Work
from gradprism.models.checkpoints import LoadedModel, ModelSource
from gradprism.models.settings import ExecutionSettings


class RunsOnEngine(Protocol):
    """The settings of a verb whose work an engine does."""

    @property
    def engine(self) -> EngineSettings:
        """Where it is done."""

    @property
    def execution(self) -> ExecutionSettings:
        """How it is done."""

    @property
    def part_rows(self) -> int:
        """Rows in one part."""


class PartWriter(Protocol[Part]):
    """Holds the parts of a table (or three) that a run publishes."""

    @property
    def done(self) -> frozenset[int]:
        """Indices of the parts already published."""

    def with_failures(self) -> frozenset[int]:
        """Indices of the published parts in which a row has failed."""

    def kept(self, index: int) -> tuple[Part, Set[int]]:
        """Return a published part without the rows that have failed, and the numbers of those it keeps."""

    def publish(self, index: int, part: Part) -> None:
        """Write one part, in place of an earlier one."""

    def add_session(self, entry: Mapping[str, Any]) -> None:
        """Put on record what one session did."""


@dataclass(frozen=True)
class _Again(Generic[Part]):
    """Published parts of which only the rows that have failed are done again."""

    writer: PartWriter[Part]
    work: Work[Part]
    parts: frozenset[int]
    observer: Observer

    def narrowed(self, shards: Iterable[Shard]) -> Iterator[Shard]:
        """Yield the shards, without the rows of those parts that have not failed."""
        for shard in shards:
            if shard.index in self.parts:
                _, rows = self.writer.kept(shard.index)
                self.observer.batch(len(rows), 0)
                shard = replace(shard, examples=tuple(e for e in shard.examples if e.row not in rows))
            yield shard

    def publish(self, index: int, part: Part) -> None:
        """Publish a part whole: with what it had before and has not failed."""
        if index in self.parts:
            part = self.work.join([self.writer.kept(index)[0], part])
        self.writer.publish(index, part)


@dataclass(frozen=True)
class _Followed:
    """An observer, as an engine sees it."""

    observer: Observer
    rows: int
    done: int
    what: str
    found: Callable[[Mapping[str, Any]], None]

    def say(self, text: str) -> None:
        self.observer.say(text)

    def begin(self, found: Mapping[str, Any]) -> None:
        self.found(found)
        self.observer.start(self.rows, self.done, self.what)

    def batch(self, examples: int, tokens: int) -> None:
        self.observer.batch(examples, tokens)

    def note(self, text: str) -> None:
        self.observer.note(text)


def work_through(
    recipe: RunsOnEngine,
    examples: ExampleSet,
    work: Work[Part],
    writer: PartWriter[Part],
    publishing: Publishing[Part],
    observer: Observer,
    what: str,
    *,
    found: Callable[[Mapping[str, Any]], None] = lambda model: None,
    retry_failed: bool = False,
    here: bool = False,
) -> None:
    """Have an engine do what is not published yet, and with `retry_failed` also the rows that have failed.

    `what` names it on the progress bar; `found` hears what was found in the model once it is loaded; `here`: in this
    process whatever the recipe says.
    """
    done, again = writer.done, writer.with_failures() if retry_failed else frozenset[int]()
    n_done = rows_in(done - again, recipe.part_rows, len(examples))
    if n_done == len(examples):
        return
    failed = _Again(writer, work, again, observer)
    shards = failed.narrowed(cut(examples, recipe.part_rows, done - again))
    n_shards = n_parts(len(examples), recipe.part_rows) - len(done - again)
    if again:  # here, where what they keep is read
        publishing = Publishing(failed.publish)
    watch = _Followed(observer, len(examples), n_done, what, found)
    engine = "local" if here else recipe.engine.engine
    with session(writer.add_session, recipe.execution.batch_tokens, engine) as account:
        if engine == "local":
            local.run(shards, work, publishing.here, watch, account)
            return
        from gradprism.engine.ray import engine as ray

        ray.run(shards, work, publishing, watch, account, recipe.engine, n_shards)


def refuse_engine(recipe: RunsOnEngine, source: ModelSource | None) -> None:
    """Raises `GradPrismError`, before anything is read or written, for an engine that cannot be had.

    It is not installed, or its workers are to work with a model that this process holds.
    """
    if recipe.engine.engine != "ray":
        return
    need("ray", "ray")
    if isinstance(source, LoadedModel):
        raise GradPrismError(
            'Given a model that is loaded here, and engine="ray", whose workers load it for themselves. '
            "Expected its name: a hub id, a folder that they can read, a .gguf file or a built-in name."
        )
