"""Put the prompt of a preference row and its chosen answer together, once, whatever stands in which column."""

import re
from collections.abc import Sequence
from dataclasses import replace

from gradprism.data.example import RowProblemError, Turn

_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")
_ROLES = {"Human": "user", "Assistant": "assistant"}
Turns = tuple[Turn, ...]


def transcript(text: str) -> Turns:
    r"""Return the turns of HH-RLHF text, `\n\nHuman: ... \n\nAssistant: ...`; none of other text."""
    pieces = _SPEAKER.split(text)
    if len(pieces) < 3 or pieces[0].strip():
        return ()
    return tuple(Turn(_ROLES[who], said) for who, said in zip(pieces[1::2], pieces[2::2], strict=True))


def without_loss(turns: Sequence[Turn]) -> Turns:
    """Return turns of a prompt: the answers in it are context, and no loss is on them."""
    return tuple(replace(turn, in_loss=False) if turn.role == "assistant" else turn for turn in turns)


def is_system(turn: Turn) -> bool:
    """Return whether a turn is a system prompt, by either name."""
    return turn.role in ("system", "developer")


def after_prompt(prompt: Turns, chosen: Turns) -> Turns:
    """Return the prompt and what is chosen after it; a prompt that `chosen` repeats is not doubled.

    Answers in the prompt carry no loss. Raises `RowProblemError` where `chosen` begins with another prompt.
    """
    n_system = next((index for index, turn in enumerate(chosen) if not is_system(turn)), len(chosen))
    system, body = chosen[:n_system], chosen[n_system:]
    said = tuple(turn for turn in prompt if not is_system(turn))
    if body and body[0].role == "user":
        end = _end_of_prompt(said, body)
        said, body = body[:end], body[end:]
    own_system = tuple(turn for turn in prompt if is_system(turn))
    if system and own_system and not _are_same(system, own_system):
        raise RowProblemError("the prompt and 'chosen' begin with different system prompts")
    return (*(system or own_system), *without_loss(said), *body)


def _end_of_prompt(prompt: Turns, chosen: Turns) -> int:
    """Return how many turns of `chosen` repeat the prompt: from its first turn on, or up to its last question."""
    if prompt and _are_same(prompt, chosen[: len(prompt)]):
        return len(prompt)
    asked = [index for index, turn in enumerate(chosen) if len(prompt) == 1 and _are_same(prompt, (turn,))]
    if not asked:
        raise RowProblemError("'chosen' begins with a user turn, which is not the prompt of the row")
    return asked[-1] + 1


def _are_same(one: Sequence[Turn], other: Sequence[Turn]) -> bool:
    return [(turn.role, turn.content.strip()) for turn in one] == [(turn.role, turn.content.strip()) for turn in other]
