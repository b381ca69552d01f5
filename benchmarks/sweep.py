"""Cost relative to an ordinary training pass, by width and by the number of tokens, and a figure of both.

    python -m benchmarks.sweep [--repeats 3] [--figure-only]

Random weights: Llama-shaped models with two layers, or four at width 1,024 for the sweep over T. The published way
is slow and steady, and runs once for every three rounds of the others.
"""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.machine import describe
from benchmarks.results import load, save
from benchmarks.timing import side_by_side
from benchmarks.ways import the_ways
from benchmarks.works import ROOT, llama_shape, random_model

FIGURE = ROOT / "docs" / "figures" / "cost.png"
WIDTHS = (512, 1024, 2048, 3584)
TOKENS = (64, 128, 256, 512, 1024, 2048)
COLOURS = {"published": "#b5483a", "gradprism": "#1f6f8b", "floor": "#8a8a8a"}
LABELS = {
    "published": "the published way",
    "gradprism": "GradPrism, all layers",
    "floor": "activation-only pass (floor)",
}


def measure(width: int, layers: int, n_tokens: int, repeats: int) -> dict[str, Any]:
    """One point: seconds of each way on one model and length."""
    model, tokenizer, encoded = random_model(llama_shape(width, layers), n_tokens, rows=2)
    ways = the_ways(model, tokenizer, encoded)
    slow = {name: ways.pop(name) for name in ("published",)}
    found = side_by_side(ways, repeats)
    both = side_by_side({"plain": ways["plain"], **slow}, max(repeats // 3, 1))
    return {
        "width": width,
        "layers": layers,
        "tokens": n_tokens,
        "of_plain": {name: found[name] / found["plain"] for name in ways if name != "plain"}
        | {"published": both["published"] / both["plain"]},
    }


def draw(by_width: Sequence[Mapping[str, Any]], by_tokens: Sequence[Mapping[str, Any]]) -> None:
    """Two panels on logarithmic axes; one training pass is the line at 1."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
    for axis, points, key in zip(panels, (by_width, by_tokens), ("width", "tokens"), strict=True):
        x = [point[key] for point in points]
        for name, colour in COLOURS.items():
            y = [point["of_plain"][name] for point in points]
            axis.plot(x, y, "o-" if name != "floor" else "o:", color=colour, label=LABELS[name], markersize=4)
            axis.annotate(
                f"{y[-1]:.2g}", (x[-1], y[-1]), xytext=(5, 0 if name != "floor" else -7),
                textcoords="offset points", va="center", fontsize=8, color=colour,
            )  # fmt: skip
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set(xscale="log", yscale="log")
        axis.xaxis.set_major_locator(FixedLocator(x))
        axis.xaxis.set_major_formatter(FixedFormatter([f"{value:,}" for value in x]))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_locator(FixedLocator([0.5, 1, 2, 5, 10, 20]))
        axis.yaxis.set_major_formatter(FixedFormatter(["0.5", "1", "2", "5", "10", "20"]))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.12)
    panels[0].set(xlabel=f"width (T = {by_width[0]['tokens']}, {by_width[0]['layers']} layers)")
    panels[0].set(ylabel="time / one training pass")
    panels[1].set(xlabel=f"tokens T (width {by_tokens[0]['width']:,}, {by_tokens[0]['layers']} layers)")
    panels[0].legend(frameon=False, fontsize=8, loc="upper left")
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE, dpi=160)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--figure-only", action="store_true")
    options = parser.parse_args()
    if not options.figure_only:
        print(", ".join(describe().values()))
        points = []
        for width, layers, n_tokens in [(w, 2, 300) for w in WIDTHS] + [(1024, 4, t) for t in TOKENS]:
            points.append(measure(width, layers, n_tokens, options.repeats))
            of = "  ".join(f"{name} {value:.2f}" for name, value in points[-1]["of_plain"].items())
            print(f"width {width:>5}, {layers} layers, T = {n_tokens:>5}: {of}", flush=True)
        save("sweep", {"by_width": points[: len(WIDTHS)], "by_tokens": points[len(WIDTHS) :]})
    found = load("sweep")
    draw(found["by_width"], found["by_tokens"])
    print(f"Figure: {FIGURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
