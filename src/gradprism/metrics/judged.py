"""InsTag and difficulty: metrics computed from the answers of a judge, a language model.

InsTag (Lu et al. 2023, arXiv 2308.07074) counts the intents of an instruction: the number of tags of a row is its
complexity, that of the different tags of a set its diversity. The prompts are not the published ones; see `prompts`.
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
from gradprism.metrics.judge.difficulty import parse_difficulty
from gradprism.metrics.judge.judge import Answer, Judge, Messages, shortened
from gradprism.metrics.judge.parsed import NOTHING, Parsed
from gradprism.metrics.judge.prompts import Prompt, make_prompt
from gradprism.metrics.judge.tags import parse_tags
from gradprism.metrics.metric import Metric, Plan, Score
from gradprism.metrics.settings import JudgeSettings, RequestSettings
from gradprism.models.settings import ExecutionSettings

LOCAL = "local:"
_ANSWER = {
    "raw_answer": pl.String,
    "finish_reason": pl.String,
    "parse": pl.String,  # json | repaired | pattern | none; with ", last of several" where several answers differ
    "n_prompt_tokens": pl.Int32,
    "n_answer_tokens": pl.Int32,
}


READING = 2
"""Version of the rules for parsing answers; the scores of a run are never parsed by two versions."""


class Judged(Metric):
    """A metric that asks a judge about each row, and parses its answer."""

    needs = "judge"

    def __init__(self, judge: Judge, prompt: Prompt, max_tokens: int):
        """Make the metric; `max_tokens` limits an answer, and is named in the reason of one that was cut."""
        self._judge, self._prompt, self._max_tokens = judge, prompt, max_tokens
        self.identity = {**judge.identity, "judge.template": prompt.digest, "judge.reading": READING}
        self.about = f"judged by {judge.name}"
        self.waits = not judge.name.startswith(LOCAL)
        self._n_failed = 0

    @classmethod
    def make(cls, context: MetricContext) -> Metric:
        """Make the metric by the recipe's judge. Nothing is sent or loaded before the first score."""
        settings = context.settings
        parts = (settings.judge, settings.requests, settings.execution, context.answers_file, context.say)
        return make_judged(cls, *parts, will_ask=context.will_score)

    def score(self, examples: Sequence[Example], on_batch: OnBatch) -> list[Score]:
        """Score every example that a prompt can be made of. Raises `GradPrismError` if the judge is unreachable."""
        indices, questions, scores = self._make_questions(examples)
        on_batch(len(scores), 0)
        with closing(self._judge.answers(questions)) as answers:
            for found in answers:
                if found is None:
                    self._update_note()
                    on_batch(0, 0)
                    continue
                number, answer = found
                index = indices[number]
                prompt = "" if self._prompt.shows(examples[index]) else questions[number][0]["content"]
                scores[index] = self._score_answer(answer, prompt)
                self._n_failed += scores[index].status == "failed"
                self._update_note()
                on_batch(1, answer.n_tokens)
        return [scores[index] for index in range(len(examples))]

    def plan(self, examples: Sequence[Example]) -> Plan:
        """Count the rows to ask about, and the tokens."""
        _, questions, skipped = self._make_questions(examples)
        return replace(self._judge.plan(questions), skipped=len(skipped))

    def _make_questions(self, examples: Sequence[Example]) -> tuple[list[int], list[Messages], dict[int, Score]]:
        """Return the questions with the indices of their examples, and the scores of skipped examples by index."""
        indices, questions, skipped = [], [], {}
        for index, example in enumerate(examples):
            try:
                questions.append(self._prompt.messages(example))
                indices.append(index)
            except RowProblemError as problem:
                skipped[index] = Score.skipped(str(problem))
        return indices, questions, skipped

    def _update_note(self) -> None:
        failed = f"{self._n_failed} failed" if self._n_failed else ""
        self.note = ", ".join(filter(None, [self._judge.note, failed]))

    def _score_answer(self, answer: Answer, prompt: str) -> Score:
        """Return the score that an answer states; text that it repeats from `prompt` is ignored."""
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
        try:
            parsed = self._parse(answer.text or "", prompt)
        except RecursionError:
            parsed = replace(NOTHING, problem="its JSON is nested too deeply")
        own["parse"] = f"{parsed.parse}, last of several" if parsed.several else parsed.parse
        if answer.finish_reason == "length":
            found = parsed.problem or self._describe_partial(parsed)
            return Score.failed(f"the answer was cut at --judge-max-tokens {self._max_tokens} ({found})", **own)
        if parsed.value is None:
            why = f" ({parsed.problem})" if parsed.problem else ""
            return Score.failed(f"{self._no_value_reason}{why}: {shortened(answer.text or '', 80)!r}", **own)
        return Score(parsed.value, {**own, **self._own_columns(parsed)})

    _no_value_reason: str
    """The reason of a row whose answer has no value."""

    @abstractmethod
    def _parse(self, text: str, prompt: str) -> Parsed:
        """Parse the answer to a prompt."""

    @abstractmethod
    def _describe_partial(self, parsed: Parsed) -> str:
        """Describe the content of an answer that was cut."""

    @abstractmethod
    def _own_columns(self, parsed: Parsed) -> Mapping[str, Any]:
        """Return the values of columns that only this metric has."""


class Instag(Judged):
    """The number of different intent tags that a judge gives the instruction; the column `tags` has them."""

    name = "instag"
    title = "InsTag"
    description = "number of intent tags that a judge gives the instruction (Lu et al. 2023)"
    columns = {**_ANSWER, "tags": pl.List(pl.String)}  # noqa: RUF012
    _no_value_reason = "no tags in the answer"

    def _parse(self, text: str, prompt: str) -> Parsed:
        return parse_tags(text, prompt)

    def _describe_partial(self, parsed: Parsed) -> str:
        return f"{parsed.value or 0:.0f} tags so far"

    def _own_columns(self, parsed: Parsed) -> Mapping[str, Any]:
        return {"tags": parsed.tags}


class Difficulty(Judged):
    """The difficulty of the instruction, 1 to 10, by a judge; by a local one an expected value, hence without ties."""

    name = "difficulty"
    description = "1 to 10, by a judge"
    columns = _ANSWER
    _no_value_reason = "no number from 1 to 10 in the answer"

    def __init__(self, judge: Judge, prompt: Prompt, max_tokens: int, *, expected: bool = False):
        """Make the metric; `expected` says that the judge returns an expected value and no text."""
        super().__init__(judge, prompt, max_tokens)
        if expected:
            self.columns = {**_ANSWER, "probability_mass": pl.Float64}

    def _parse(self, text: str, prompt: str) -> Parsed:
        return parse_difficulty(text, prompt)

    def _describe_partial(self, parsed: Parsed) -> str:
        return "no number so far" if parsed.value is None else f"it says {parsed.value:g} so far"

    def _own_columns(self, parsed: Parsed) -> Mapping[str, Any]:
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
    """Make a judged metric. Nothing is sent or loaded before the first score; without `will_ask` no key is needed.

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
            endpoint.find_key()  # raises now if it is missing
        return metric(EndpointJudge(endpoint, cache_file, say), prompt, judge.judge_max_tokens)
    from gradprism.metrics.judge.local import Rater, Writer

    if metric is not Difficulty:
        return metric(Writer(judge, execution, say), prompt, judge.judge_max_tokens)
    return Difficulty(Rater(judge, execution, say), prompt, judge.judge_max_tokens, expected=True)
