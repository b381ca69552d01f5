"""Set the engine that a recipe names to work on what is still to be done, and put on record what it did."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, cast

from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need
from gradprism.core.progress import Progress
from gradprism.data.source import ExampleSet
from gradprism.engine import local
from gradprism.engine.session import session
from gradprism.engine.settings import EngineSettings
from gradprism.engine.shards import Shard, cut, n_parts, rows_in
from gradprism.engine.task import OnLoaded, Part, ResumableSink, Sink, Task
from gradprism.models.settings import ExecutionSettings
from gradprism.models.sources import LoadedModel, ModelSource


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


@dataclass(frozen=True)
class _Retrying(Generic[Part]):
    """A sink for parts of which only the rows that have failed are done again."""

    sink: ResumableSink[Part]
    task: Task[Part]
    parts: frozenset[int]
    publish_elsewhere: None = None  # here, where what the parts keep is read

    def without_kept_rows(self, shards: Iterable[Shard], progress: Progress) -> Iterator[Shard]:
        """Yield the shards without the rows of those parts that have not failed."""
        for shard in shards:
            if shard.index in self.parts:
                _, rows = self.sink.kept(shard.index)
                progress.batch(len(rows), 0)
                shard = replace(shard, examples=tuple(e for e in shard.examples if e.row not in rows))
            yield shard

    def publish(self, index: int, part: Part) -> None:
        """Publish a part whole: with the rows it had before that have not failed."""
        if index in self.parts:
            part = self.task.join([self.sink.kept(index)[0], part])
        self.sink.publish(index, part)

    def check(self) -> None:
        self.sink.check()


def run_task(
    task: Task[Part],
    sink: ResumableSink[Part],
    examples: ExampleSet,
    recipe: RunsOnEngine,
    progress: Progress,
    what: str,
    *,
    on_loaded: OnLoaded = lambda found: None,
    retry_failed: bool = False,
    here: bool = False,
) -> None:
    """Have an engine do what is not published yet, and with `retry_failed` also the rows that have failed.

    `what` names the work on the progress bar; `here`: in this process whatever the recipe says.
    """
    done, again = sink.done, sink.parts_with_failures() if retry_failed else frozenset[int]()
    n_done = rows_in(done - again, recipe.part_rows, len(examples))
    if n_done == len(examples):
        return
    shards, target = cut(examples, recipe.part_rows, done - again), cast(Sink[Part], sink)
    if again:
        target = retrying = _Retrying(sink, task, again)
        shards = retrying.without_kept_rows(shards, progress)

    def start(found: Mapping[str, Any]) -> None:
        on_loaded(found)
        progress.start(len(examples), n_done, what)

    engine = "local" if here else recipe.engine.engine
    with session(sink.add_session, recipe.execution.batch_tokens, engine) as account:
        if engine == "local":
            local.run(shards, task, target, progress, account, start)
            return
        from gradprism.engine.ray import run as ray

        n_shards = n_parts(len(examples), recipe.part_rows) - len(done - again)
        ray.run(shards, task, target, progress, account, start, recipe.engine, n_shards)


def refuse_engine(recipe: RunsOnEngine, source: ModelSource | None) -> None:
    """Refuse, before anything is read or written, an engine that cannot be had.

    Raises `GradPrismError` where it is not installed, or where its workers would need a model that this process holds.
    """
    if recipe.engine.engine != "ray":
        return
    need("ray", "ray")
    if isinstance(source, LoadedModel):
        raise GradPrismError(
            'Given a model that is loaded here, and engine="ray", whose workers load it for themselves. '
            "Expected its name: a hub id, a folder that they can read, a .gguf file or a built-in name."
        )
