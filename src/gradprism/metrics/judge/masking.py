"""Mask the key in texts that an endpoint has written, also where JSON escapes hide it."""

import re
from collections.abc import Callable
from functools import lru_cache, partial

Mask = Callable[[str], str]
"""Returns a text with the key in it replaced by `***`."""

_SHORTEST = 8  # letters; a shorter key, or piece of one, may be an ordinary word
_LONGEST_WORD = 15  # letters of a key such as `placeholder`, which an answer may well contain


def mask_in_messages(key: str) -> Mask:
    """Return the mask for messages about requests; it also hides a piece of the key, with what follows it."""
    if len(key) < _SHORTEST:
        return str
    pieces = "|".join(re.escape(key[start : start + _SHORTEST]) for start in range(len(key) - _SHORTEST + 1))
    whole, piece = _mask_whole(key), re.compile(rf"(?:{pieces})[^\s\"',;:()\[\]{{}}]*")
    return lambda text: piece.sub("***", whole(text))


@lru_cache(maxsize=1)
def mask_in_answers(key: str) -> Mask:
    """Return the mask for answers, of which a key that is a word or a number must not change any."""
    is_word = len(key) <= _LONGEST_WORD and (key.isalpha() or key.isdigit())
    return str if is_word or len(key) < _SHORTEST else _mask_whole(key)


def _mask_whole(key: str) -> Mask:
    letters = (rf"\\{{0,4}}(?:{re.escape(letter)}|u00(?i:{ord(letter):02x}))" for letter in key)
    return partial(re.compile("".join(letters)).sub, "***")
