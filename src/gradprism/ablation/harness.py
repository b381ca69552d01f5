"""Score a model on tasks of lm-evaluation-harness (extra `evals`), item by item."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from numbers import Real
from typing import Any

from gradprism.ablation.settings import HarnessSettings
from gradprism.core.errors import GradPrismError, first_line
from gradprism.core.optional import need
from gradprism.data.example import Example, Turn

Score = tuple[str, str, int, float, bool | None]
"""Task, metric and filter, item, value, and whether higher is better (None where the task does not say)."""


@dataclass(frozen=True)
class HarnessTasks:
    """Opened tasks, with their items."""

    settings: HarnessSettings
    loaded: Mapping[str, Any]

    @property
    def examples(self) -> dict[str, list[Example]]:
        """The items of each task as prompt and response, from which the pool is kept apart."""
        return {f"task {name}": [*self._items(task)] for name, task in self.loaded["tasks"].items()}

    @property
    def identity(self) -> dict[str, str]:
        """Version and digest of the items of each task."""
        return {
            name: f"{task.VERSION}-{sha256(repr(items).encode()).hexdigest()[:16]}"
            for name, task in self.loaded["tasks"].items()
            if (items := [[turn.content for turn in each.turns] for each in self._items(task)])
        }

    def _items(self, task: Any) -> Iterator[Example]:
        for index, doc in task.doc_iterator(limit=self.settings.task_limit):
            turns = (("user", task.doc_to_text(doc)), ("assistant", task.doc_to_target(doc)))
            yield Example(index, str(index), tuple(Turn(role, str(text)) for role, text in turns))

    def scores(self, model: Any, tokenizer: Any) -> list[Score]:
        """Score a model that is on its device. Raises `GradPrismError` where the harness fails."""
        import torch
        from lm_eval.evaluator import evaluate  # simple_evaluate also asks pip and git about this machine, for seconds
        from lm_eval.models.huggingface import HFLM

        settings = self.settings
        torch.manual_seed(0)  # tasks may sample
        with _of_harness("scores"):
            found = evaluate(
                HFLM(pretrained=model, tokenizer=tokenizer, batch_size=settings.task_batch),
                self.loaded,
                limit=settings.task_limit,
                apply_chat_template=settings.task_chat,
                log_samples=True,
                bootstrap_iters=0,
            )
        return [*_scores_in(found)]


def open_tasks(settings: HarnessSettings) -> HarnessTasks | None:
    """Open the tasks that are named; None where none is.

    Raises `GradPrismError` for unknown ones, those that run code, and items that cannot be had.
    """
    if not settings.tasks:
        return None
    need("lm_eval", "evals")
    with _of_harness("tasks"):
        manager = _manager_of(settings)
    for name in settings.tasks:
        if name not in manager.all_tasks:
            close = get_close_matches(name, manager.all_tasks, n=3)
            hint = f"did you mean {', '.join(close)}?" if close else "lm_eval ls tasks prints all"
            raise GradPrismError(f"--tasks {name}: lm-evaluation-harness has no such task; {hint}")
    with _of_harness("tasks"):
        loaded = manager.load([*settings.tasks])
    for name, task in loaded["tasks"].items():
        if getattr(task, "UNSAFE_CODE", False):
            raise GradPrismError(f"--tasks {name}: it runs code that the model writes, which is never done here.")
        given = settings.task_fewshot
        task.set_config(key="num_fewshot", value=(task.get_config("num_fewshot") or 0) if given is None else given)
        task.set_fewshot_seed(seed=0)
    return HarnessTasks(settings, loaded)


def _manager_of(settings: HarnessSettings) -> Any:
    """Index the tasks of the folder, and the harness's own, which takes seconds, where one of those is named."""
    from lm_eval.tasks import TaskManager

    if folder := settings.task_folder:
        own = TaskManager(include_path=folder, include_defaults=False)
        if set(settings.tasks) <= set(own.all_tasks):
            return own
    return TaskManager(include_path=folder)


@contextmanager
def _of_harness(what: str) -> Iterator[None]:
    """Silence the harness, and raise what it raises as `GradPrismError`."""
    from tqdm.std import tqdm

    from gradprism.models.loading import silent_libraries

    levels = {name: logging.getLogger(name).level for name in ("lm_eval", "datasets", "evaluate")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.ERROR)
    begin = tqdm.__init__

    def begin_disabled(bar: Any, *given: Any, **options: Any) -> None:
        begin(bar, *given, **options | {"disable": True})

    tqdm.__init__ = begin_disabled
    try:
        with silent_libraries():
            yield
    except Exception as error:
        told = f"{type(error).__name__}: {first_line(error)}"
        raise GradPrismError(f"The {what} of lm-evaluation-harness (--tasks) cannot be had: {told}") from error
    finally:
        tqdm.__init__ = begin
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _scores_in(found: Any) -> Iterator[Score]:
    """Yield each item's scalar metrics. Raises `GradPrismError` for a task that has none."""
    for task, samples in found["samples"].items():
        higher = found["higher_is_better"].get(task, {})
        n = 0
        for sample in samples:
            for metric in sample["metrics"]:
                value = sample[metric]
                if isinstance(value, Real):
                    n += 1
                    by_filter = "" if sample["filter"] == "none" else f", {sample['filter']}"
                    yield task, f"{metric}{by_filter}", int(sample["doc_id"]), float(value), higher.get(metric)
        if not n:
            raise GradPrismError(f"--tasks {task}: none of its metrics is a number of each item, so none is compared.")
