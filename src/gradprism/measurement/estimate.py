"""Estimate what `gradprism spectra` would take: its rows, a measurement of a few seconds, and the schema of a run.

Nothing is written.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from gradprism.core.progress import Progress
from gradprism.data.encode import Encoded, make_encoder
from gradprism.data.example import Example, RowProblemError
from gradprism.data.example_set import ExampleSet
from gradprism.engine.shards import n_parts
from gradprism.files.paths import to_path
from gradprism.measurement.settings import SpectraRecipe
from gradprism.measurement.targets import open_targets, targets_identity
from gradprism.models.checkpoints import Checkpoint, find_checkpoint
from gradprism.models.device import devices_in_words, execution_device, find_device, find_spread
from gradprism.models.rate import estimated_seconds
from gradprism.models.text import resolve_text
from gradprism.runs.layout import identity_of
from gradprism.runs.record import examples_of
from gradprism.runs.run import open_run

if TYPE_CHECKING:
    from gradprism.models.projections.discovery import Projection

MOST_ROWS = 2000  # that are tokenised; an even choice of these stands for the others
SECONDS = 5.0  # of measuring
BYTES_PER_VALUE = 3.7  # of a singular value; four real runs of two models gave 3.66 to 3.70
BYTES_PER_GRADIENT = 46  # of the other columns of a row of spectra; 45.6 to 46.7
BYTES_PER_COSINE = 8.3  # 7.7 to 8.3
BYTES_PER_NUMBER = 8.8  # of the columns of the null, and of each of the six of a target, a gradient
BYTES_PER_COORDINATE = 1.9  # of a sketch; one real run
BYTES_PER_TOKEN = 10  # of its id and text, beside the numbers of `tokens`, of 4 bytes each: one real run gave 9.7
_H100 = 2.9e-4, 1.3e-13  # seconds a token, and more for each parameter: two runs in fp32 (docs/speed.md)

Ready = tuple[Example, Encoded]


@dataclass(frozen=True)
class Pace:
    """The batches that were measured on this machine, and their time."""

    rows: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """The work of a run. Tokens, time and size are of the rows that are not in the run yet."""

    data: str
    model: str
    parameters: int
    rows: int
    rows_done: int  # that the run holds already
    rows_skipped: int
    tokens: int
    response_tokens: int
    rows_tokenised: int
    pace: Pace | None  # None where nothing was measured
    not_measured: str  # why
    device: str
    workers: int
    seconds: float
    layers: int
    projections: int
    spectrum_length: float  # mean number of singular values of a gradient; 0 where they are not stored
    bytes: int
    parts: int

    @property
    def is_sampled(self) -> bool:
        """True where only some rows were tokenised."""
        return self.rows_tokenised < self.rows - self.rows_done

    @property
    def on_gpu(self) -> bool:
        """True where the time is that of a GPU."""
        return self.device.startswith("cuda")

    @property
    def gpu_hours(self) -> float:
        """GPU hours of the run: those of this machine's GPU, else of an H100 with 16 cores."""
        if self.on_gpu:
            return self.seconds * self.workers / 3600
        a_token, a_parameter = _H100
        return self.tokens * (a_token + a_parameter * self.parameters) / 3600


def estimate_spectra(recipe: SpectraRecipe, progress: Progress) -> Estimate:
    """Estimate what a recipe would take. Loads the model and measures for five seconds, if its weights fit here.

    Raises `GradPrismError` where the run would be refused.
    """
    from gradprism.models.projections.architecture import read_architecture
    from gradprism.models.projections.discovery import find_projections
    from gradprism.prism.estimated_spectrum import values_stored
    from gradprism.prism.losses import encode_for

    progress.say("Reading the data")
    examples = examples_of(recipe)
    source = find_checkpoint(recipe.checkpoint, progress.say)
    out = to_path(recipe.out)
    text = resolve_text(recipe.text, source, source.load_config(), examples.n_conversations, identity_of(out)).settings
    recipe = recipe.model_copy(update={"text": text})
    targets = targets_identity(recipe.targets, open_targets(recipe.targets, recipe.read))
    done = _rows_done(recipe, len(examples), targets)
    progress.say("Tokenising")
    chosen = _sample(examples, done)
    ready = list(_encoded(chosen, encode_for(recipe.prism, make_encoder(source.load_tokenizer(), text))))
    share = (len(examples) - len(done)) / max(len(chosen), 1)
    tokens = round(share * sum(encoded.n_tokens for _, encoded in ready))
    skeleton = source.load_skeleton()
    parameters = sum(weight.numel() for weight in skeleton.parameters())
    architecture = read_architecture(recipe.prism.architecture) if recipe.prism.architecture else None
    found = find_projections(skeleton, recipe.prism.projection_names, architecture).projections
    del skeleton
    device, workers = find_device(recipe.execution.device), recipe.engine.workers or 1
    not_measured = _why_not(recipe, source, parameters, device, ready)
    pace = None
    if not not_measured:
        pace, device = _measure(recipe, source, ready, device, progress)
    seconds = tokens * pace.seconds / pace.tokens if pace else estimated_seconds(parameters * tokens, device)
    lengths = [encoded.n_tokens for _, encoded in ready] if recipe.prism.spectrum else []
    values = [
        values_stored(min(length - 1, each.d_out, each.d_in), recipe.prism) for length in lengths for each in found
    ]
    of_gradients = _bytes_of_gradients(found, recipe) * len(ready) + BYTES_PER_VALUE * sum(values)
    return Estimate(
        data=", ".join(item.name for item in examples.sources),
        model=source.name,
        parameters=parameters,
        rows=len(examples),
        rows_done=len(done),
        rows_skipped=round(share * (len(chosen) - len(ready))),
        tokens=tokens,
        response_tokens=round(share * sum(encoded.n_response_tokens for _, encoded in ready)),
        rows_tokenised=len(chosen),
        pace=pace,
        not_measured=not_measured,
        device=device,
        workers=workers,
        seconds=seconds / workers,
        layers=len({each.layer for each in found}),
        projections=len({each.name for each in found}),
        spectrum_length=sum(values) / max(len(values), 1),
        bytes=round(share * of_gradients + _bytes_of_token(found, recipe) * tokens),
        parts=n_parts(len(examples), recipe.part_rows) - len(done) // recipe.part_rows,
    )


def _rows_done(recipe: SpectraRecipe, rows: int, targets: Mapping[str, Any]) -> range:
    """Return the first rows that the run holds already. Raises `GradPrismError` where it has other settings."""
    from gradprism.runs.resume_checks import ROWS, refuse_differences

    out = to_path(recipe.out)
    made = identity_of(out)
    if not made:
        return range(0)
    shared = {name: value for name, value in recipe.identity().items() if name in made and name not in ROWS}
    refuse_differences(out, {name: made[name] for name in shared}, shared)
    refuse_differences(out, {name: made[name] for name in made if name == "targets"}, targets)
    return range(min(rows, open_run(out).counts.done))


def _sample(examples: ExampleSet, done: Sequence[int]) -> list[Example]:
    """Choose at most 2,000 rows, spread evenly over those that are not done."""
    left = len(examples) - len(done)
    step = max(1, ceil(left / MOST_ROWS))
    return [each for i, each in enumerate(examples) if i >= len(done) and (i - len(done)) % step == 0]


def _encoded(examples: Sequence[Example], encode: Callable[[Example], Encoded]) -> Iterator[Ready]:
    """Yield the examples with their tokens, without those that would be skipped."""
    for example in examples:
        try:
            if not example.problem:
                yield example, encode(example)
        except RowProblemError:
            continue


def _bytes_of_gradients(found: Sequence["Projection"], recipe: SpectraRecipe) -> float:
    """Return the bytes of a row of examples beside its singular values."""
    layers = len({each.layer for each in found})
    names = {each.name for each in found}
    pairs = layers * (layers - 1) / 2 if recipe.prism.all_layers else layers - 1
    cosines = len(names) * pairs + layers * sum({*pair} <= names for pair in ("kv", "qo"))
    null = 4 * BYTES_PER_NUMBER * len(found) if recipe.prism.null_draws else 0
    null += 2 * BYTES_PER_NUMBER * len(found) * (recipe.prism.precision != "exact")
    null += 4 * BYTES_PER_NUMBER * len(found) * recipe.prism.has_tails
    influence = 6 * BYTES_PER_NUMBER * len(found) * len(recipe.targets.target)
    sketch = BYTES_PER_COORDINATE * recipe.prism.sketch
    return BYTES_PER_GRADIENT * len(found) + BYTES_PER_COSINE * cosines + null + influence + sketch


def _bytes_of_token(found: Sequence["Projection"], recipe: SpectraRecipe) -> float:
    """Return the bytes of a token: its loss, its gradient size, and that of each projection."""
    numbers = 2 + len({each.name for each in found})
    return BYTES_PER_TOKEN + 4 * numbers if recipe.prism.tokens else 0


def _why_not(recipe: SpectraRecipe, source: Checkpoint, parameters: int, device: str, ready: Sequence[Ready]) -> str:
    """Say why nothing can be measured here; empty where it can."""
    if not ready:
        return "no row is left to measure"
    if find_spread(recipe.execution) or source.quantization(source.load_config()):
        return ""
    needed = parameters * (2 if "16" in source.dtype(source.load_config()) else 4)
    free = _free_memory(device)
    if free is None or needed <= free:
        return ""
    return f"its weights ({needed / 2**30:,.1f} GiB) do not fit the {free / 2**30:,.1f} GiB free on {device}"


def _free_memory(device: str) -> int | None:
    """Return the free bytes of a device; None where that is not known."""
    import torch

    from gradprism.models.size_limits import available_memory

    if device == "cpu":
        return available_memory()
    return int(torch.cuda.mem_get_info(device)[0]) if device.startswith("cuda") else None


def _measure(
    recipe: SpectraRecipe, source: Checkpoint, ready: Sequence[Ready], device: str, progress: Progress
) -> tuple[Pace, str]:
    """Measure batches as a run cuts them, in random order, for five seconds or until none is left; and the device.

    The first is measured twice, and counts the second time alone.
    """
    from gradprism.models.batches import Batches
    from gradprism.prism.analyzer import GradientAnalyzer

    progress.say(f"Loading {source.name}")
    model = source.load_model(device, find_spread(recipe.execution))
    analyzer = GradientAnalyzer(model, source.load_tokenizer(), recipe=recipe)
    cutter = Batches[Ready](lambda item: item[1].n_tokens, recipe.execution.batch_tokens, execution_device(model))
    shards = [ready[start : start + recipe.part_rows] for start in range(0, len(ready), recipe.part_rows)]
    batches = [batch for shard in shards for batch in cutter.cut(shard)]
    random.Random(0).shuffle(batches)
    progress.say("Measuring for 5 seconds")
    analyzer.analyze_encoded(batches[0])
    rows, tokens, began, seconds = 0, 0, time.perf_counter(), 0.0
    for batch in batches:
        analyzer.analyze_encoded(batch)
        rows, tokens = rows + len(batch), tokens + sum(encoded.n_tokens for _, encoded in batch)
        seconds = time.perf_counter() - began
        if seconds >= SECONDS:
            break
    return Pace(rows, tokens, seconds), devices_in_words(model)


def as_values(estimate: Estimate) -> dict[str, Any]:
    """Return an estimate as plain values, for JSON."""
    from dataclasses import asdict

    return asdict(estimate) | {"gpu_hours": estimate.gpu_hours}
