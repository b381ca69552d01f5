"""`Example` -> `Encoded`: token ids, and the mask of the tokens that carry the loss."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2

from gradprism.data.example import Example, RowProblemError, Turn
from gradprism.errors import GradPrismError
from gradprism.recipe import TextSettings

BUILTIN_TEMPLATES = ("paper", "chat")


@dataclass(frozen=True)
class Encoded:
    """Token ids of one example and, for each, whether its prediction is part of the loss."""

    ids: tuple[int, ...]
    response_mask: tuple[bool, ...]
    truncated: bool

    @property
    def n_tokens(self) -> int:
        """Tokens kept."""
        return len(self.ids)

    @property
    def n_response_tokens(self) -> int:
        """Tokens whose prediction is part of the loss."""
        return sum(self.response_mask)


class Encoder(ABC):
    """Encodes examples by one template. Final classes say how; this one says what holds for all."""

    def __init__(self, tokenizer: Any, settings: TextSettings):
        """Keep the tokenizer (any Hugging Face one) and the settings."""
        self.tokenizer = tokenizer
        self.settings = settings

    def encode(self, example: Example) -> Encoded:
        """Token ids and loss mask of an example, cut on the right at `max_length`, and to the tokens asked for.

        Only the first counts as truncated. Raises `RowProblemError` where no token would carry a loss, where there are
        fewer tokens than asked for, or where the template's mask cannot be trusted.
        """
        turns = self._conversation(example)
        spoken = [turn for turn in turns if turn.role == "assistant"]
        if not any(turn.content.strip() for turn in (spoken if self.settings.turns == "all" else spoken[-1:])):
            raise RowProblemError("empty response")
        ids, mask = self.tokens(turns)
        mask[:1] = [False]  # nothing predicts the first token
        if not any(mask):
            raise RowProblemError("the response has no token of its own (the mask is empty)")
        longest = self.settings.max_length
        if not any(mask[1:longest]):
            raise RowProblemError(f"the prompt fills max_length: no response token among the first {longest}")
        head, window = self._window(ids[:longest], mask[:longest])
        kept = tuple(ids[:head] + ids[window]), tuple(mask[:head] + mask[window])
        return Encoded(*kept, truncated=len(ids) > longest)

    def _window(self, ids: Sequence[int], mask: Sequence[bool]) -> tuple[int, slice]:
        """What is asked for: so many tokens at the start, and a stretch. Raises `RowProblemError` on too few."""
        scored = [place for place, is_scored in enumerate(mask) if is_scored]
        first, stop, head = 0, len(ids), 0
        if (wanted := self.settings.response_tokens) is not None:
            if len(scored) < wanted:
                raise RowProblemError(f"fewer than {wanted} response tokens")
            stop = scored[wanted - 1] + 1
        if (before := self.settings.prompt_tokens) is not None:
            head = int(ids[0] == getattr(self.tokenizer, "bos_token_id", None))
            first = scored[0] - before
            if first < head:
                raise RowProblemError(f"fewer than {before} prompt tokens")
            if wanted is not None and scored[wanted - 1] - scored[0] != wanted - 1:  # else T would not be the same
                raise RowProblemError(f"the first {wanted} response tokens are of several turns")
        return head, slice(first, stop)

    @abstractmethod
    def tokens(self, turns: Sequence[Turn]) -> tuple[list[int], list[bool]]:
        """All token ids of a conversation, and which of them are part of the loss."""

    def _conversation(self, example: Example) -> tuple[Turn, ...]:
        """Return the turns up to the last answer, a system prompt in front where one is asked for and none is there."""
        turns = example.answered
        if self.settings.system is not None and not any(turn.role == "system" for turn in turns):
            turns = (Turn("system", self.settings.system), *turns)
        return turns

    def scored(self, turns: Sequence[Turn]) -> list[int]:
        """Positions of the assistant turns that carry the loss."""
        spoken = [index for index, turn in enumerate(turns) if turn.role == "assistant"]
        return spoken if self.settings.turns == "all" else spoken[-1:]


class PaperEncoder(Encoder):
    """Prompt, a newline, response, tokenised whole; the mask by counting the tokens of the prefix.

    As in the scripts of Li et al. (2024, 2025): no chat markers and no end token, and a token that straddles
    the boundary counts as the prefix count says. A conversation is its turns joined by newlines.
    """

    def tokens(self, turns: Sequence[Turn]) -> tuple[list[int], list[bool]]:
        """Ids of the whole text; each scored turn runs from the prefix's token count to the next one's."""
        contents = [turn.content for turn in turns]
        ids = self._ids("\n".join(contents))
        mask = [False] * len(ids)
        for index in self.scored(turns):
            start = len(self._ids("\n".join(contents[:index]) + "\n")) if index else 0
            last = index == len(contents) - 1
            stop = len(ids) if last else len(self._ids("\n".join(contents[: index + 1])))
            mask[start:stop] = [True] * (min(stop, len(ids)) - min(start, len(ids)))
        return ids, mask

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, verbose=False)["input_ids"])


class ChatEncoder(Encoder):
    """A chat template: the tokenizer's own, or a Jinja file in the same form.

    The mask comes from the template's generation marks where it has them, else from rendering the
    conversation up to and after each answer; both are placed on tokens by character offsets.
    """

    def __init__(self, tokenizer: Any, settings: TextSettings, template: str | None = None):
        """`template` is Jinja text; None takes the tokenizer's own."""
        super().__init__(tokenizer, settings)
        self.template = getattr(tokenizer, "chat_template", None) if template is None else template
        if isinstance(self.template, Mapping):
            self.template = self.template.get("default")
        if not self.template:
            raise GradPrismError(
                "--template chat: this tokenizer has no chat template (a base model?).\n"
                "Use --template paper, or give a Jinja file: --template my_template.jinja"
            )
        if not getattr(tokenizer, "is_fast", False):
            raise GradPrismError(
                "--template chat needs a fast tokenizer (one that gives character offsets); "
                f"{type(tokenizer).__name__} is not. Use --template paper."
            )

    def tokens(self, turns: Sequence[Turn]) -> tuple[list[int], list[bool]]:
        """Ids of the rendered text and the tokens that lie in scored turns."""
        text, spans = self._marked(turns) if self._has_marks else self._by_prefixes(turns)
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids = list(encoded["input_ids"])
        mask = [False] * len(ids)
        for span in spans:
            for position in self._ending(_tokens_in(span, encoded["offset_mapping"]), ids):
                mask[position] = True
        bos = self._bos
        return ([bos, *ids], [False, *mask]) if bos is not None and ids[:1] != [bos] else (ids, mask)

    def _marked(self, turns: Sequence[Turn]) -> tuple[str, list[tuple[int, int]]]:
        """The rendered text and the characters inside the template's own `{% generation %}` marks."""
        marks = {"chat_template": self.template, "return_assistant_tokens_mask": True}
        from transformers.utils.chat_template_utils import render_jinja_template

        with self._row_problems():
            texts, spans = render_jinja_template([_messages(turns)], **marks, **self.tokenizer.special_tokens_map)
        return texts[0], spans[0] if self.settings.turns == "all" else spans[0][-1:]

    def _by_prefixes(self, turns: Sequence[Turn]) -> tuple[str, list[tuple[int, int]]]:
        """Take an answer to be what rendering adds between the prompt before it and the turn itself."""
        text = self._rendered(turns)
        return text, [self._span(turns, index, text) for index in self.scored(turns)]

    def _span(self, turns: Sequence[Turn], index: int, text: str) -> tuple[int, int]:
        """Characters of `text` that turn `index` occupies, what ends the turn included."""
        through = self._rendered(turns[: index + 1])
        if index:
            before = self._rendered(turns[:index], add_generation_prompt=True)
        else:  # nothing stands before a first turn that is an answer: the header is what another answer shares
            other = "b" if turns[0].content.lstrip().startswith("a") else "a"
            before = _shared_start(through, self._rendered([Turn("assistant", other)]))
        if not (through.startswith(before) and text.startswith(through)):
            raise RowProblemError(
                f"inconsistent chat template: rendering the conversation up to answer {index} does not give "
                "the beginning of the whole (it rewrites earlier turns); the mask cannot be trusted. "
                "Use turns=last, template=paper, or a Jinja file with generation marks"
            )
        return len(before), len(through)

    def _ending(self, run: range, ids: Sequence[int]) -> range:
        """Drop the white space after the end-of-turn token, and that token too unless it is to be learnt.

        A run that ends in no special token is left as it is: its end cannot be told from its content.
        """
        stop = run.stop
        while stop > run.start and not self.tokenizer.decode([ids[stop - 1]]).strip():
            stop -= 1
        if stop == run.start or ids[stop - 1] not in self._special:
            return run
        if not self.settings.end_of_turn:
            while stop > run.start and ids[stop - 1] in self._special:
                stop -= 1
        return range(run.start, stop)

    def _rendered(self, turns: Sequence[Turn], **options: Any) -> str:
        with self._row_problems():
            template = {"chat_template": self.template, "tokenize": False}
            return str(self.tokenizer.apply_chat_template(_messages(turns), **template, **options))

    @contextmanager
    def _row_problems(self) -> Iterator[None]:
        """A template is a program and raises what it likes; only a syntax error concerns every row."""
        try:
            yield
        except jinja2.TemplateSyntaxError as error:
            raise GradPrismError(
                f"--template {self.settings.template}: line {error.lineno}: {error.message}"
            ) from error
        except Exception as error:
            raise RowProblemError(f"the chat template refuses this conversation: {error}") from error

    @cached_property
    def _has_marks(self) -> bool:
        return re.search(r"\{%-?\s*generation\s*-?%\}", str(self.template)) is not None

    @cached_property
    def _special(self) -> frozenset[int]:
        added = getattr(self.tokenizer, "added_tokens_decoder", {})
        return frozenset(self.tokenizer.all_special_ids) | {i for i, token in added.items() if token.special}

    @cached_property
    def _bos(self) -> int | None:
        """The beginning-of-text id that this tokenizer's own default adds, if it adds one."""
        bos = self.tokenizer.bos_token_id
        return bos if bos is not None and list(self.tokenizer("a")["input_ids"])[:1] == [bos] else None


def _messages(turns: Sequence[Turn]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]


def _shared_start(one: str, other: str) -> str:
    return one[: next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))]


def _tokens_in(span: tuple[int, int], offsets: Sequence[tuple[int, int]]) -> range:
    """Tokens that lie in these characters, wholly or in part.

    Some tokenizers leave spaces out of their offsets: a token of nothing else stands, without width, at its own end.
    """
    start, stop = span
    inside = [i for i, (a, b) in enumerate(offsets) if start < b and (a < stop or a == b == stop)]
    return range(inside[0], inside[-1] + 1) if inside else range(0)


def make_encoder(tokenizer: Any, settings: TextSettings) -> Encoder:
    """Choose the encoder that `settings.template` names: `paper`, `chat` or a Jinja file."""
    if settings.template == "paper":
        return PaperEncoder(tokenizer, settings)
    template = None if settings.template == "chat" else read_template(settings.template)
    return ChatEncoder(tokenizer, settings, template)


def read_template(name: str) -> str:
    """Text of a Jinja file; `GradPrismError` where it cannot be read or is empty."""
    try:
        template = Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GradPrismError(
            f"--template {name}: expected paper, chat, or the path of a Jinja file ({error})."
        ) from error
    if not template.strip():
        raise GradPrismError(f"--template {name} is an empty file.")
    return template
