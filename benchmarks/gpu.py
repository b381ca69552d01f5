"""Cost of all layers on a model of the shape of Qwen2.5-7B with random weights: plain, ours, the published way.

    python -m benchmarks.gpu [--tokens 512,2048,8192] [--dtypes bfloat16] [--profile] [--real MODEL] [--reference]

`floor` is our own pass without spectra. `--profile` adds where the time of one example goes, by kernel. `--real`
compares all three precisions on real weights with the model in fp64 on the CPU. The published way's full SVDs
(`--reference`: minutes) are taken of two layers and scaled to all: its time is `backward + layers / 2 x statistics`.
Without a GPU, `--device cpu --layers 1 --dtypes float32` measures a CPU; with `--stacked` in stacks, as on a GPU.
"""

import argparse
import copy
import gc
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity
from transformers import AutoModelForCausalLM, Qwen2Config

from benchmarks.machine import describe
from benchmarks.results import save
from benchmarks.timing import Way, seconds, side_by_side
from benchmarks.ways import activation_only, attention_weights, backward, plain, statistics_of
from benchmarks.works import SAMPLE, Encodeds, qwen_7b, random_example, unused_tokenizer
from gradprism import GradientAnalyzer
from gradprism.models.batches import _TOKENS
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.settings import CheckpointSettings
from gradprism.prism.eigen_pool import EigenPool
from gradprism.prism.measures import MAIN_MEASURES
from gradprism.prism.settings import Precision

REFERENCE_LAYERS = 2
PRECISIONS: tuple[Precision, ...] = ("exact", "balanced", "fast")
COLUMNS = ("floor", *PRECISIONS, "reference")


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


def analyzers_of(model: Any, stacked: bool, precisions: Sequence[Precision]) -> dict[str, GradientAnalyzer]:
    """An analyzer of each precision; `stacked`: it stacks matrices on a CPU too."""
    made = {name: GradientAnalyzer(model, unused_tokenizer(), max_length=8192, precision=name) for name in precisions}
    for analyzer in made.values():
        analyzer.pool = EigenPool(None, stacked=True) if stacked else analyzer.pool
    return made


def measure(model: Any, encoded: Encodeds, stacked: bool, repeats: int) -> dict[str, float]:
    """Median seconds for each way but the reference."""
    ways: dict[str, list[Way]] = {
        "plain": [partial(plain, model, encoded)],
        "floor": [partial(activation_only, model, encoded)],
    }
    analyzers = analyzers_of(model, stacked, PRECISIONS)
    for name, analyzer in analyzers.items():
        ways[name] = [partial(analyzer.analyze_encoded, encoded)]
    found = side_by_side(ways, repeats)
    for name, analyzer in analyzers.items():
        for (kind, bits), both in analyzer.pool.speeds.items():
            if both:
                words = f"{1e3 * both[0]:.2f} ms a matrix here, {1e3 * both[1]:.2f} on a thread"
                print(f"  {name}, {kind} of up to {2**bits - 1:,} rows: {words}")
    return found


def profile(model: Any, encoded: Encodeds, device: str, stacked: bool) -> None:
    """Print where the time of one example goes: on the device where there is one, and in Python's thread."""
    on_gpu = device != "cpu"
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    for name, analyzer in analyzers_of(model, stacked, PRECISIONS).items():
        analyzer.analyze_encoded(encoded[:1])
        with torch.profiler.profile(activities=kinds) as found:
            taken = seconds(partial(analyzer.analyze_encoded, encoded[:1]))
        print(f"{name}, one example: {taken:.3f} s")
        column = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        print(found.key_averages().table(sort_by=column, row_limit=14, max_name_column_width=48), flush=True)


def accuracy(name: str, device: str, rows: int, tokens: int) -> None:
    """Print relative errors of real weights' measures, against the same model in fp64 on the CPU."""
    checkpoint = find_checkpoint(CheckpointSettings(model=name), print)
    model, tokenizer = checkpoint.load_model(), checkpoint.load_tokenizer()
    data = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    long = "\n".join(row["output"] for row in data)
    given = [*data[:rows], {"instruction": "Go on.", "output": long}]
    truth = GradientAnalyzer(copy.deepcopy(model).double(), tokenizer, max_length=tokens).analyze(given).spectra
    model = model.to(device)
    for precision in PRECISIONS:
        found = GradientAnalyzer(model, tokenizer, max_length=tokens, precision=precision).analyze(given).spectra
        cells = []
        for measure_name in MAIN_MEASURES:
            off = (found[measure_name] / truth[measure_name] - 1).abs().drop_nulls().to_numpy()
            cells.append(f"{measure_name} {np.median(off):.1e}, {np.quantile(off, 0.95):.1e}, {off.max():.1e}")
        print(f"{name}, {precision}, {len(given)} rows (median, 95%, largest): {'; '.join(cells)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--width", type=int, default=3584)
    parser.add_argument("--tokens", default="512,2048,8192")
    parser.add_argument("--dtypes", default="bfloat16")
    parser.add_argument("--rows", type=int, help="examples (default: those of a batch)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--reference", action="store_true", help="also the published way")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--stacked", action="store_true", help="on a CPU too")
    parser.add_argument("--real", help="a small model whose measures are compared with fp64")
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    config = qwen_7b(options.layers)
    if options.width != config.hidden_size:
        config = Qwen2Config(**{
            **config.to_dict(), "hidden_size": options.width, "intermediate_size": 4 * options.width,
            "num_attention_heads": options.width // 64, "num_key_value_heads": options.width // 64,
        })  # fmt: skip

    print(", ".join(describe().values()))
    print(
        f"width {config.hidden_size}, {options.layers} layers; median of {options.repeats}; plain in seconds an example"
    )
    print(
        f"{'weights':<10}{'T':>6}{'rows':>6}{'plain':>10}"
        + "".join(f"{name:>10}" for name in COLUMNS)
        + "   (of plain)"
    )
    rows = []
    for dtype in options.dtypes.split(","):
        model = make(config, getattr(torch, dtype), options.device)
        for n_tokens in map(int, options.tokens.split(",")):
            n_rows = options.rows or max(_TOKENS[options.device == "cpu"] // n_tokens, 1)
            encoded = [random_example(row, n_tokens, config.vocab_size) for row in range(n_rows)]
            found = measure(model, encoded, options.stacked, options.repeats)
            if options.reference:
                found["reference"] = reference_seconds(model, encoded, options.layers, max(options.repeats // 2, 1))
            ratios = "".join(f"{found[name] / found['plain']:>10.2f}" for name in COLUMNS if name in found)
            print(f"{dtype:<10}{n_tokens:>6}{n_rows:>6}{found['plain'] / n_rows:>10.3f}{ratios}", flush=True)
            rows.append({"dtype": dtype, "tokens": n_tokens, "examples": n_rows, "seconds": found})
            if not options.no_save:
                save("gpu", {"layers": options.layers, "width": config.hidden_size, "rows": rows})
            if options.profile:
                profile(model, encoded, options.device, options.stacked)
        del model
        gc.collect()
        torch.cuda.empty_cache()
    if options.real:
        accuracy(options.real, options.device, 6, 1024)


if __name__ == "__main__":
    main()
