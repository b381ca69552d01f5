"""File names of figures: letters, digits and hyphens, which every file system and LaTeX accept."""

import re
import unicodedata
from hashlib import blake2s

LONGEST = 32


def file_name(name: str) -> str:
    """Spell a name in plain letters; one that loses letters, or is too long, gets six hexadecimal digits of its own.

    >>> file_name("reward: highest 25%")
    'reward-highest-25'
    """
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9]+", "-", letters).strip("-")
    if plain and len(plain) <= LONGEST and _is_ascii(name):
        return plain
    own = blake2s(name.encode("utf-8", "surrogatepass"), digest_size=3).hexdigest()
    return f"{plain[: LONGEST - 7].strip('-')}-{own}".strip("-")


def _is_ascii(name: str) -> bool:
    """Return whether no letter or digit is lost in ASCII, accents aside."""
    return all(c.isascii() for c in unicodedata.normalize("NFKD", name) if c.isalnum())
