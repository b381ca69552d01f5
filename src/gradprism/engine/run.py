"""Run a task on the engine that a recipe names, for the parts that are not published yet, and record the session."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, cast, runtime_checkable

from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need
from gradprism.core.progress import Progress
from gradprism.engine import local
from gradprism.engine.session import session
from gradprism.engine.settings import EngineSettings
from gradprism.engine.shards import Shard, cut, n_parts, rows_in
from gradprism.engine.task import OnLoaded, Part, ResumableSink, Sink, Task
from gradprism.models.settings import ExecutionSettings
from gradprism.models.sources import LoadedModel, ModelSource


class RunsOnEngine(Protocol):
    """The settings of a verb that runs on an engine."""

    @property
    def engine(self) -> EngineSettings:
        """The engine, and its workers."""

    @property
    def execution(self) -> ExecutionSettings:
        """Devices, batches and threads."""

    @property
    def part_rows(self) -> int:
        """Number of rows in one part."""


@runtime_checkable
class Items(Protocol):
    """The items to process, examples or trainings: counted, and read in order."""

    def __len__(self) -> int:
        """Count the items."""

    def __iter__(self) -> Iterator[Any]:
        """Read the items, each with its number as `row`."""


@dataclass(frozen=True)
class _CompletingSink(Generic[Part]):
    """A sink for published parts of which rows are processed, failed or lacking ones, and the others are kept."""

    sink: ResumableSink[Part]
    task: Task[Any, Part]
    parts: frozenset[int]
    keeps_failed: bool
    publish_elsewhere: None = None  # parts are joined with their kept rows here, in the process that holds the run

    def without_kept_rows(self, shards: Iterable[Shard], progress: Progress) -> Iterator[Shard]:
        """Yield the shards, those of `parts` without the rows that are kept."""
        for shard in shards:
            if shard.index in self.parts:
                _, rows = self.sink.kept(shard.index, self.keeps_failed)
                progress.batch(len(rows), 0)
                shard = replace(shard, examples=tuple(e for e in shard.examples if e.row not in rows))
            yield shard

    def publish(self, index: int, part: Part) -> None:
        """Publish a part together with its rows that are kept."""
        if index in self.parts:
            part = self.task.join([self.sink.kept(index, self.keeps_failed)[0], part])
        self.sink.publish(index, part)

    def check(self) -> None:
        self.sink.check()


def run_task(
    task: Task[Any, Part],
    sink: ResumableSink[Part],
    examples: Items,
    recipe: RunsOnEngine,
    progress: Progress,
    what: str,
    *,
    unit: str = "rows",
    on_loaded: OnLoaded = lambda found: None,
    retry_failed: bool = False,
    always_local: bool = False,
) -> None:
    """Process the parts that are not published yet, and with `retry_failed` also the rows that have failed.

    `what` names the work on the progress bar, `unit` the items that it counts. With `always_local` it runs in this
    process whatever engine the recipe names.
    """
    to_complete = sink.unfinished() | (sink.parts_with_failures() if retry_failed else frozenset())
    done = sink.done - to_complete
    n_done = rows_in(done, recipe.part_rows, len(examples))
    if n_done == len(examples):
        return
    shards, target = cut(examples, recipe.part_rows, done), cast(Sink[Part], sink)
    if to_complete:
        target = completing = _CompletingSink(sink, task, to_complete, keeps_failed=not retry_failed)
        shards = completing.without_kept_rows(shards, progress)

    def start(found: Mapping[str, Any]) -> None:
        on_loaded(found)
        progress.start(len(examples), n_done, what, unit)

    engine = "local" if always_local else recipe.engine.engine
    with session(sink.add_session, recipe.execution.batch_tokens, engine) as account:
        if engine == "local":
            local.run(shards, task, target, progress, account, start)
            return
        from gradprism.engine.ray import run as ray

        n_shards = n_parts(len(examples), recipe.part_rows) - len(done)
        ray.run(shards, task, target, progress, account, start, recipe.engine, n_shards)


def refuse_engine(recipe: RunsOnEngine, source: ModelSource | None) -> None:
    """Refuse an engine that cannot be used, before anything is read or written.

    Raises `GradPrismError` where Ray is not installed, or where its workers would need a model that is loaded in this
    process only.
    """
    if recipe.engine.engine != "ray":
        return
    need("ray", "ray")
    if isinstance(source, LoadedModel):
        raise GradPrismError(
            'Given a loaded model and engine="ray", whose workers load the model themselves. '
            "Expected its name: a hub id, a folder that they can read, a .gguf file or a built-in name."
        )
