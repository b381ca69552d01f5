"""How far measures are from fp64 throughout: real weights, real text, every layer.

    python -m benchmarks.exactness [--rows 4] [--mlp] [--precisions exact fast] [--models smollm2-135m gemma-3-270m]

The truth is made independently: ordinary autograd in a copy of the model that computes norms, rotations, softmax and
loss in fp64 too, and an fp64 SVD of each weight's gradient, cut to as many values as there can be.
"""

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from tests import oracle

from benchmarks.machine import describe
from benchmarks.results import save
from benchmarks.works import SAMPLE
from gradprism import GradientAnalyzer
from gradprism.data.encode import Encoded
from gradprism.data.example import Example
from gradprism.data.example_set import open_examples
from gradprism.data.settings import ReadSettings
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.settings import CheckpointSettings
from gradprism.prism.settings import Precision
from gradprism.prism.tables import Tables

MODELS = ("smollm2-135m", "gemma-3-270m")
MAX_LENGTH = 512
MEASURES = ("nuclear_norm", "effective_rank", "frobenius_norm", "spectral_norm", "stable_rank")

Errors = dict[str, list[float]]


class Truth:
    """What one example gives in fp64."""

    def __init__(self, model: oracle.TrueModel, item: Encoded, weights: dict[tuple[str, int], str]):
        """`weights`: names of the parameters, by projection and layer."""
        found = model.gradients(item.ids, item.response_mask, list(weights.values()))
        self.loss: float = found["loss"]
        self._gradients = {key: found[name] for key, name in weights.items()}
        self._n_tokens = item.n_tokens

    def measures(self, projection: str, layer: int) -> dict[str, float]:
        """All that is reported of one gradient."""
        gradient = self._gradients[projection, layer]
        most = min(self._n_tokens - 1, *gradient.shape)
        return {
            **oracle.measures(gradient, most),
            "smallest entry": float(gradient.min()),
            "largest entry": float(gradient.max()),
        }

    def cosine(self, layer: int, other_layer: int, pair: str) -> float:
        """Of two projections of a layer (`k-v`), or of one in two layers (`q`)."""
        first, _, second = pair.partition("-")
        return oracle.cosine(self._gradients[first, layer], self._gradients[second or first, other_layer])


def weights_of(model: Any, mlp: bool) -> dict[tuple[str, int], str]:
    """Names of the weights that are measured, by projection and layer."""
    homes = {"self_attn": "qkvo"} | ({"mlp": ("gate", "up", "down")} if mlp else {})
    layers = range(model.config.num_hidden_layers)
    return {
        (p, layer): f"model.layers.{layer}.{home}.{p}_proj.weight"
        for layer in layers
        for home, names in homes.items()
        for p in names
    }


def errors_of(tables: Tables, row: int, truth: Truth) -> Iterator[tuple[str, float]]:
    """Name and error: absolute of losses and cosines, relative of all else."""
    yield "loss", abs(tables.examples.filter(row=row)["loss"].item() - truth.loss)
    for found in tables.spectra.filter(row=row).iter_rows(named=True):
        named = found | {"smallest entry": found["grad_min"], "largest entry": found["grad_max"]}
        for name, value in truth.measures(found["projection"], found["layer"]).items():
            yield name, abs(named[name] / value - 1)
    for found in tables.similarity.filter(row=row).iter_rows(named=True):
        if found["cosine"] is not None:
            yield "cosine", abs(found["cosine"] - truth.cosine(found["layer"], found["other_layer"], found["pair"]))


def compare(name: str, rows: int, mlp: bool, precisions: Sequence[Precision]) -> dict[str, Errors]:
    """Errors of all rows of a model together, by precision."""
    checkpoint = find_checkpoint(CheckpointSettings(model=name), print)
    model, tokenizer = checkpoint.load_model(), checkpoint.load_tokenizer()
    weights = weights_of(model, mlp)
    projections = tuple(dict.fromkeys(projection for projection, _ in weights))
    examples = _spread(list(open_examples(str(SAMPLE), ReadSettings())), rows)
    options = {"max_length": MAX_LENGTH, "projections": projections, "entry_stats": True}
    measured = {}
    for precision in precisions:
        analyzer = GradientAnalyzer(model, tokenizer, precision=precision, **options)
        measured[precision] = analyzer.analyze(examples)
        print(f"{name}, {precision}: {analyzer.arithmetic}", flush=True)
    encoder, true_model = analyzer._encoder, oracle.TrueModel(model)
    errors: dict[str, Errors] = {precision: defaultdict(list) for precision in precisions}
    for example in examples:
        truth = Truth(true_model, encoder.encode(example), weights)
        for precision, tables in measured.items():
            for measure, error in errors_of(tables, example.row, truth):
                errors[precision][measure].append(error)
    return errors


def _spread(examples: Sequence[Example], rows: int) -> list[Example]:
    """So many of them, from all over the file."""
    return list(examples[:: max(len(examples) // rows, 1)][:rows])


def table_of(errors: dict[str, dict[str, Errors]]) -> Iterator[str]:
    """Lines of a Markdown table: a row a measure, largest and median errors of each model and precision."""
    columns = [(model, precision) for model, found in errors.items() for precision in found]
    yield "| | " + " | ".join(f"{model}, {precision}: max | median" for model, precision in columns) + " |"
    yield "|---|" + "---|---|" * len(columns)
    for name in errors[columns[0][0]][columns[0][1]]:
        of_name = [errors[model][precision][name] for model, precision in columns]
        cells = [f"{max(each):.1e} | {statistics.median(each):.1e}" for each in of_name]
        yield f"| {name.replace('_', ' ')} | " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table, and save it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--mlp", action="store_true", help="gate, up and down too")
    parser.add_argument("--precisions", nargs="+", default=["exact"], choices=["exact", "balanced", "fast"])
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    print(", ".join(describe().values()))
    errors = {name: compare(name, options.rows, options.mlp, options.precisions) for name in options.models}
    print("\n".join(table_of(errors)))
    if not options.no_save:
        of_all = {
            model: {
                precision: {k: {"max": max(v), "median": statistics.median(v)} for k, v in found.items()}
                for precision, found in by_precision.items()
            }
            for model, by_precision in errors.items()
        }
        save("exactness", {"rows": options.rows, "max_length": MAX_LENGTH, "mlp": options.mlp, "errors": of_all})


if __name__ == "__main__":
    main()
