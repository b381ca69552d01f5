"""Time of IFD in batches against a loop of one row at a time, side by side, on real rows.

    python -m benchmarks.scoring [--rows 400] [--repeats 3]

The loop is what the published scripts do: two calls of the model for each row, its own loss, batch 1.
"""

import argparse
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

import gradprism
from benchmarks.machine import describe
from benchmarks.results import save
from benchmarks.timing import side_by_side
from benchmarks.works import ROOT
from gradprism.data.encode import make_encoder
from gradprism.data.example import Example, RowProblemError
from gradprism.data.example_set import open_examples
from gradprism.data.settings import ReadSettings, TextSettings
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.settings import CheckpointSettings

DATA = ROOT.parent / "shared" / "data" / "quality" / "reward"
_CHUNK = 40


def usable(tokenizer: Any, examples: Iterable[Example]) -> list[Example]:
    """Rows with a response token within the maximal length."""
    encoder = make_encoder(tokenizer, TextSettings())
    kept = []
    for example in examples:
        with suppress(RowProblemError):
            encoder.encode(example)
            kept.append(example)
    return kept


def one_at_a_time(model: Any, tokenizer: Any, examples: list[Example]) -> list[float]:
    """IFD of each row by two forward passes of its own."""
    encoder = make_encoder(tokenizer, TextSettings())
    values = []
    for example in examples:
        encoded = encoder.encode(example)
        start = encoded.response_mask.index(True)
        alone = [tokenizer.bos_token_id, *encoded.ids[start:]]
        values.append(float((_loss(model, list(encoded.ids), start) - _loss(model, alone, 1)).exp()))
    return values


def _loss(model: Any, ids: list[int], first: int) -> torch.Tensor:
    tokens = torch.tensor([ids])
    labels = tokens.clone()
    labels[:, :first] = -100
    with torch.no_grad():
        loss: torch.Tensor = model(input_ids=tokens, labels=labels).loss
    return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--data", type=Path, nargs="*", default=sorted(DATA.glob("*_lowest_200.json")))
    options = parser.parse_args()
    if not options.data:
        raise SystemExit(f"Needs data of prompts and responses; none at {DATA}. Name files with --data.")
    checkpoint = find_checkpoint(CheckpointSettings(model="smollm2-135m"))
    model, tokenizer = checkpoint.load_model(), checkpoint.load_tokenizer()
    examples = usable(tokenizer, open_examples(tuple(map(str, options.data)), ReadSettings()))[: options.rows]
    chunks = [examples[start : start + _CHUNK] for start in range(0, len(examples), _CHUNK)]
    medians = side_by_side(
        {
            "loop": [lambda chunk=chunk: one_at_a_time(model, tokenizer, chunk) for chunk in chunks],
            "gradprism": [lambda chunk=chunk: gradprism.ifd(chunk, model, tokenizer=tokenizer) for chunk in chunks],
        },
        options.repeats,
    )
    ratio = medians["loop"] / medians["gradprism"]
    print(", ".join(describe().values()))
    print(
        f"{len(examples)} rows: loop {medians['loop']:.1f} s, gradprism {medians['gradprism']:.1f} s, {ratio:.2f} times"
    )
    save("scoring", {"rows": len(examples), "repeats": options.repeats, "seconds": medians})


if __name__ == "__main__":
    main()
