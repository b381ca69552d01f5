"""List what a study would do: its steps, their rows and tokens, and the time of what is left."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from gradprism.core.errors import GradPrismError, first_line
from gradprism.data.encode import PaperEncoder
from gradprism.engine.shards import rows_in
from gradprism.files.paths import to_path
from gradprism.measurement.settings import SpectraRecipe
from gradprism.models.device import find_device
from gradprism.models.rate import estimated_seconds
from gradprism.models.settings import CheckpointSettings
from gradprism.runs.layout import identity_of, published_parts, read_record, score_table
from gradprism.runs.resume_checks import ROWS
from gradprism.scoring.settings import ScoreRecipe
from gradprism.selection.settings import SelectRecipe
from gradprism.study.done import Done
from gradprism.study.offline import FourBytes, LocalModel, local_model, local_rows
from gradprism.study.settings import StudyRecipe
from gradprism.study.steps import Step, steps_of

Basis = Literal["counted", "estimated", "at most"]
"""How tokens are known: counted with the model's own tokenizer; estimated from a sample of rows, or from bytes where
the tokenizer is not here; or a bound, where the rows are not here or are yet to be selected."""
BASES: tuple[Basis, ...] = ("counted", "estimated", "at most")
_SCORE = 1 / 3
"""Share of a training pass that a forward pass takes."""
_RESOLVED = (
    "checkpoint.model", "checkpoint.adapter", "text.template", "text.date", "text.max_length", "prism.architecture",
)  # fmt: skip
"""Settings that a run resolves when it begins, so that they cannot be compared with its recipe's."""
Measuring = SpectraRecipe | ScoreRecipe


@dataclass(frozen=True)
class PlannedStep:
    """One step; selections, comparisons and reports measure no rows, and take no time that counts."""

    name: str
    is_done: bool
    rows: int | None = 0  # None where it cannot be known
    rows_done: int = 0
    tokens: float | None = 0.0  # prompt and response, after cuts; of all rows
    basis: Basis = "counted"
    seconds: float | None = 0.0  # of what is left


@dataclass(frozen=True)
class Missing:
    """Something that the study names and that is not on this machine, or that a run would refuse."""

    kind: Literal["model", "score", "data", "run"]
    name: str  # in the recipe
    given: str
    reason: str


@dataclass(frozen=True)
class Rate:
    """Seconds for 1,000 tokens of a model of 10^9 parameters."""

    seconds: float
    measured: bool  # in the runs of this study; else estimated from the rate of a matrix product


@dataclass(frozen=True)
class Total:
    """Several steps taken together; `unknown_*` count those that sums leave out."""

    steps: int
    steps_done: int
    rows: int
    rows_done: int
    tokens: float
    seconds: float
    basis: Basis  # the least certain
    unknown_rows: int  # and tokens
    unknown_seconds: int


@dataclass(frozen=True)
class Plan:
    """The steps of a study, what is missing on this machine, and the rate that times are computed with."""

    title: str
    out: str
    steps: tuple[PlannedStep, ...]
    missing: tuple[Missing, ...]
    rate: Rate | None  # None where nothing is left to time

    @property
    def groups(self) -> dict[str, Total]:
        """Totals of runs by model and text, of scores by pool, and of selections, comparisons and reports."""
        found: dict[str, list[PlannedStep]] = {}
        for step in self.steps:
            folders = step.name.split("/")[:-1]
            found.setdefault("/".join(folders if folders[0] in ("runs", "pools") else folders[:1]), []).append(step)
        return {name: total(steps) for name, steps in found.items()}


def total(steps: Iterable[PlannedStep]) -> Total:
    """Sum steps up."""
    steps = [*steps]
    return Total(
        len(steps),
        sum(step.is_done for step in steps),
        sum(step.rows or 0 for step in steps),
        sum(step.rows_done for step in steps),
        sum(step.tokens or 0 for step in steps),
        sum(step.seconds or 0 for step in steps),
        max((step.basis for step in steps), key=BASES.index, default="counted"),
        sum(step.rows is None for step in steps),
        sum(step.seconds is None for step in steps),
    )


class Planner:
    """Plans the steps of a study one by one."""

    def __init__(self, recipe: StudyRecipe, say: Callable[[str], None]) -> None:
        """Take a study, and `say`, which is told what is being read."""
        self._recipe, self._say = recipe, say
        self._local_model, self._local_rows = cache(local_model), cache(local_rows)  # each is read once
        self._steps = {step.name: step for step in steps_of(recipe)}
        self._done = Done(to_path(recipe.out))
        self._missing: dict[tuple[str, str], Missing] = {}

    def plan(self) -> Plan:
        """Plan every step, in the order of the steps."""
        steps = [self._planned(step) for step in self._steps.values()]
        work = [self._work(planned) for planned in steps]
        rate = self._rate() if any(work) else None
        pace = rate.seconds / 1e12 if rate else 0.0
        timed = tuple(
            replace(step, seconds=None if each is None else each * pace) for step, each in zip(steps, work, strict=True)
        )
        return Plan(self._recipe.title, self._recipe.out, timed, tuple(self._missing.values()), rate)

    def _planned(self, step: Step) -> PlannedStep:
        made, is_done = step.recipe, step in self._done
        if not isinstance(made, Measuring):
            return PlannedStep(step.name, is_done)
        rows, tokens, basis = self._size(step, made)
        table = score_table(str(made.name)) if isinstance(made, ScoreRecipe) else "examples"
        begun = _rows_begun(made)
        parts = [] if self._is_refused(step.name, made, rows, begun) else published_parts(to_path(made.out), table)
        there = [each for each in (rows, begun) if each is not None]
        done = rows_in(parts, made.part_rows, min(there, default=len(parts) * made.part_rows))
        return PlannedStep(step.name, is_done or done == rows, rows, max(done, 0), tokens, basis)

    def _size(self, step: Step, made: Measuring) -> tuple[int | None, float | None, Basis]:
        """Return rows, tokens and how they are known."""
        origin = self._origin(step)
        source: Any = origin.recipe
        rows, model = self._local_rows(source.data, source.read), self._model(step.name, made)
        first, *others = origin.name.split("/")
        name = others[0] if first == "pools" else others[-1]
        most = [made.read.limit, made.read.sample, source.read.limit, source.read.sample]
        selection = self._steps[step.needs[0]].recipe if origin is not step else None  # that is yet to be done
        if isinstance(selection, SelectRecipe) and (selection.select.top or "").isdigit():
            most.append(int(str(selection.select.top)))
        if isinstance(rows, str):
            self._miss("data", name, ", ".join(source.data), rows)
            limit = min(filter(None, most), default=None)
            return limit, limit and float(limit * made.text.most_tokens), "at most"
        try:
            encoder = model.encoder(made.text, rows.n_conversations)
        except GradPrismError as error:
            self._miss("run", name, made.text.template, first_line(error))
            encoder, model = PaperEncoder(FourBytes(), made.text), LocalModel()
        tokens = rows.count_tokens(encoder)
        if origin is not step:
            limit = min(filter(None, [*most, rows.rows]), default=0)
            return limit, tokens * limit / max(rows.rows, 1), "at most"
        return rows.rows, tokens, "counted" if model.tokenizer is not None and rows.is_whole else "estimated"

    def _origin(self, step: Step) -> Step:
        """Return the step that reads the rows of a step: itself, or the first of those that are to make its set."""
        made = step.recipe
        if not step.needs or (isinstance(made, SpectraRecipe) and to_path(made.data[0]).exists()):
            return step
        return self._origin(self._steps[step.needs[0]])

    def _model(self, step: str, made: Measuring) -> LocalModel:
        """Return what is here of the model that a step loads; nothing where a judge at an endpoint answers."""
        settings = _checkpoint_of(made)
        if settings is None:
            return LocalModel()
        found = self._local_model(settings, self._say)
        if found.missing:
            is_score, names = isinstance(made, ScoreRecipe), step.split("/")
            self._miss("score" if is_score else "model", names[3 if is_score else 1], settings.model, found.missing)
        return found

    def _is_refused(self, step: str, made: Measuring, rows: int | None, begun_rows: int | None) -> bool:
        """Return whether a run was begun with other settings, with which it would be refused; name it then.

        With more rows it is extended.
        """
        names: list[str] = []
        with suppress(GradPrismError):
            if isinstance(made, SpectraRecipe) and (begun := identity_of(to_path(made.out))):
                now = made.identity()
                names = sorted(key for key in now if not key.startswith(_RESOLVED) and begun.get(key) != now[key])
                if {*names} <= {*ROWS} and (rows or 0) >= (begun_rows or 0):
                    return False
        if names:
            reason = f"begun with other settings ({', '.join(names)}), so it would be refused"
            self._miss("run", step, "another `out` keeps both", reason)
        return bool(names)

    def _miss(self, kind: Literal["model", "score", "data", "run"], name: str, given: str, reason: str) -> None:
        self._missing.setdefault((kind, name), Missing(kind, name, given, reason))

    def _work(self, planned: PlannedStep) -> float | None:
        """Return parameters x tokens of what is left; None where either is unknown."""
        made = self._steps[planned.name].recipe
        if not isinstance(made, Measuring) or planned.is_done:
            return 0.0
        parameters = self._parameters(made)
        if not planned.rows or planned.tokens is None or parameters is None:
            return None
        share = _SCORE if isinstance(made, ScoreRecipe) else 1.0
        return parameters * share * planned.tokens * (1 - planned.rows_done / planned.rows)

    def _parameters(self, made: Measuring) -> float | None:
        settings = _checkpoint_of(made)
        if settings is None:
            return None
        given = (model.parameters for model in self._recipe.models.values() if model.model == settings.model)
        return next(given, None) or self._local_model(settings, self._say).parameters

    def _rate(self) -> Rate:
        """Return the rate of the runs that are there; before there are any, that of a matrix product, measured once."""
        seconds, work = 0.0, 0.0
        for step in self._steps.values():
            if isinstance(step.recipe, SpectraRecipe) and (parameters := self._parameters(step.recipe)):
                with suppress(GradPrismError):
                    sessions = read_record(to_path(step.recipe.out)).get("sessions", ())
                    worked = [session for session in sessions if session["tokens"]]
                    seconds += sum(session["seconds"] for session in worked)
                    work += parameters * sum(session["tokens"] for session in worked)
        if work:
            return Rate(1e12 * seconds / work, measured=True)
        device = find_device(self._recipe.execution.device)
        return Rate(estimated_seconds(1e12, device) / (self._recipe.engine.workers or 1), False)


def _rows_begun(made: Measuring) -> int | None:
    """Return the number of rows that a run was begun with; None where there is none."""
    with suppress(GradPrismError):
        return int(read_record(to_path(made.out))["data"]["rows"])
    return None


def _checkpoint_of(made: Measuring) -> CheckpointSettings | None:
    """Return the model that a step loads here; None where a judge at an endpoint answers, or none is named."""
    if isinstance(made, SpectraRecipe):
        return made.checkpoint
    if made.metric == "reward" and (name := made.reward.reward_model):
        return CheckpointSettings(model=name, revision=made.reward.reward_revision, dtype=made.reward.reward_dtype)
    if made.metric in ("instag", "difficulty"):
        kind, _, name = (made.judge.judge or "").partition(":")
        return CheckpointSettings(model=name, dtype=made.judge.judge_dtype) if kind == "local" else None
    return made.checkpoint
