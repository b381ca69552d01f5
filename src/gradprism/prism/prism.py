"""Measure one batch: a forward pass, a backward pass to the activations only, and the reduction of its factors."""

from collections.abc import Sequence

import torch

from gradprism.data.encode import Encoded
from gradprism.models.likelihood import Batch, ResponseHead
from gradprism.models.projections.discovery import Projection
from gradprism.prism.capture import capturing
from gradprism.prism.eigen_pool import EigenPool
from gradprism.prism.example_gradients import ExampleGradients, TokenGradients
from gradprism.prism.gradient import Reader
from gradprism.prism.losses import Loss
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
    of_loss = Loss(encoded, settings.beta)
    batch = Batch.of(of_loss.sequences, head.device)
    order = {projection: index for index, projection in enumerate(projections)}
    if settings.reference == "base":
        with computing():
            of_loss.refer_to(head.base_nll_sums(batch))
    seeds = [seed_of(example.ids) for example in encoded]
    readings = [reader.begin(len(encoded)) for reader in readers]
    lengths = [example.n_tokens for example in encoded]
    reducer = Reducer(lengths, of_loss.divisors, order, settings, pool, seeds, readings, spectra)
    catching = capturing(projections, tuple(batch.ids.shape), of_loss.into(reducer.add))
    with torch.inference_mode(False), torch.enable_grad(), computing(), catching as awaited:
        loss = head.loss(batch)
        answers = reducer.answers = of_loss.answers(loss)
        if any(answer.problem is None for answer in answers):
            loss.backward()
            if awaited:
                raise RuntimeError(f"no gradient reached {', '.join(p.path for p in next(iter(awaited.values())))}")
    with torch.no_grad():
        reducer.finish()
        if spectra and of_loss.is_of_pairs:
            of_loss.finish(answers)
    if settings.tokens:
        for answer, losses, sizes in zip(answers, loss.by_token, reducer.token_sizes, strict=True):
            answer.tokens = TokenGradients(losses, sizes)
    return answers
