"""Encode examples: token ids, and the mask of loss tokens."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from gradprism.core.errors import GradPrismError
from gradprism.core.summary_lines import AS_REQUESTED
from gradprism.data.answers import find_answers
from gradprism.data.chat_template import ChatTemplate, prints_date
from gradprism.data.example import CONTEXT_ALONE, Example, RowProblemError, Turn, positions_of_scored_answers
from gradprism.data.settings import TextSettings

BUILTIN_TEMPLATES = ("auto", "paper", "chat")
_MOST_OF_TEMPLATE = 2**20  # characters of a Jinja file


@dataclass(frozen=True)
class Encoded:
    """Token ids of one example and, for each, whether its prediction is part of the loss."""

    ids: tuple[int, ...]
    response_mask: tuple[bool, ...]
    truncated: bool
    left_out: tuple[str, ...] = ()
    """Parts of the context that the template does not show, such as "system turn" or "tools"."""
    weight: float = 1.0
    """Factor of the loss, such as an advantage."""
    sides: "tuple[Encoded, Encoded] | None" = None
    """Of a preference: with the chosen and with the rejected answer. The ids are then those of both, one after the
    other."""
    reference: tuple[float, float] | None = None
    """Of a preference: summed log-likelihoods of both answers by the reference model; None for the model itself."""

    def __repr__(self) -> str:
        """Count the tokens, without the ids."""
        cut = ", truncated" if self.truncated else ""
        return f"Encoded({self.n_tokens:,} tokens, {self.n_response_tokens:,} in the loss{cut})"

    @property
    def n_tokens(self) -> int:
        """The number of tokens kept."""
        return len(self.ids)

    @property
    def n_response_tokens(self) -> int:
        """The number of loss tokens: those whose prediction is part of the loss."""
        return sum(self.response_mask)


class Encoder(ABC):
    """An encoder of examples by one template: the cuts and the loss mask, which are the same for every template."""

    def __init__(self, tokenizer: Any, settings: TextSettings):
        """Keep the tokenizer (any Hugging Face one) and the settings."""
        self.tokenizer = tokenizer
        self.settings = settings

    def encode(self, example: Example) -> Encoded:
        """Return token ids and loss mask of an example, cut on the right at `max_length`, and to the tokens asked for.

        Truncated are those that end at `max_length`, not at the response tokens asked for. Raises `RowProblemError`
        where no token would carry a loss, where there are fewer tokens than asked for, or where the template's mask
        cannot be trusted.
        """
        conversation = self._conversation(example)
        if not self.scored(conversation.turns):
            spoken = [turn for turn in conversation.turns if turn.role == "assistant"]
            wanted = spoken if self.settings.turns == "all" else spoken[-1:]
            is_context = any(not turn.is_empty for turn in wanted)
            raise RowProblemError(CONTEXT_ALONE if is_context else "empty response")
        ids, mask, left_out = self.tokens(conversation)
        mask[:1] = [False]  # nothing predicts the first token
        if not any(mask):
            raise RowProblemError("the response has no token of its own (the mask is empty)")
        longest = self.settings.max_length
        if not any(mask[1:longest]):
            raise RowProblemError(f"the prompt fills max_length: no response token among the first {longest}")
        head, window = self._window(ids[:longest], mask[:longest])
        kept = tuple(ids[:head] + ids[window]), tuple(mask[:head] + mask[window])
        truncated = len(ids) > longest and self.settings.response_tokens is None
        return Encoded(*kept, truncated=truncated, left_out=left_out)

    def _window(self, ids: Sequence[int], mask: Sequence[bool]) -> tuple[int, slice]:
        """Return how many first tokens to keep, and which range behind them. Raises `RowProblemError` on too few."""
        scored = [index for index, is_scored in enumerate(mask) if is_scored]
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
    def tokens(self, example: Example) -> tuple[list[int], list[bool], tuple[str, ...]]:
        """Return all token ids, which of them are part of the loss, and what of the context is not among them."""

    def _conversation(self, example: Example) -> Example:
        """Cut after the last answer, and set a system prompt in front where one is asked for and none is there."""
        turns = example.answered
        if self.settings.system is not None and not any(turn.role in ("system", "developer") for turn in turns):
            turns = (Turn("system", self.settings.system), *turns)
        return replace(example, turns=turns)

    def scored(self, turns: Sequence[Turn]) -> list[int]:
        """Return the positions of the answers in the loss: of all or the last, those that are not empty."""
        return positions_of_scored_answers(turns, self.settings.turns)


class PaperEncoder(Encoder):
    """The template `paper`: prompt, newline and response tokenised whole, the mask by counting the prefix's tokens.

    As in the scripts of Li et al. (2024, 2025): no chat markers and no end token, and a token that straddles
    the boundary counts as the prefix count says. A conversation is its turns joined by newlines.
    """

    def tokens(self, example: Example) -> tuple[list[int], list[bool], tuple[str, ...]]:
        """Return the ids of the whole text; each scored turn runs from the prefix's token count to the next one's.

        Raises `RowProblemError` where a scored turn has thinking or tool calls, for which this text has no form.
        """
        turns, scored = example.turns, self.scored(example.turns)
        for index in scored:
            if lost := "thinking" if turns[index].thinking else "tool calls" if turns[index].tool_calls else None:
                raise RowProblemError(f"template=paper has no form for the {lost} of an answer. Use template=chat")
        contents = [turn.content for turn in turns]
        ids = self._ids("\n".join(contents))
        mask = [False] * len(ids)
        for index in scored:
            start = len(self._ids("\n".join(contents[:index]) + "\n")) if index else 0
            last = index == len(contents) - 1
            stop = len(ids) if last else len(self._ids("\n".join(contents[: index + 1])))
            mask[start:stop] = [True] * (min(stop, len(ids)) - min(start, len(ids)))
        lost_context = {"tools": example.tools, "documents": example.documents}
        return ids, mask, tuple(what for what, content in lost_context.items() if content)

    def _ids(self, text: str) -> list[int]:
        ids = list(self.tokenizer(text, verbose=False)["input_ids"])
        return ids[: len(ids) - self._n_appended]

    @cached_property
    def _n_appended(self) -> int:
        """The number of tokens, such as EOS, that the tokenizer's post-processor appends to every text."""
        bare = list(self.tokenizer("a", add_special_tokens=False, verbose=False)["input_ids"])
        whole = list(self.tokenizer("a", verbose=False)["input_ids"])
        indexs = [i for i in range(len(whole)) if whole[i : i + len(bare)] == bare]
        return len(whole) - indexs[-1] - len(bare) if bare and indexs else 0


class ChatEncoder(Encoder):
    """The template `chat`: the tokenizer's own chat template, or a Jinja file in the same form.

    The conversation is rendered once, whole. Each answer is found in it (see `data.answers`), and the mask is placed
    on tokens by character offsets.
    """

    def __init__(self, tokenizer: Any, settings: TextSettings, template: str | None = None):
        """Compile `template`, a Jinja text; None takes the tokenizer's own."""
        super().__init__(tokenizer, settings)
        text = own_template(tokenizer) if template is None else template
        if not text:
            raise GradPrismError(
                "--template chat: this tokenizer has no chat template (a base model?).\n"
                "Use --template paper, or give a Jinja file: --template my_template.jinja"
            )
        if not getattr(tokenizer, "is_fast", False):
            raise GradPrismError(
                "--template chat needs a fast tokenizer (one that gives character offsets); "
                f"{type(tokenizer).__name__} is not. Use --template paper."
            )
        self.template = ChatTemplate(
            text, tokenizer.special_tokens_map, f"--template {settings.template}", settings.date
        )

    def tokens(self, example: Example) -> tuple[list[int], list[bool], tuple[str, ...]]:
        """Return ids of the rendered text, the tokens of its scored answers, and what of its context is not in it."""
        found = find_answers(self.template, example, self.scored(example.turns), self._special_words)
        encoded = self.tokenizer(found.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids = list(encoded["input_ids"])
        mask = [False] * len(ids)
        for answer in found.answers:
            for span in answer.spans:
                for position in self._ending(_tokens_in(span, encoded["offset_mapping"]), ids):
                    mask[position] = True
        bos = self._bos
        if bos is not None and ids[:1] != [bos]:
            ids, mask = [bos, *ids], [False, *mask]
        return ids, mask, found.left_out

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

    @cached_property
    def _special(self) -> frozenset[int]:
        added = getattr(self.tokenizer, "added_tokens_decoder", {})
        return frozenset(self.tokenizer.all_special_ids) | {i for i, token in added.items() if token.special}

    @cached_property
    def _special_words(self) -> frozenset[str]:
        return frozenset(self.tokenizer.convert_ids_to_tokens(sorted(self._special)))

    @cached_property
    def _bos(self) -> int | None:
        """The BOS id that the tokenizer adds to every text by default, if it adds one."""
        bos = self.tokenizer.bos_token_id
        return bos if bos is not None and list(self.tokenizer("a")["input_ids"])[:1] == [bos] else None


def _tokens_in(span: tuple[int, int], offsets: Sequence[tuple[int, int]]) -> range:
    """Return the range of tokens that lie in these characters, wholly or in part.

    Some tokenizers leave spaces out of their offsets: a token of nothing else stands, without width, at its own end.
    """
    start, stop = span
    inside = [i for i, (a, b) in enumerate(offsets) if start < b and (a < stop or a == b == stop)]
    return range(inside[0], inside[-1] + 1) if inside else range(0)


def make_encoder(tokenizer: Any, settings: TextSettings, n_conversations: int = 0) -> Encoder:
    """Make the encoder that `settings.template` names; `auto` is decided by the number of conversations in the data."""
    settings, _ = choose_template(settings, tokenizer, n_conversations)
    if settings.template == "paper":
        return PaperEncoder(tokenizer, settings)
    template = None if settings.template == "chat" else read_template(settings.template)
    return ChatEncoder(tokenizer, settings, template)


def choose_template(settings: TextSettings, tokenizer: Any, n_conversations: int) -> tuple[TextSettings, str]:
    """Replace the template `auto` by the one that fits the data, and return the reason beside it."""
    if settings.template != "auto":
        return settings, AS_REQUESTED
    talking = f"conversations in {n_conversations:,} {'row' if n_conversations == 1 else 'rows'}"
    if not n_conversations:
        template, why = "paper", "every row is a prompt and a response"
    elif own_template(tokenizer):
        template, why = "chat", f"{talking}, and the tokenizer has a chat template"
    else:
        template, why = "paper", f"{talking}, but the tokenizer has no chat template"
    return settings.model_copy(update={"template": template}), why


def with_date(settings: TextSettings, tokenizer: Any, begun: str | None = None) -> TextSettings:
    """Set the day that the template prints: the given one, else `begun`, else today; None where it prints none."""
    text = None
    if settings.template not in ("auto", "paper"):
        text = own_template(tokenizer) if settings.template == "chat" else read_template(settings.template)
    day = (settings.date or begun or date.today().isoformat()) if text and prints_date(text) else None
    return settings.model_copy(update={"date": day})


def own_template(tokenizer: Any) -> str | None:
    """Return the chat template that a tokenizer brings; of several, the one called default."""
    template = getattr(tokenizer, "chat_template", None)
    return template.get("default") if isinstance(template, Mapping) else template


def read_template(name: str) -> str:
    """Return the text of a Jinja file. Raises `GradPrismError` where it cannot be read or is empty."""
    try:
        with Path(name).expanduser().open(encoding="utf-8") as file:
            template = file.read(_MOST_OF_TEMPLATE + 1)
    except (OSError, ValueError) as error:
        raise GradPrismError(
            f"--template {name}: expected paper, chat, or the path of a Jinja file ({error})."
        ) from error
    if len(template) > _MOST_OF_TEMPLATE:
        raise GradPrismError(f"--template {name}: expected at most {_MOST_OF_TEMPLATE:,} characters.")
    if not template.strip():
        raise GradPrismError(f"--template {name} is an empty file.")
    return template
