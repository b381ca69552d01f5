"""Cut the text of token ids into a piece for each token."""

from collections.abc import Sequence
from typing import Any

_UNFINISHED = "\ufffd"  # what a decoder writes for bytes that are no whole character
_LONGEST = 64  # tokens to wait for the end of a character: a text may hold many of this very one


class TokenPieces:
    """The pieces of texts by one tokenizer (any Hugging Face one)."""

    def __init__(self, tokenizer: Any):
        """Keep the tokenizer, and the texts of tokens that were decoded."""
        self._tokenizer = tokenizer
        self._known: dict[tuple[int, ...], str] = {}

    def of(self, ids: Sequence[int]) -> list[str]:
        """Return the text of each token, special ones included; joined they are the text of all.

        A character that several tokens make up belongs to the last of them: the others have an empty text.
        """
        alone = [self._decoded((token,)) for token in ids]
        return alone if "".join(alone) == self._decode(ids) else self._beside_others(ids)

    def _beside_others(self, ids: Sequence[int]) -> list[str]:
        """Decode each token behind the last whole piece: some decoders drop the blank that begins a text."""
        pieces, before, first = [], 0, 0
        for index in range(len(ids)):
            left, both = self._decoded(tuple(ids[before:first])), self._decode(ids[before : index + 1])
            if both.endswith(_UNFINISHED) and index + 1 < min(len(ids), first + _LONGEST):
                pieces.append("")
                continue
            pieces.append(both[len(left) :])
            before, first = first, index + 1
        return pieces

    def _decoded(self, ids: tuple[int, ...]) -> str:
        if ids not in self._known:
            self._known[ids] = self._decode(ids)
        return self._known[ids]

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
