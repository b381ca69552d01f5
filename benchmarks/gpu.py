"""Cost of all layers on a model of the shape of Qwen2.5-7B with random weights: plain, reference, ours, one machine.

    python -m benchmarks.gpu [--device cuda] [--layers 28] [--tokens 512,2048] [--dtypes bfloat16,float32]

The reference's full SVDs are taken of two layers and scaled to all: its time is `backward + layers / 2 x statistics`.
Without a GPU, `--layers 2 --tokens 64 --width 256` runs the same code on a CPU, in stacks as on a GPU.
"""

import argparse
import gc
from functools import partial
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from benchmarks.machine import describe
from benchmarks.results import save
from benchmarks.timing import Way, seconds, side_by_side
from benchmarks.ways import attention_weights, backward, plain, statistics_of
from benchmarks.works import Encodeds, qwen_7b, random_example, unused_tokenizer
from gradprism import GradientAnalyzer
from gradprism.prism.eigen_pool import EigenPool

REFERENCE_LAYERS = 2


def make(config: Qwen2Config, dtype: torch.dtype, device: str) -> Any:
    """The model, made where it will be used."""
    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def reference_seconds(model: Any, encoded: Encodeds, n_layers: int, repeats: int) -> float:
    """The published way, with the SVDs of two layers scaled to all of them."""
    weights = attention_weights(model)
    taken = []
    for _ in range(repeats):
        total = 0.0
        for _, item in encoded:
            total += seconds(partial(backward, model, item))
            some = {name: p.grad for name, p in weights.items() if int(name.split(".")[2]) < REFERENCE_LAYERS}
            total += seconds(partial(statistics_of, some)) * n_layers / REFERENCE_LAYERS
            model.zero_grad()
        taken.append(total)
    return sorted(taken)[len(taken) // 2]


def measure(model: Any, encoded: Encodeds, repeats: int) -> dict[str, float]:
    """Median seconds for each way but the reference."""
    tokenizer = unused_tokenizer()
    analyzers = {
        "gradprism": GradientAnalyzer(model, tokenizer, max_length=8192),
        "gradprism, fast": GradientAnalyzer(model, tokenizer, max_length=8192, precision="fast"),
    }
    for analyzer in analyzers.values():
        analyzer._pool = EigenPool(None, stacked=True)
    ways: dict[str, list[Way]] = {"plain": [partial(plain, model, encoded)]}
    ways |= {name: [partial(analyzer.analyze_encoded, encoded)] for name, analyzer in analyzers.items()}
    return side_by_side(ways, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--width", type=int, default=3584)
    parser.add_argument("--tokens", default="512,2048")
    parser.add_argument("--dtypes", default="bfloat16,float32")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-reference", action="store_true", help="leave out the reference: its SVDs take minutes")
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    config = qwen_7b(options.layers)
    if options.width != config.hidden_size:
        config = Qwen2Config(**{
            **config.to_dict(), "hidden_size": options.width, "intermediate_size": 4 * options.width,
            "num_attention_heads": options.width // 64, "num_key_value_heads": options.width // 64,
        })  # fmt: skip

    print(", ".join(describe().values()))
    print(f"width {config.hidden_size}, {options.layers} layers; {options.rows} examples, median of {options.repeats}")
    print(f"{'weights':<10}{'T':>6}{'plain':>10}{'ours':>8}{'fast':>8}{'reference':>11}   (of plain)")
    rows = []
    for dtype in options.dtypes.split(","):
        model = make(config, getattr(torch, dtype), options.device)
        for n_tokens in map(int, options.tokens.split(",")):
            encoded = [random_example(row, n_tokens, config.vocab_size) for row in range(options.rows)]
            found = measure(model, encoded, options.repeats)
            if not options.no_reference:
                found["reference"] = reference_seconds(model, encoded, options.layers, max(options.repeats // 2, 1))
            of = {name: value / found["plain"] for name, value in found.items()}
            print(
                f"{dtype:<10}{n_tokens:>6}{found['plain']:>8.2f} s{of['gradprism']:>8.2f}{of['gradprism, fast']:>8.2f}"
                f"{of.get('reference', float('nan')):>11.1f}",
                flush=True,
            )
            rows.append({"dtype": dtype, "tokens": n_tokens, "examples": options.rows, "seconds": found})
            if not options.no_save:
                save("gpu", {"layers": options.layers, "width": config.hidden_size, "rows": rows})
        del model
        gc.collect()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
