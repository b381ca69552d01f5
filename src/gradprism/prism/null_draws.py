"""The null that relative measures are ratios to: the same tokens, without what joins them.

G = Σ d_t x_tᵀ is a sum over tokens. In a draw of the null, G0 = Σ d_π(t) x_tᵀ, output gradients belong to the inputs
of other tokens, by a random order π. Both factors stay what they are, with every size and every similarity among the
inputs and among the output gradients, and so does the number of tokens; what is gone is which goes with which. The
other null, G0 = Σ s_t d_t x_tᵀ with random signs s_t, keeps the pairs and takes the agreement of their signs.

Draws depend on the token ids of the text, the layer and the projection, so that they are the same in any batch, order
and engine.
"""

from collections.abc import Sequence
from typing import Literal
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gradprism.models.projections.discovery import Projection
from gradprism.prism.factors import Draw
from gradprism.prism.measures import NULL_COLUMNS
from gradprism.prism.norms_and_ranks import effective_rank, nuclear_norm
from gradprism.prism.tail import Spectra

ROUNDING = 1e-5
"""Of the largest magnitude in D: a row of D below it is taken as zero."""
_OF_DRAWS = (effective_rank, nuclear_norm)  # in the order of NULL_COLUMNS


def seed_of(token_ids: Sequence[int]) -> int:
    """Return the seed of a text's draws."""
    return crc32(np.asarray(token_ids, dtype=np.int64).tobytes())


def draw_null(
    how: Literal["permuted", "signs"],
    seed: int,
    projection: Projection,
    draws: int,
    deltas: Float[Tensor, "rows d_out"],
) -> list[Draw]:
    """Draw orders or signs of the rows of D of one gradient, independent among projections.

    Rows that are rounding beside the largest stay as they are: where a true gradient is zero, as of the first token's
    query, whether a row is exactly 0 depends on the batch, and the draws of the others must not.
    """
    random = np.random.default_rng([seed, projection.layer, crc32(projection.name.encode())])
    peaks = deltas.abs().amax(1).cpu() if len(deltas) else torch.zeros(0)
    (counted,) = (peaks > ROUNDING * peaks.max()).nonzero(as_tuple=True) if len(peaks) else (peaks.long(),)
    found: list[Draw] = []
    for _ in range(draws):
        if how == "permuted":
            draw = torch.arange(len(peaks))
            draw[counted] = counted[torch.from_numpy(random.permutation(len(counted)))]
        else:
            draw = torch.ones(len(peaks), dtype=torch.float64)
            draw[counted] = torch.from_numpy(2.0 * random.integers(0, 2, len(counted)) - 1.0)
        found.append(draw)
    return found


def summarise_draws(spectra: Spectra) -> list[dict[str, float]]:
    """Return `NULL_COLUMNS` of each gradient, from the spectra (gradients, draws) of its draws; NaN where undefined."""
    draws = spectra.values.shape[1]
    found = []
    for measure in _OF_DRAWS:
        values = measure(spectra.values, spectra.tail)  # (gradients, draws)
        found += [
            values.mean(1),
            values.std(1) / draws**0.5 if draws > 1 else values.new_full((len(values),), torch.nan),
        ]
    return [dict(zip(NULL_COLUMNS, row, strict=True)) for row in torch.stack(found, 1).tolist()]
