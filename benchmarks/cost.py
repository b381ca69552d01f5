"""Cost of all layers' q, k, v and o relative to an ordinary training pass, on the same examples, side by side.

    python benchmarks/cost.py [--rows 8] [--repeats 5] [--data FILE --max-length 1024]

`plain`: forward and backward with every weight's gradient, batch 1, no optimiser.
`published`: the way of the papers' scripts, plainly written: autograd on the attention weights, a full SVD of each
gradient, statistics and cosines. `gradprism`: from token ids to finished tables. Medians over repeats, alternating.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from gradprism import GradientAnalyzer
from gradprism.data.encode import Encoded, make_encoder
from gradprism.data.example import Example
from gradprism.data.source import open_examples
from gradprism.models.checkpoints import find_checkpoint
from gradprism.recipe import CheckpointSettings, ReadSettings, TextSettings

HERE = Path(__file__).parent
SAMPLE = HERE.parent / "examples" / "sample.jsonl"


def plain(model: Any, encoded: Sequence[Encoded]) -> None:
    model.requires_grad_(True)
    for item in encoded:
        _backward(model, item)
        model.zero_grad()


def published(model: Any, encoded: Sequence[Encoded]) -> None:
    model.requires_grad_(False)
    weights = {name: p for name, p in model.named_parameters() if "self_attn" in name and name.endswith("proj.weight")}
    for parameter in weights.values():
        parameter.requires_grad_(True)
    for item in encoded:
        _backward(model, item)
        above: dict[str, torch.Tensor] = {}
        for name, parameter in weights.items():
            gradient = parameter.grad
            values = torch.linalg.svd(gradient, full_matrices=True).S
            p = values / values.sum()
            _ = (values.sum(), torch.exp(-(p * torch.log(p + 1e-12)).sum()), gradient.mean(), gradient.max())
            kind = name.split(".")[-2]
            if kind in above:
                torch.cosine_similarity(gradient.flatten(), above[kind].flatten(), dim=0)
            above[kind] = gradient
        model.zero_grad()


def _backward(model: Any, item: Encoded) -> None:
    ids = torch.tensor([item.ids])
    labels = ids.masked_fill(~torch.tensor([item.response_mask]), -100)
    model(input_ids=ids, labels=labels, use_cache=False).loss.backward()


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=str(SAMPLE))
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--max-length", type=int, default=1024)
    options = parser.parse_args()

    checkpoint = find_checkpoint(CheckpointSettings(model="smollm2-135m"), print)
    model, tokenizer = checkpoint.load_model(), checkpoint.load_tokenizer()
    examples: list[Example] = list(open_examples(options.data, ReadSettings(limit=options.rows)))
    encoder = make_encoder(tokenizer, TextSettings(max_length=options.max_length))
    encoded = [encoder.encode(example) for example in examples]
    analyzer = GradientAnalyzer(model, tokenizer, max_length=options.max_length)
    ways: dict[str, Callable[[], object]] = {
        "plain": lambda: plain(model, encoded),
        "published": lambda: published(model, encoded),
        "gradprism": lambda: analyzer.analyze(examples),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(options.repeats + 1):  # the first round warms up
        for name, way in ways.items():
            taken = seconds(way)
            if repeat:
                times[name].append(taken)
    report(options, encoded, {name: statistics.median(values) for name, values in times.items()})


def report(options: argparse.Namespace, encoded: Sequence[Encoded], medians: dict[str, float]) -> None:
    tokens = sum(item.n_tokens for item in encoded)
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{len(encoded)} examples, {tokens} tokens, smollm2-135m, fp32, median of {options.repeats}")
    for name, median in medians.items():
        print(f"{name:<10}{median:8.2f} s   {median / medians['plain']:.2f} x plain")
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    found = {"rows": len(encoded), "tokens": tokens, "repeats": options.repeats, "seconds": medians}
    (results / "cost.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
