"""Small pools, evaluation rows and ablations of a tiny model."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WORDS = ("red", "blue", "green", "small", "large", "round", "quick", "slow", "warm", "cold", "north", "south", "water",
         "stone", "paper", "glass")  # fmt: skip


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


def rows(n: int, seed: int, *, kind: str = "true", words: tuple[int, int] = (2, 12)) -> list[dict[str, str]]:
    """Make rows: answers repeat a word of the question (`true`), or are letters without sense (`noise`)."""
    rng, made = random.Random(f"{kind}{seed}"), []
    for index in range(n):
        asked, length = sentence(rng, 12), rng.randint(*words)
        word = asked.split()[0]
        noise = " ".join("".join(rng.choice("qxzjkvw") for _ in range(4)) for _ in range(length))
        answer = " ".join([word] * length) if kind == "true" else noise
        made.append({"id": f"{kind}-{seed}-{index}", "kind": kind, "prompt": f"{asked}?", "response": answer})
    return made


def write(path: Path, made: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    return path
