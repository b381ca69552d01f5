"""Settings of `gradprism ablate`: the arms, the training that is the same for all of them, and the evaluation sets."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from gradprism.core.settings import Settings, checked, grouped
from gradprism.data.settings import ReadSettings, TextSettings
from gradprism.engine.settings import EngineSettings
from gradprism.models.settings import CheckpointSettings, ExecutionSettings
from gradprism.selection.settings import SelectSettings

RANDOM = "random"
LEARNING_RATE, LORA_LEARNING_RATE = 2e-5, 2e-4
_NAME = re.compile(r"[\w-][\w.:+@-]*")
_WAYS: dict[str, dict[str, Any]] = {
    "diverse": {"diverse": True},
    "given-length": {"given": "length"},
    "round-robin": {"round_robin": True},
}
_KNOWN: dict[str, dict[str, Any]] = {
    RANDOM: {},
    "all": {"whole": True},
    "longest": {"by": ("length",)},
    "shortest": {"by": ("-length",)},
}


class Arm(SelectSettings):
    """A selection to train on: what decides in which order rows are taken, up to the budget of tokens."""

    ids: str | None = None
    """A file with an example_id in each line: rows are drawn from these alone."""
    whole: bool = False
    """Take each row at most once, however many epochs the other arms have."""

    @model_validator(mode="after")
    def _has_an_order(self) -> Self:
        cuts = ("top", "bottom", "quantile", "tokens", "stratify", "stratify_equal", "match_length", "random")
        if given := [name for name in cuts if getattr(self, name)]:
            raise ValueError(f"{', '.join(given)}: an arm takes rows in one order, up to --tokens; leave this out")
        if self.combine != "rank":
            raise ValueError("combine: an arm takes rows in one order; expected rank")
        if self.is_ranked:
            self.within(1).check()
        return self

    @property
    def is_ranked(self) -> bool:
        """True where something ranks the rows; else they are drawn at random by seed."""
        return bool(self.by or self.diverse)

    def within(self, tokens: int) -> SelectSettings:
        """Return the selection of this arm, up to a budget of response tokens."""
        own = {name: getattr(self, name) for name in SelectSettings.model_fields}
        return SelectSettings(**own | {"tokens": tokens})


def read_arm(text: str) -> tuple[str, dict[str, Any]]:
    """Read an arm as a command line has it, and return its name and settings.

    `random`, `all`, `longest`, `shortest`, `ids:FILE`, `diverse`, or METRIC, with +given-length, +diverse,
    +round-robin or a further +METRIC behind it; before it NAME= where it is to be called otherwise. Raises
    `ValueError`.
    """
    given, _, spec = text.strip().rpartition("=") if re.match(r"[\w.-]+=", text.strip()) else ("", "", text.strip())
    if spec in _KNOWN:
        return given or spec, dict(_KNOWN[spec])
    if spec.startswith("ids:"):
        return given or "ids", {"ids": spec.removeprefix("ids:")}
    values: dict[str, Any] = {}
    metrics = []
    for part in spec.split("+"):
        if part in _WAYS:
            values |= _WAYS[part]
        elif part in _KNOWN and part != RANDOM:
            metrics += _KNOWN[part].get("by", ())
        elif part:
            metrics.append(part)
    if not metrics and not values:
        raise ValueError(f"{text!r} names no arm: expected random, longest, METRIC, ids:FILE, ...")
    return given or spec.replace("/", "-"), values | {"by": tuple(metrics)}


class EvalSet(ReadSettings):
    """Rows that no arm trains on, on which every arm is evaluated."""

    data: str | tuple[str, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """Files, URLs or hub ids."""
        return (self.data,) if isinstance(self.data, str) else self.data


class TrainSettings(Settings):
    """The training, which is the same for every arm."""

    tokens: int = Field(ge=1)
    """Response tokens that each arm trains on, exactly: the last row taken is cut to fit."""
    seeds: int = Field(default=3, ge=1)
    """Trainings of each arm: a seed decides the rows of random, the order of all, and ties."""
    epochs: int = Field(default=1, ge=1)
    """Times that an arm's rows are seen: it takes --tokens / --epochs tokens of rows. The arm `all` sees each once."""
    step_tokens: int = Field(default=1024, ge=1)
    """Response tokens of one step of the optimiser: every arm has as many steps, of as many tokens each."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Largest learning rate: by itself 2e-5, and 2e-4 with LoRA."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Part of the steps over which the learning rate rises."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay of AdamW."""
    lora_rank: int = Field(default=0, ge=0)
    """Train LoRA adapters of this rank on all linear maps (extra `adapters`); 0 trains the whole model."""
    amp: Literal["no", "bf16", "fp16"] = "no"
    """Mixed precision of the training."""
    gradient_checkpointing: bool = False
    """Keep fewer activations, and compute them anew."""
    eval_points: int = Field(default=5, ge=1)
    """Evaluations along the training, the last at its end; there is one before it too."""
    keep_models: bool = False
    """Keep each trained model, in OUT/arms/ARM/seed-N/model."""

    @property
    def rate(self) -> float:
        """The largest learning rate."""
        return self.learning_rate or (LORA_LEARNING_RATE if self.lora_rank else LEARNING_RATE)

    @property
    def steps(self) -> int:
        """Number of steps of each training."""
        return max(1, round(self.tokens / self.step_tokens))

    @property
    def eval_steps(self) -> tuple[int, ...]:
        """The steps after which it is evaluated; 0 is before the training."""
        points = min(self.eval_points, self.steps)
        return tuple(dict.fromkeys(round(self.steps * point / points) for point in range(points + 1)))


class HarnessSettings(Settings):
    """Tasks of lm-evaluation-harness (extra `evals`) on which every arm is scored, before and after the training."""

    tasks: tuple[str, ...] = ()
    """Tasks or groups of the harness, such as gsm8k."""
    task_limit: int | None = Field(default=None, ge=2)
    """The first items of each task alone."""
    task_fewshot: int | None = Field(default=None, ge=0)
    """Examples in each prompt; by itself as the task says."""
    task_chat: bool = False
    """Ask in the model's chat template."""
    task_batch: int = Field(default=8, ge=1)
    """Items of one batch."""
    task_folder: str | None = None
    """Folder with tasks of your own, as the harness's YAML."""

    @field_validator("tasks", mode="before")
    @classmethod
    def _tasks_in_words(cls, tasks: object) -> object:
        """Read `"gsm8k,arc_easy"`."""
        given = (tasks,) if isinstance(tasks, str) else tasks
        if isinstance(given, list | tuple):
            return tuple(dict.fromkeys(name.strip() for each in given for name in str(each).split(",") if name.strip()))
        return given


class AblateRecipe(Settings):
    """All settings of `gradprism ablate`."""

    verb: Literal["ablate"] = "ablate"
    data: tuple[str, ...]
    read: ReadSettings = ReadSettings()
    text: TextSettings = TextSettings()
    checkpoint: CheckpointSettings
    arms: dict[str, Arm] = Field(min_length=1)
    evals: dict[str, EvalSet] = Field(default_factory=dict)
    harness: HarnessSettings = HarnessSettings()
    train: TrainSettings
    execution: ExecutionSettings = ExecutionSettings()
    engine: EngineSettings = EngineSettings()
    out: str

    @field_validator("arms", mode="before")
    @classmethod
    def _arms_in_words(cls, arms: object) -> object:
        """Read `("random", "ifd+given-length")`; `random` is always there, and first."""
        if isinstance(arms, str):
            arms = (arms,)
        if isinstance(arms, list | tuple):
            arms = _by_name(read_arm(text) for each in arms for text in str(each).split(",") if text.strip())
        return {RANDOM: {}} | dict(arms) if isinstance(arms, Mapping) else arms

    @field_validator("evals", mode="before")
    @classmethod
    def _evals_in_words(cls, evals: object) -> object:
        """Read `("gsm=gsm.jsonl",)`, and `{"gsm": "gsm.jsonl"}`."""
        if isinstance(evals, str):
            evals = (evals,)
        if isinstance(evals, list | tuple):
            pairs = [str(text).partition("=") for text in evals]
            if any(not (name and file) for name, _, file in pairs):
                raise ValueError("expected NAME=FILE: evaluation rows under a name")
            evals = _by_name((name, file) for name, _, file in pairs)
        if isinstance(evals, Mapping):
            return {name: {"data": given} if isinstance(given, str) else given for name, given in evals.items()}
        return evals

    @field_validator("arms", "evals")
    @classmethod
    def _names_are_names(cls, named: dict[str, Any]) -> dict[str, Any]:
        for name in named:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name: expected letters, digits and any of _.:+@-; NAME=... sets one")
        return named

    @model_validator(mode="after")
    def _something_is_asked(self) -> Self:
        if not (self.evals or self.harness.tasks):
            raise ValueError("nothing to evaluate on: expected --eval NAME=FILE, or --tasks NAME")
        return self

    @model_validator(mode="after")
    def _arms_differ(self) -> Self:
        folders = {folder_of(name) for name in self.arms}
        if len(folders) < len(self.arms):
            raise ValueError("two arms would have one folder: give them names that differ in letters or digits")
        if self.arms[RANDOM].is_ranked or self.arms[RANDOM].ids:
            raise ValueError("the arm `random` is what the others are compared with; expected another name")
        if self.train.epochs == 1 and any(arm.whole for arm in self.arms.values()):
            raise ValueError("all: with --epochs 1 it is the arm `random`; leave it out, or raise --epochs")
        return self

    @classmethod
    def from_options(cls, data: tuple[str, ...], out: str, **options: Any) -> Self:
        """Sort flat options, as a Python caller gives them, into their groups."""
        own: dict[str, Any] = {name: options.pop(name) for name in ("arms", "evals") if name in options}
        return checked(cls, {"data": data, "out": out, **own, **grouped(cls, options)})

    @property
    def part_rows(self) -> int:
        """One training is one part: the most that a kill can lose."""
        return 1


def folder_of(arm: str) -> str:
    """Return the name of an arm's folder."""
    return re.sub(r"[^\w.-]+", "-", arm)


def _by_name(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return a mapping. Raises `ValueError` for a name that is given twice."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name!r} is named twice")
        found[name] = value
    return found
