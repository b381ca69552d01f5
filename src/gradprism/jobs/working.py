"""The engine that a recipe names, set to work on shards; what it did goes on record."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gradprism.engine import local
from gradprism.engine.shards import Shard
from gradprism.engine.work import Part, Publishing, Work
from gradprism.errors import GradPrismError
from gradprism.extras import need
from gradprism.jobs import record
from gradprism.jobs.observer import Observer
from gradprism.models.checkpoints import LoadedModel, ModelSource
from gradprism.recipe import ScoreRecipe, SpectraRecipe


@dataclass(frozen=True)
class Stretch:
    """What is to be done now: how many rows there are, how many of them are done, and what they are for."""

    rows: int
    done: int
    what: str
    n_shards: int  # that are left
    found: Callable[[Mapping[str, Any]], None] = lambda model: None
    """Hears what was found in the model once it is loaded."""


@dataclass(frozen=True)
class _Followed:
    """An observer, as an engine sees it."""

    observer: Observer
    stretch: Stretch

    def say(self, text: str) -> None:
        self.observer.say(text)

    def begin(self, found: Mapping[str, Any]) -> None:
        self.stretch.found(found)
        self.observer.start(self.stretch.rows, self.stretch.done, self.stretch.what)

    def batch(self, examples: int, tokens: int) -> None:
        self.observer.batch(examples, tokens)

    def note(self, text: str) -> None:
        self.observer.note(text)


def work_through(
    recipe: SpectraRecipe | ScoreRecipe,
    shards: Iterable[Shard],
    work: Work[Part],
    publishing: Publishing[Part],
    append: Callable[[Mapping[str, Any]], None],
    stretch: Stretch,
    observer: Observer,
    *,
    here: bool = False,
) -> None:
    """Have an engine work through shards; `append` takes the entry of this session, also where it ends early.

    `here`: in this process whatever the recipe says.
    """
    watch = _Followed(observer, stretch)
    engine = "local" if here else recipe.engine.engine
    with record.session(append, recipe.execution.batch_tokens, engine) as account:
        if engine == "local":
            local.run(shards, work, publishing.here, watch, account)
            return
        from gradprism.engine import ray

        ray.run(shards, work, publishing, watch, account, recipe.engine, stretch.n_shards)


def refuse_engine(recipe: SpectraRecipe | ScoreRecipe, source: ModelSource | None) -> None:
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
