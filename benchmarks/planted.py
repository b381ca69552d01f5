"""An ablation whose truth is known: one half of the pool is noise, and a tiny model trains with it and without.

    python -m benchmarks.planted

Trains three arms with 60 seeds each: rows drawn at random, the half without noise, and random halves of the pool. Then
cuts the seeds into 20 ablations of three, and prints how often each interval holds the mean over all 60 seeds, and how
often each arm is found better or worse. A few minutes on one core.
"""

import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

import gradprism
from gradprism.stats.arm_difference import arm_difference

SEEDS, ABLATIONS = 60, 20
WORDS = [f"{a}{b}" for a in ("ba", "do", "ki", "lu", "me") for b in ("ra", "so", "ti", "nu", "ve")]
ARMS = {"without-noise": {"where": "kind = 'true'"}, "half": {"where": "half = 1"}}


def main() -> None:
    """Train, and print a line for each arm."""
    with TemporaryDirectory() as folder:
        found = _ablation(Path(folder))
    last = found.losses.filter(step=pl.col("step").max())
    random_rows, tokens = _matrix(last, "random")
    print(f"{SEEDS} seeds, {len(tokens)} evaluation rows; {ABLATIONS} ablations of {SEEDS // ABLATIONS} seeds")
    for arm in ARMS:
        losses, _ = _matrix(last, arm)
        truth = arm_difference(losses, random_rows, tokens).value
        each = [arm_difference(one, other, tokens) for one, other in zip(_cut(losses), _cut(random_rows), strict=True)]
        held = sum(one.low <= truth <= one.high for one in each)
        better, worse = (sum(one.p < 0.05 and sign * one.value > 0 for one in each) for sign in (-1, 1))
        print(f"{arm}: truth {truth:+.4f}, held by {held} of {ABLATIONS}; better in {better}, worse in {worse}")


def _ablation(folder: Path) -> Any:
    model, pool, evaluation = _model(folder / "model"), folder / "pool.jsonl", folder / "eval.jsonl"
    _write(pool, [*_rows(100, "true", 0), *_rows(100, "noise", 0)])
    _write(evaluation, _rows(40, "true", 1))
    return gradprism.ablate(
        pool, str(model), arms=ARMS, evals={"held": str(evaluation)}, tokens=600, step_tokens=60, seeds=SEEDS,
        eval_points=1, learning_rate=2e-3, device="cpu", out=folder / "out",
    )  # fmt: skip


def _rows(n: int, kind: str, seed: int) -> list[dict[str, Any]]:
    """Make rows whose answer repeats the first word of the question, or is words at random."""
    rng, made = random.Random(f"{kind}{seed}"), []
    for index in range(n):
        asked, length = [rng.choice(WORDS) for _ in range(12)], rng.randint(4, 16)
        answer = [asked[0]] * length if kind == "true" else [rng.choice(WORDS) for _ in range(length)]
        made.append({"id": f"{kind}{seed}-{index}", "kind": kind, "half": index % 2, "prompt": " ".join(asked),
                     "response": " ".join(answer)})  # fmt: skip
    return made


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _model(folder: Path) -> Path:
    """Save a tiny random Llama with a tokenizer of whole words."""
    names = ["<|end|>", "<|unknown|>", "\n", *WORDS]
    core = Tokenizer(models.WordLevel({name: at for at, name in enumerate(names)}, unk_token="<|unknown|>"))
    core.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(names), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _matrix(losses: pl.DataFrame, arm: str) -> tuple[np.ndarray, np.ndarray]:
    ordered = losses.filter(arm=arm).sort("seed", "row")
    tokens = ordered["n_tokens"].cast(pl.Float64).to_numpy().reshape(SEEDS, -1)
    return ordered["nll"].to_numpy().reshape(SEEDS, -1) / tokens, tokens[0]


def _cut(losses: np.ndarray) -> list[np.ndarray]:
    return np.split(losses, ABLATIONS)


if __name__ == "__main__":
    main()
