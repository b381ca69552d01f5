"""Peak memory of ours and of plain training, each in a process of its own; and whether a long run stays flat.

    python -m benchmarks.memory [--examples 10000]

Also T = 4,096 on smollm2-135m, which must complete.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

from benchmarks.cost import REWARD_DATA
from benchmarks.machine import describe
from benchmarks.results import save
from benchmarks.ways import activation_only, plain
from benchmarks.works import SAMPLE, Work, random_example, smollm2, the_four

SHARE = 10  # the first tenth of the long run is what the rest is held against


def works() -> list[Work]:
    """The four, and a long text."""
    long = Work("smollm2-135m, T=4,096", lambda: (*smollm2(SAMPLE, 1)[:2], [random_example(0, 4096, 49152)]))
    return [*the_four(REWARD_DATA if REWARD_DATA.exists() else None), long]


def peak_mib(work: int, way: str) -> dict[str, Any]:
    """Run one way of one work in a fresh process; MiB of its largest resident set, and of what it had loaded."""
    command = [sys.executable, "-m", "benchmarks.memory", "--inside", f"{work},{way}"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def inside(work: int, way: str) -> None:
    """The child process."""
    from gradprism import GradientAnalyzer

    model, tokenizer, encoded = works()[work].load()
    loaded = psutil.Process().memory_info().rss >> 20
    ok = len(encoded)
    if way == "plain":
        plain(model, encoded)
    elif way == "floor":
        activation_only(model, encoded)
    else:
        analyzer = GradientAnalyzer(model, tokenizer, max_length=8192, precision=way)
        ok = analyzer.analyze_encoded(encoded).examples.filter(status="ok").height
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(json.dumps({"peak_mib": peak, "loaded_mib": loaded, "ok": ok, "examples": len(encoded)}))


def long_run(n_examples: int, **options: Any) -> dict[str, Any]:
    """Resident memory over a run of many examples on a tiny model, read after every batch."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    import gradprism
    from gradprism.core.progress import NoProgress

    config = LlamaConfig(
        vocab_size=49152, hidden_size=64, intermediate_size=128, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512,
    )  # fmt: skip
    _, tokenizer, _ = smollm2(SAMPLE, 1)
    model = AutoModelForCausalLM.from_config(config).eval()
    texts = [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]
    rows = [
        {"prompt": f"{index}. {texts[index % len(texts)]['instruction']}", "completion": texts[index % 7]["output"]}
        for index in range(n_examples)
    ]
    seen: list[tuple[int, int]] = []

    class Watch(NoProgress):
        done = 0

        def batch(self, examples: int, tokens: int) -> None:
            self.done += examples
            seen.append((self.done, psutil.Process().memory_info().rss >> 20))

    with tempfile.TemporaryDirectory() as folder:
        made = gradprism.spectra(
            rows, model, tokenizer=tokenizer, out=Path(folder) / "run", observer=Watch(), **options
        )
        ok = made.counts.ok
    first = max(rss for done, rss in seen if done <= n_examples // SHARE)
    rest = max(rss for done, rss in seen if done > n_examples // SHARE)
    return {"examples": n_examples, "ok": ok, "first_tenth_mib": first, "rest_mib": rest, "growth": rest / first - 1}


def _in_words(flat: dict[str, Any]) -> str:
    return (
        f"{flat['ok']:,} of {flat['examples']:,} examples on a tiny model: at most {flat['first_tenth_mib']:,} MiB "
        f"in the first tenth, {flat['rest_mib']:,} MiB in the rest ({flat['growth']:+.1%})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--choosing", action="store_true", help="the long run alone, with all that choosing needs")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        work, way = options.inside.split(",")
        inside(int(work), way)
        return
    print(", ".join(describe().values()))
    if options.choosing:
        found = long_run(options.examples, sketch=4096, target={"sample": SAMPLE}, null_draws=1)
        print(_in_words(found))
        save("memory-choosing", found)
        return
    print(f"{'peak resident memory':<32}{'loaded':>9}{'plain':>9}{'ours':>9}{'fast':>9}   MiB")
    rows = []
    for index, work in enumerate(works()):
        found = {way: peak_mib(index, way) for way in ("plain", "exact", "fast")}
        peaks = "".join(f"{found[way]['peak_mib']:>9,}" for way in found)
        print(f"{work.name:<32}{found['plain']['loaded_mib']:>9,}{peaks}", flush=True)
        rows.append({"work": work.name, **found})
    flat = long_run(options.examples)
    print(_in_words(flat))
    save("memory", {"works": rows, "long_run": flat})


if __name__ == "__main__":
    main()
