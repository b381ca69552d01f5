"""Measure one batch: a forward pass, a backward pass to the activations only, and the reduction of its factors."""

import math
from collections.abc import Sequence

import torch

from gradprism.data.encode import Encoded
from gradprism.models.likelihood import Batch, ResponseHead
from gradprism.models.projections.discovery import Projection
from gradprism.prism.capture import capturing
from gradprism.prism.eigen_pool import EigenPool
from gradprism.prism.example_gradients import ExampleGradients, TokenGradients
from gradprism.prism.gradient import Reader
from gradprism.prism.null_draws import seed_of
from gradprism.prism.precision import Computing
from gradprism.prism.reducer import Reducer
from gradprism.prism.settings import PrismSettings


def measure_batch(
    head: ResponseHead,
    projections: Sequence[Projection],
    encoded: Sequence[Encoded],
    settings: PrismSettings,
    pool: EigenPool,
    computing: Computing,
    readers: Sequence[Reader] = (),
    spectra: bool = True,
) -> list[ExampleGradients]:
    """Compute losses, spectra and similarities of each example, independent of the other examples in the batch.

    The model behind `head` must be frozen (see `capture.frozen`). Raises `LogitsChangedError` at most once for a
    model: called again, the head uses the model's own forward pass. `readers` add to the answers; without `spectra`
    they alone read the gradients.
    """
    batch = Batch.of(encoded, head.device)
    order = {projection: index for index, projection in enumerate(projections)}
    n_predicted = [example.n_response_tokens for example in encoded]
    seeds = [seed_of(example.ids) for example in encoded] if settings.null_draws else []
    readings = [reader.begin(len(encoded)) for reader in readers]
    reducer = Reducer(batch.lengths, n_predicted, order, settings, pool, seeds, readings, spectra)
    catching = capturing(projections, tuple(batch.ids.shape), reducer.add)
    with torch.inference_mode(False), torch.enable_grad(), computing(), catching as awaited:
        loss = head.loss(batch)
        answers = [
            ExampleGradients(mean, total, None if math.isfinite(mean) else f"non-finite loss ({mean})")
            for mean, total in zip(loss.means, loss.nll_sum.tolist(), strict=True)
        ]
        reducer.answers = answers
        if any(answer.problem is None for answer in answers):
            loss.backward()
            if awaited:
                raise RuntimeError(f"no gradient reached {', '.join(p.path for p in next(iter(awaited.values())))}")
    with torch.no_grad():
        reducer.finish()
    if settings.tokens:
        for answer, losses, sizes in zip(answers, loss.by_token, reducer.token_sizes, strict=True):
            answer.tokens = TokenGradients(losses, sizes)
    return answers
