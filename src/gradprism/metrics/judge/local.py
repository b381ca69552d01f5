"""A judge that runs on this machine. It generates tags; its difficulty is an expected value over its probabilities."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import Say
from gradprism.data.template_process import render_apart
from gradprism.data.thoughts import has_thought_marks, opening_at_end
from gradprism.metrics.judge.judge import Answer, Answers, Judge, Messages, n_tokens_asked
from gradprism.metrics.metric import Plan
from gradprism.metrics.settings import JudgeSettings
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.positions import position_limit
from gradprism.models.settings import CheckpointSettings, ExecutionSettings

_PREFIX = "local:"
_PLAIN_END = "\n\nAnswer:\n"  # ends in a newline, behind which a number begins with its digit


@dataclass(frozen=True)
class Question:
    """One prompt as tokens, its index, and the mark of a thought that the prompt has opened."""

    index: int
    ids: tuple[int, ...]
    opening: str = ""


class Prompts:
    """Turns messages into prompts, up to the position where the judge begins to write."""

    def __init__(self, tokenizer: Any):
        """Use the tokenizer's chat template; where it has none, prompts are the plain text of the messages."""
        self.tokenizer = tokenizer
        bos = tokenizer.bos_token_id
        self._bos = bos if bos is not None and list(tokenizer("a")["input_ids"])[:1] == [bos] else None

    def text(self, messages: Messages) -> str:
        """Return the prompt as text, with thinking disabled. Raises what the chat template raises.

        Some templates accept content as parts only, and drop plain text without an error: both forms are tried.
        """
        if not getattr(self.tokenizer, "chat_template", None):
            return "\n\n".join(message["content"] for message in messages) + _PLAIN_END
        plain = [dict(message) for message in messages]
        in_parts = [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in messages]
        options = {"chat_template": self.tokenizer.get_chat_template(), **self.tokenizer.special_tokens_map}
        for form in (plain, in_parts):
            text, _ = render_apart(
                {"conversations": [form], "add_generation_prompt": True, "enable_thinking": False, **options}
            )
            if all(message["content"].strip() in text for message in messages):
                return text
        raise ValueError("it leaves the question out, as text and as parts")

    def ids(self, text: str) -> list[int]:
        """Return the tokens of a prompt, with exactly one beginning-of-text token."""
        ids = list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        return ids if self._bos is None or ids[:1] == [self._bos] else [self._bos, *ids]


@dataclass(frozen=True)
class NumberTokens:
    """The tokens of the numbers 1 to 10 at the end of a prompt.

    `before` stands in front of every number (such as a token for the space); `digits` are 1 to 9. 10 is one token,
    `ten`, or the token of 1 followed by `zero`.
    """

    before: tuple[int, ...]
    digits: tuple[int, ...]
    ten: int | None
    zero: int | None

    @classmethod
    def of(cls, prompts: Prompts) -> "NumberTokens":
        """Find the tokens. Raises `GradPrismError` for a tokenizer that encodes the numbers in another way."""
        prompt = prompts.text([{"role": "user", "content": "?"}])
        opening = opening_at_end(prompt).strip()
        if opening:
            raise GradPrismError(
                f"difficulty by a local judge needs a number right behind the prompt, and this judge's chat template "
                f"ends in {opening}, which opens a thought. Expected a model that answers directly, or an endpoint."
            )
        written = _numbers_after(prompts, prompt)
        before = tuple(ids[0] for ids in takewhile(lambda ids: len({*ids}) == 1, zip(*written, strict=False)))
        *digits, ten = (tuple(ids[len(before) :]) for ids in written)
        known = all(len(ids) == 1 for ids in digits) and len({*digits, ten}) == 10
        if not known or not (len(ten) == 1 or (len(ten) == 2 and ten[:1] == digits[0])):
            raise GradPrismError(
                f"difficulty by a local judge needs a separate token for each number from 1 to 10; "
                f"{type(prompts.tokenizer).__name__} writes them as {written}. Expected another model, or an endpoint."
            )
        ones = tuple(ids[0] for ids in digits)
        return cls(before, ones, ten[0] if len(ten) == 1 else None, ten[1] if len(ten) == 2 else None)

    @property
    def after(self) -> tuple[int, ...]:
        """Tokens to append to a prompt: `before`, and the 1 where 10 is two tokens, to see whether a 0 follows."""
        return self.before if self.zero is None else (*self.before, self.digits[0])


def _numbers_after(prompts: Prompts, start: str) -> list[list[int]]:
    """Return the tokens of each number behind `start`; encoded alone where the end of `start` merges with digits."""
    base = prompts.ids(start)
    whole = [prompts.ids(start + str(number)) for number in range(1, 11)]
    if all(ids[: len(base)] == base for ids in whole):
        return [ids[len(base) :] for ids in whole]
    return [list(prompts.tokenizer(str(n), add_special_tokens=False)["input_ids"]) for n in range(1, 11)]


class LocalJudge(Judge):
    """A judge by a causal language model on this machine, which is loaded for the first question."""

    def __init__(self, judge: JudgeSettings, execution: ExecutionSettings, say: Say):
        """Find the model without loading it. Raises `GradPrismError` where it is not found."""
        if judge.temperature:
            raise GradPrismError(
                f"--temperature {judge.temperature:g} has no effect on a local judge, which gives the most probable "
                "answer. Leave it out, or use an endpoint."
            )
        model = str(judge.judge).removeprefix(_PREFIX)
        self._checkpoint = find_checkpoint(CheckpointSettings(model=model, dtype=judge.judge_dtype), say)
        self._execution, self._say, self._max_tokens = execution, say, judge.judge_max_tokens
        path = Path(model).expanduser()
        self.name = _PREFIX + (str(path.resolve()) if path.exists() else model)
        revision = self._checkpoint.fingerprint(self._checkpoint.load_config())
        self.identity: Mapping[str, Any] = {
            "judge.judge": self.name,
            "judge.revision": revision,
            "judge.dtype": judge.judge_dtype,
        }
        self._opened: tuple[Any, Prompts, Any] | None = None

    @property
    def note(self) -> str:
        """Empty: a local judge has no retries."""
        return ""

    def answers(self, questions: Sequence[Messages]) -> Answers:
        """Yield the answers, computed in batches of prompts of similar length."""
        from gradprism.models.batches import Failure

        if not questions:
            return
        _, prompts, batches = self._open()
        encoded = []
        for index, messages in enumerate(questions):
            question = self._encode(prompts, index, messages)
            if isinstance(question, Answer):
                yield index, question
            else:
                encoded.append(question)
        for batch in batches.cut(encoded):
            for question, answer in zip(batch, batches.answers(batch, self._compute), strict=True):
                yield question.index, Answer(problem=answer.reason) if isinstance(answer, Failure) else answer

    def plan(self, questions: Sequence[Messages]) -> Plan:
        """Estimate the tokens, without loading anything."""
        tokens = sum(n_tokens_asked(messages) for messages in questions)
        return Plan(len(questions), tokens=tokens, most_answer_tokens=len(questions) * self._n_written, exact=False)

    def _encode(self, prompts: Prompts, index: int, messages: Messages) -> Question | Answer:
        """Return the question as tokens, or an answer with the problem where it cannot be asked."""
        try:
            text = prompts.text(messages)
            ids = prompts.ids(text)
        except Exception as error:  # a template is a program and raises what it likes
            return Answer(problem=f"the judge's chat template refuses this prompt: {error}")
        limit = self._positions
        if limit is not None and len(ids) + self._least_behind > limit:
            return Answer(problem=f"the prompt has {len(ids)} tokens, and the judge has {limit} positions")
        return Question(index, tuple(ids), opening_at_end(text))

    @property
    def _positions(self) -> int | None:
        return position_limit(self._open()[0].config)

    def _open(self) -> tuple[Any, Prompts, Any]:
        """Return the model, its prompts and its batches; load the model at the first call."""
        if self._opened is None:
            from gradprism.models.batches import Batches
            from gradprism.models.device import execution_device, find_device, find_spread

            self._say(f"Loading {self._checkpoint.name}")
            device = self._checkpoint.device(find_device(self._execution.device))
            model = self._checkpoint.load_model(device, find_spread(self._execution))
            batches = Batches[Question](
                lambda question: len(question.ids), self._execution.batch_tokens, execution_device(model)
            )
            self._opened = model, Prompts(self._checkpoint.load_tokenizer()), batches
        return self._opened

    _n_written: int
    """Maximum number of tokens of an answer."""
    _least_behind: int
    """Number of positions that must be free behind a prompt."""

    @abstractmethod
    def _compute(self, batch: Sequence[Question]) -> Sequence[Answer]:
        """Return the answers to one batch. Raises what the model's code raises."""


class Rater(LocalJudge):
    """A judge that computes the expected value of 1 to 10 under its probabilities of the next token.

    G-Eval weights scores by their probabilities alike (Liu et al. 2023, arXiv 2303.16634); here they are normalised
    over the ten. `probability_mass` is their sum before that: near 0 the judge would not write a number.
    """

    _n_written = 0
    _least_behind = 2
    _numbers: NumberTokens | None = None

    def _compute(self, batch: Sequence[Question]) -> list[Answer]:
        numbers = self._number_tokens()
        found = number_probabilities(self._open()[0], [question.ids for question in batch], numbers)
        return [_expected(probabilities, question) for question, probabilities in zip(batch, found, strict=True)]

    def _number_tokens(self) -> NumberTokens:
        if self._numbers is None:
            self._numbers = NumberTokens.of(self._open()[1])
        return self._numbers


def number_probabilities(model: Any, prompts: Sequence[Sequence[int]], numbers: NumberTokens) -> list[list[float]]:
    """Return the probabilities of 1 to 10 behind each prompt: (batch, 10), not normalised.

    By one forward pass, padded on the right, where causal attention does not reach, so that the values of a prompt do
    not depend on its batch. Where 10 is two tokens, P(10) = P(1) P(0 | 1), which is subtracted from P(1).
    """
    import torch

    from gradprism.models.likelihood import ResponseHead

    head = ResponseHead(model)
    sequences = [[*prompt, *numbers.after] for prompt in prompts]
    ids = torch.zeros(len(sequences), max(map(len, sequences)), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence)
    ends = torch.tensor([len(sequence) - 1 for sequence in sequences])
    rows = torch.arange(len(sequences)).repeat(2)
    positions = torch.cat([ends - int(numbers.zero is not None), ends])  # of the number's first token, and behind the 1
    logits = _logits_at(model, head, ids.to(head.device), rows, positions)  # (2 batch, vocabulary)
    first, second = logits.double().softmax(dim=1).chunk(2)
    digits = first[:, list(numbers.digits)]  # (batch, 9)
    if numbers.zero is None:
        return torch.cat([digits, first[:, [numbers.ten]]], dim=1).tolist()
    ten = digits[:, :1] * second[:, [numbers.zero]]  # (batch, 1)
    return torch.cat([digits[:, :1] - ten, digits[:, 1:], ten], dim=1).tolist()


def _logits_at(model: Any, head: Any, ids: Any, rows: Any, positions: Any) -> Any:
    """Return the logits at these positions, (positions, vocabulary): those of a whole batch need too much memory."""
    import torch

    from gradprism.models.likelihood import evaluating

    keep: Callable[..., Any] = lambda layer, args: (args[0][rows, positions].unsqueeze(0), *args[1:])  # noqa: E731
    hook = head.layer.register_forward_pre_hook(keep)
    try:
        with torch.no_grad(), evaluating(model):
            return model(input_ids=ids, use_cache=False).logits.squeeze(0).float().cpu()
    finally:
        hook.remove()


def _expected(probabilities: Sequence[float], question: Question) -> Answer:
    mass = sum(probabilities)
    n = len(question.ids)
    if not mass > 0:  # also for NaN
        return Answer(n_prompt_tokens=n, problem="the judge gives no number from 1 to 10 any probability")
    value = sum(number * p for number, p in enumerate(probabilities, start=1)) / mass
    return Answer(n_prompt_tokens=n, n_answer_tokens=0, value=value, probability_mass=mass)


class Writer(LocalJudge):
    """A judge that writes its answer by greedy generation."""

    _least_behind = 1
    _ends: list[int] | None = None

    def __init__(self, judge: JudgeSettings, execution: ExecutionSettings, say: Say):
        """Find the model. The maximum length of an answer belongs to the judge's identity."""
        super().__init__(judge, execution, say)
        self._n_written = judge.judge_max_tokens
        self.identity = {**self.identity, "judge.judge_max_tokens": judge.judge_max_tokens}

    def _compute(self, batch: Sequence[Question]) -> list[Answer]:
        import torch

        from gradprism.models.device import execution_device
        from gradprism.models.likelihood import evaluating

        model, prompts, _ = self._open()
        ends = self._end_tokens(model, prompts.tokenizer)
        longest = max(len(question.ids) for question in batch)
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, question in enumerate(batch):  # on the left: generation goes on at the right
            ids[row, longest - len(question.ids) :] = torch.tensor(question.ids)
            mask[row, longest - len(question.ids) :] = 1
        most = self._n_written if self._positions is None else min(self._n_written, self._positions - longest)
        device = execution_device(model)
        inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
        with torch.no_grad(), evaluating(model):
            written = model.generate(**inputs, max_new_tokens=most)[:, longest:].tolist()
        return [
            _decode_answer(question, ids, ends, prompts.tokenizer) for question, ids in zip(batch, written, strict=True)
        ]

    def _end_tokens(self, model: Any, tokenizer: Any) -> list[int]:
        """Return every token that ends an answer: the model may name several, the tokenizer one.

        Also replaces the model's generation settings (sampling, repetition penalty), so that it generates greedily.
        """
        if self._ends is None:
            from transformers import GenerationConfig

            named = getattr(model.generation_config, "eos_token_id", None)
            ends = {*named} if isinstance(named, list | tuple) else {named}
            self._ends = sorted({*ends, tokenizer.eos_token_id} - {None})
            model.generation_config = GenerationConfig(do_sample=False, eos_token_id=self._ends or None, pad_token_id=0)
        return self._ends


def _decode_answer(question: Question, ids: Sequence[int], ends: Sequence[int], tokenizer: Any) -> Answer:
    stop = next((index for index, token in enumerate(ids) if token in ends), None)
    kept = ids[:stop]
    text = question.opening + tokenizer.decode(kept, skip_special_tokens=False)
    if not has_thought_marks(text):  # which may be special tokens
        text = tokenizer.decode(kept, skip_special_tokens=True)
    finish = "length" if stop is None else "stop"
    return Answer(
        text, finish, len(question.ids), len(kept), problem=None if text.strip() or stop is None else "empty answer"
    )
