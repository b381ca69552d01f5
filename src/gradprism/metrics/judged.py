"""InsTag and difficulty: examples to a judge, its answers to scores, and the tags of a whole set.

InsTag (Lu et al. 2023, arXiv 2308.07074) counts the intents of an instruction: tags of a row are its complexity, the
different tags of a set its diversity. The prompts are not the published ones; see `prompts`.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import OnBatch
from gradprism.data.example import Example, RowProblemError
from gradprism.metrics.context import MetricContext
from gradprism.metrics.judge.judge import Answer, Judge, Messages
from gradprism.metrics.judge.parse import Parsed, parse_difficulty, parse_tags
from gradprism.metrics.judge.prompts import Prompt, make_prompt
from gradprism.metrics.metric import Metric, Plan, Score
from gradprism.metrics.settings import JudgeSettings, RequestSettings
from gradprism.models.settings import ExecutionSettings

LOCAL = "local:"
_ANSWER = {
    "raw_answer": pl.String,
    "finish_reason": pl.String,
    "parse": pl.String,  # json | repaired | pattern | none; with ", last of several" where it holds different answers
    "n_prompt_tokens": pl.Int32,
    "n_answer_tokens": pl.Int32,
}


READING = 2
"""Counts how often the rules for reading an answer have changed: a score is never made by two."""


class Judged(Metric):
    """A question to a judge for each row, and its answer with how it was read."""

    needs = "judge"

    def __init__(self, judge: Judge, prompt: Prompt, max_tokens: int):
        """`max_tokens` is what an answer may have, for the reason of one that was cut."""
        self._judge, self._prompt, self._max_tokens = judge, prompt, max_tokens
        self.identity = {**judge.identity, "judge.template": prompt.digest, "judge.reading": READING}
        self.about = f"judged by {judge.name}"
        self.waits = not judge.name.startswith(LOCAL)
        self._n_failed = 0

    @classmethod
    def make(cls, context: MetricContext) -> Metric:
        """Make the metric of the recipe's judge. Nothing is sent or loaded before the first score."""
        settings = context.settings
        parts = (settings.judge, settings.requests, settings.execution, context.answers_file, context.say)
        return make_judged(cls, *parts, will_ask=context.will_score)

    def score(self, examples: Sequence[Example], on_batch: OnBatch) -> list[Score]:
        """Ask about every example that can be asked about. Raises `GradPrismError` where the judge is out of reach."""
        places, questions, scores = self._questions(examples)
        on_batch(len(scores), 0)
        with closing(self._judge.answers(questions)) as answers:
            for found in answers:
                if found is None:
                    self._update_note()
                    on_batch(0, 0)
                    continue
                place, answer = found
                row = places[place]
                prompt = "" if self._prompt.shows(examples[row]) else questions[place][0]["content"]
                scores[row] = self._score(answer, prompt)
                self._n_failed += scores[row].status == "failed"
                self._update_note()
                on_batch(1, answer.n_tokens)
        return [scores[place] for place in range(len(examples))]

    def plan(self, examples: Sequence[Example]) -> Plan:
        """Count the rows that would be asked about."""
        _, questions, skipped = self._questions(examples)
        return replace(self._judge.plan(questions), skipped=len(skipped))

    def _questions(self, examples: Sequence[Example]) -> tuple[list[int], list[Messages], dict[int, Score]]:
        places, questions, skipped = [], [], {}
        for place, example in enumerate(examples):
            try:
                questions.append(self._prompt.messages(example))
                places.append(place)
            except RowProblemError as problem:
                skipped[place] = Score.skipped(str(problem))
        return places, questions, skipped

    def _update_note(self) -> None:
        failed = f"{self._n_failed} failed" if self._n_failed else ""
        self.note = ", ".join(filter(None, [self._judge.note, failed]))

    def _score(self, answer: Answer, prompt: str) -> Score:
        """Score an answer; what it repeats of `prompt` is no part of it."""
        own: dict[str, Any] = {
            "raw_answer": answer.text,
            "finish_reason": answer.finish_reason,
            "n_prompt_tokens": answer.n_prompt_tokens,
            "n_answer_tokens": answer.n_answer_tokens,
        }
        if answer.problem:
            return Score.failed(answer.problem, **own)
        if answer.value is not None:
            return Score(answer.value, own | {"probability_mass": answer.probability_mass})
        parsed = self._read(answer.text or "", prompt)
        own["parse"] = f"{parsed.parse}, last of several" if parsed.several else parsed.parse
        if answer.finish_reason == "length":
            so_far = parsed.problem or self._so_far(parsed)
            return Score.failed(f"the answer was cut at --judge-max-tokens {self._max_tokens} ({so_far})", **own)
        if parsed.value is None:
            why = f" ({parsed.problem})" if parsed.problem else ""
            return Score.failed(f"{self._missing}{why}: {_head(answer.text or '')}", **own)
        return Score(parsed.value, {**own, **self._also(parsed)})

    _missing: str
    """Says what an answer without a value lacks."""

    @abstractmethod
    def _read(self, text: str, prompt: str) -> Parsed:
        """Read an answer to a prompt."""

    @abstractmethod
    def _so_far(self, parsed: Parsed) -> str:
        """Word what an answer that was cut has said."""

    @abstractmethod
    def _also(self, parsed: Parsed) -> Mapping[str, Any]:
        """Return own columns beside those of every judged metric."""


class Instag(Judged):
    """How many different intent tags a judge gives the instruction; `tags` are they, normalised."""

    name = "instag"
    title = "InsTag"
    description = "number of intent tags that a judge gives the instruction (Lu et al. 2023)"
    columns = {**_ANSWER, "tags": pl.List(pl.String)}  # noqa: RUF012
    _missing = "no tags in the answer"

    def _read(self, text: str, prompt: str) -> Parsed:
        return parse_tags(text, prompt)

    def _so_far(self, parsed: Parsed) -> str:
        return f"{parsed.value or 0:.0f} tags so far"

    def _also(self, parsed: Parsed) -> Mapping[str, Any]:
        return {"tags": parsed.tags}


class Difficulty(Judged):
    """How difficult a judge finds the instruction, 1 to 10; by a local one the expected value, so without ties."""

    name = "difficulty"
    description = "1 to 10, by a judge"
    columns = _ANSWER
    _missing = "no number from 1 to 10 in the answer"

    def __init__(self, judge: Judge, prompt: Prompt, max_tokens: int, *, expected: bool = False):
        """`expected` says that the judge gives the expected value over its probabilities itself."""
        super().__init__(judge, prompt, max_tokens)
        if expected:
            self.columns = {**_ANSWER, "probability_mass": pl.Float64}

    def _read(self, text: str, prompt: str) -> Parsed:
        return parse_difficulty(text, prompt)

    def _so_far(self, parsed: Parsed) -> str:
        return "no number so far" if parsed.value is None else f"it says {parsed.value:g} so far"

    def _also(self, parsed: Parsed) -> Mapping[str, Any]:
        return {}


def make_judged(
    metric: "type[Judged]",
    judge: JudgeSettings,
    requests: RequestSettings,
    execution: ExecutionSettings,
    cache_file: Path,
    say: Callable[[str], None],
    *,
    will_ask: bool = True,
) -> Metric:
    """Make a judged metric. Nothing is sent or loaded before the first score; `will_ask` says that there will be one.

    Raises `GradPrismError` where no judge is named, or its address, model or template cannot be used.
    """
    if not judge.judge or judge.judge == LOCAL:
        raise GradPrismError(
            f"--metric {metric.name} needs a judge. Expected --judge with the name of a model at an OpenAI-compatible "
            f"endpoint (--base-url http://localhost:8000/v1; the OpenAI service otherwise), or {LOCAL}MODEL for one "
            "that runs here: a hub id, a folder, a .gguf file or a built-in name (see `gradprism models`)."
        )
    prompt = make_prompt(metric.name, judge.judge_template)
    if not judge.judge.startswith(LOCAL):
        from gradprism.metrics.judge.client import Endpoint
        from gradprism.metrics.judge.endpoint import EndpointJudge

        endpoint = Endpoint(judge, requests)
        if will_ask:
            endpoint.find_key()  # a missing one is found before anything begins
        return metric(EndpointJudge(endpoint, cache_file), prompt, judge.judge_max_tokens)
    from gradprism.metrics.judge.local import Rater, Writer

    if metric is not Difficulty:
        return metric(Writer(judge, execution, say), prompt, judge.judge_max_tokens)
    return Difficulty(Rater(judge, execution, say), prompt, judge.judge_max_tokens, expected=True)


def _head(text: str, longest: int = 80) -> str:
    flat = " ".join(text.split())
    return repr(flat if len(flat) <= longest else flat[:longest] + "…")
