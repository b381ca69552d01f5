"""Seconds and peak memory of importing and exporting published files, each in a process of its own.

    python -m benchmarks.interop [--mib 30 300] [--no-save]

The lines are made up, in the shape of SmolLM2-135M's: 30 layers, q, k, v, o, 1.2 MB each.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import describe
from benchmarks.results import save

LAYERS, WIDTHS = 30, {"q": 576, "k": 192, "v": 192, "o": 576}


def write(path: Path, mib: int) -> int:
    """Write about so many MiB; returns the number of lines."""
    line = json.dumps(made_up(np.random.default_rng(0)))
    count = max(2, (mib << 20) // len(line))
    with path.open("w") as file:
        for number in range(count):
            file.write(line.replace("Question", f"Question {number}", 1) + "\n")
    return count


def made_up(random: np.random.Generator) -> dict[str, Any]:
    """One line: a hundred true values in each list, and noise behind them."""
    places = [(layer, name) for layer in range(LAYERS) for name in WIDTHS]
    cosines = random.normal(0, 0.02, (LAYERS, LAYERS)).astype(np.float32).astype(float).tolist()
    matrix = {"layer_indices": list(range(LAYERS)), "matrix": cosines}
    return {
        "instruction": "Question", "output": "Answer", "loss": 1.5,
        **{f"model.layers.{layer}.self_attn.{name}_proj.weight": statistics(WIDTHS[name], random)
           for layer, name in places},
        "cosine_sim": {f"{name}_proj": matrix for name in WIDTHS},
        "cosine_sim_qkvo": {str(layer): {"q_proj_x_o_proj": 0.01, "k_proj_x_v_proj": 0.02} for layer in range(LAYERS)},
    }  # fmt: skip


def statistics(width: int, random: np.random.Generator) -> dict[str, Any]:
    """What stands under one weight."""
    values = np.concatenate([random.lognormal(-4, 1, 100), random.uniform(4e-9, 5e-9, width - 100)])
    values = np.sort(values.astype(np.float32))[::-1].astype(float)
    norm = float(np.linalg.norm(values))
    return {"M_mean": -1e-7, "M_max": 0.02, "M_min": -0.01, "frobenius_norm": norm, "S_list": values.tolist()}


def measured(*words: str) -> tuple[float, int]:
    """Seconds and peak MiB of one command."""
    began = time.perf_counter()
    code = "import resource, sys; from gradprism.cli import main\ntry: main(sys.argv[1:])\nfinally: "
    code += "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)"
    done = subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True, text=True)
    return time.perf_counter() - began, int(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, nargs="+", default=[30, 300])
    parser.add_argument("--no-save", action="store_true")
    given = parser.parse_args()
    print(", ".join(describe().values()))
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for mib in given.mib:
            source, run, target = folder / f"{mib}.jsonl", folder / f"run-{mib}", folder / f"{mib}-again.jsonl"
            lines = write(source, mib)
            for verb, words in (("import", (source, "--out", run)), ("export", (run, "--out", target))):
                seconds, peak = measured(verb, *map(str, words), "-q")
                found.append({"verb": verb, "mib": mib, "lines": lines, "seconds": round(seconds, 1), "peak_mib": peak})
                print(f"{verb} {mib} MiB, {lines} lines: {seconds:.1f} s, peak {peak} MiB")
    if not given.no_save:
        save("interop", {"found": found})


if __name__ == "__main__":
    main()
