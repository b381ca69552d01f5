"""What a study would do: nothing is computed, no weights are loaded, nothing is downloaded or written."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from typing import Any

from gradprism.comparison.settings import CompareRecipe
from gradprism.core.errors import GradPrismError
from gradprism.data.encode import PaperEncoder
from gradprism.data.settings import ReadSettings, TextSettings
from gradprism.engine.shards import rows_in
from gradprism.files.places import place
from gradprism.measurement.settings import SpectraRecipe
from gradprism.models.device import find_device
from gradprism.models.rate import multiplication_rate
from gradprism.models.settings import CheckpointSettings
from gradprism.runs.layout import published_parts, read_record, score_table
from gradprism.runs.scores import read_score_record
from gradprism.scoring.settings import ScoreRecipe
from gradprism.selection.settings import SelectRecipe
from gradprism.study.done import Done
from gradprism.study.looking import FourBytes, Looker, SeenData, SeenModel
from gradprism.study.plan import (
    Pace,
    Plan,
    PlannedRun,
    PlannedScore,
    Reading,
    Unseen,
    estimated_pace,
    measured_pace,
)
from gradprism.study.settings import StudyRecipe
from gradprism.study.steps import Step, steps_of

Sessions = list[tuple[float, int]]
_RESOLVED = (
    "checkpoint.model",
    "checkpoint.adapter",
    "text.template",
    "text.date",
    "text.max_length",
    "prism.architecture",
)
"""Settings that a run resolves when it begins: paths, and positions of the model."""


class Planner:
    """Goes through the steps of a study and looks at what each would work on."""

    def __init__(self, recipe: StudyRecipe, looker: Looker) -> None:
        """`looker` sees this machine's models and data."""
        self._recipe, self._looker = recipe, looker
        self._steps = steps_of(recipe)
        self._done = Done(place(recipe.out))
        self._unseen: dict[tuple[str, str], Unseen] = {}
        self._rates: dict[str, float] = {}

    def plan(self) -> Plan:
        """Everything, in the order of the steps."""
        recipe = self._recipe
        scores = tuple(self._score(step) for step in self._of(ScoreRecipe))
        runs = tuple(self._run(step) for step in self._of(SpectraRecipe))
        return Plan(
            recipe.title, recipe.out, runs, scores,
            self._finished(SelectRecipe), self._finished(CompareRecipe),
            tuple(self._unseen.values()), self._device, recipe.engine.workers or 1,
            dict(self._rates),
        )  # fmt: skip

    def _of(self, kind: type) -> list[Step]:
        return [step for step in self._steps if isinstance(step.recipe, kind)]

    def _finished(self, kind: type) -> tuple[int, int]:
        steps = self._of(kind)
        return len(steps), sum(step in self._done for step in steps)

    def _run(self, step: Step) -> PlannedRun:
        made = step.recipe
        assert isinstance(made, SpectraRecipe)
        _, model, text, name = step.name.split("/", 3)
        seen = self._seen_model(model, made.checkpoint)
        reading = self._run_reading(name, made, seen)
        done = 0 if self._differs(step.name, made) else _rows_done(made.out, "examples", made.part_rows, reading)
        pace = measured_pace(self._sessions[model, text]) or measured_pace(self._of_model(model))
        if pace is None and done != reading.rows:
            parameters = self._recipe.models[model].parameters or seen.parameters
            pace = self._estimate(parameters, made.checkpoint.dtype, None)
        return PlannedRun(model, text, name, reading, done, pace)

    def _differs(self, name: str, made: SpectraRecipe) -> bool:
        """Whether the run was begun with other settings, with which it would be refused."""
        try:
            begun = read_record(place(made.out)).get("identity", {})
        except GradPrismError:
            return False
        wanted = {key: value for key, value in made.identity().items() if not key.startswith(_RESOLVED)}
        different = sorted(key for key, value in wanted.items() if begun.get(key) != value)
        if different:
            reason = f"begun with other settings ({', '.join(different)}), so it would be refused"
            self._miss(Unseen("run", name, "another `out` keeps both", reason))
        return bool(different)

    def _run_reading(self, name: str, made: SpectraRecipe, seen: SeenModel) -> Reading:
        """Of a set that is there; of one that is chosen later, from the pool it is chosen out of."""
        selection = next((step.recipe for step in self._of(SelectRecipe) if step.name == f"sets/{name}"), None)
        chosen = self._recipe.chosen_sets.get(name)
        if (selection is None and chosen is None) or place(made.data[0]).exists():
            return self._reading(name, made.data, made.read, seen, made.text)
        if isinstance(selection, SelectRecipe):
            return _chosen_of(self._reading(name, selection.data, selection.read, seen, made.text), made.read.limit)
        assert chosen is not None
        rows = min(self._recipe.ends, made.read.limit or self._recipe.ends)
        score = next(step.recipe for step in self._of(ScoreRecipe) if step.name.startswith(f"pools/{chosen[0]}/"))
        assert isinstance(score, ScoreRecipe)
        pool = self._reading(chosen[0], score.data, score.read, seen, made.text)
        if pool.basis == "bound" or not pool.rows or pool.tokens is None:
            return _at_most(rows, made.text)
        basis = "scaled" if pool.basis == "counted" else pool.basis
        return Reading(rows, round(pool.skipped * rows / pool.rows), pool.tokens * rows / pool.rows, basis)

    def _reading(
        self, name: str, data: tuple[str, ...], read: ReadSettings, seen: SeenModel, text: TextSettings
    ) -> Reading:
        rows = self._looker.data(data, read)
        if isinstance(rows, SeenData):
            try:
                return rows.reading(seen.encoder(text, rows.n_conversations), own=seen.tokenizer is not None)
            except GradPrismError as error:
                self._miss(Unseen("run", name, text.template, str(error).splitlines()[0]))
                return rows.reading(PaperEncoder(FourBytes(), text), own=False)
        self._miss(Unseen("data", name, ", ".join(data), rows))
        return _at_most(_most_rows(read), text)

    def _score(self, step: Step) -> PlannedScore:
        made = step.recipe
        assert isinstance(made, ScoreRecipe)
        name = str(made.name)
        pool = step.name.split("/")[1]
        by, settings = _scored_by(made)
        seen = self._seen_model(name, settings, kind="score") if settings else SeenModel()
        reading = self._reading(pool, made.data, made.read, seen, made.text)
        done = _rows_done(made.out, score_table(name), made.part_rows, reading)
        pace = measured_pace(_score_sessions(made.out, name))
        if pace is None and settings is not None:
            own = (model.parameters for model in self._recipe.models.values() if model.model == settings.model)
            pace = self._estimate(next(own, None) or seen.parameters, settings.dtype, made.metric)
        return PlannedScore(pool, name, made.metric, by, reading, done, pace)

    def _seen_model(self, name: str, settings: CheckpointSettings, kind: Any = "model") -> SeenModel:
        seen = self._looker.model(settings)
        if seen.reason is not None:
            self._miss(Unseen(kind, name, settings.model, seen.reason))
        return seen

    def _miss(self, unseen: Unseen) -> None:
        self._unseen.setdefault((unseen.kind, unseen.name), unseen)

    def _estimate(self, parameters: float | None, dtype: str, metric: str | None) -> Pace | None:
        if parameters is None:
            return None
        kind = "bfloat16" if dtype == "auto" and self._device != "cpu" else dtype.replace("auto", "float32")
        rate = self._rate(kind) * (self._recipe.engine.workers or 1)
        return estimated_pace(parameters, rate, metric, self._device != "cpu" and kind != "float32")

    def _rate(self, kind: str) -> float:
        if kind not in self._rates:
            self._rates[kind] = multiplication_rate(self._device, kind)
        return self._rates[kind]

    @cached_property
    def _device(self) -> str:
        return find_device(self._recipe.execution.device)

    @cached_property
    def _sessions(self) -> dict[tuple[str, str], Sessions]:
        """Seconds and tokens of every session so far, by model and text."""
        found: dict[tuple[str, str], Sessions] = {}
        for step in self._of(SpectraRecipe):
            _, model, text, _ = step.name.split("/", 3)
            found.setdefault((model, text), []).extend(_run_sessions(str(step.recipe.out)))
        return found

    def _of_model(self, model: str) -> Iterator[tuple[float, int]]:
        return (session for (name, _), sessions in self._sessions.items() if name == model for session in sessions)


def _at_most(rows: int | None, text: TextSettings) -> Reading:
    """Of data that cannot be seen: no row has more tokens than it may have."""
    return Reading(rows, 0, rows * text.most_tokens, "bound") if rows else Reading(None)


def _chosen_of(reading: Reading, limit: int | None) -> Reading:
    """Of a set that is yet to be selected: at most the rows that it is selected from."""
    if not reading.rows or reading.tokens is None:
        return reading
    rows = min(reading.rows, limit or reading.rows)
    return Reading(rows, 0, reading.tokens * rows / reading.rows, "bound")


def _most_rows(read: ReadSettings) -> int | None:
    first, _, last = (read.rows or "").partition(":")
    taken = int(last) - int(first or 0) if last.isdigit() and (first or "0").isdigit() else None
    return min((most for most in (read.limit, read.sample, taken) if most), default=None)


def _rows_done(out: str, table: str, part_rows: int, reading: Reading) -> int:
    """Rows in the parts that are published already; of as many as the run itself says that there are."""
    parts = published_parts(place(out), table)
    rows = reading.rows or part_rows * len(parts)
    if parts:
        with suppress(GradPrismError, KeyError):
            rows = int(read_record(place(out))["data"]["rows"])
    return rows_in(parts, part_rows, rows)


def _run_sessions(out: str) -> Sessions:
    try:
        return _told(read_record(place(out)).get("sessions", ()))
    except GradPrismError:
        return []


def _score_sessions(out: str, name: str) -> Sessions:
    try:
        return _told(read_score_record(place(out), name).get("sessions", ()))
    except GradPrismError:
        return []


def _told(sessions: Iterable[Any]) -> Sessions:
    return [(float(session["seconds"]), int(session["tokens"])) for session in sessions]


def _scored_by(made: ScoreRecipe) -> tuple[str, CheckpointSettings | None]:
    """Who gives a score, and the model that is loaded for it here, if one is."""
    if made.metric == "reward":
        name = made.reward.reward_model
        if name is None:
            return "no reward model is named", None
        return name, CheckpointSettings(
            model=name, revision=made.reward.reward_revision, dtype=made.reward.reward_dtype
        )
    if made.metric in ("instag", "difficulty"):
        judge = made.judge.judge or "no judge is named"
        kind, colon, model = judge.partition(":")
        local = colon and kind == "local"
        return judge, CheckpointSettings(model=model, dtype=made.judge.judge_dtype) if local else None
    return (made.checkpoint.model, made.checkpoint) if made.checkpoint else ("no model is named", None)
