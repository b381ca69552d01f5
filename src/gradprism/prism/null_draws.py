"""The null that relative measures are ratios to: the same tokens, without what they agree on.

G = Σ d_t x_tᵀ is a sum over tokens. In a draw of the null each term has a random sign, G0 = Σ s_t d_t x_tᵀ: every token
adds a matrix of the same size, directions and rank as before, and there are as many, but what they agree on is gone.
Where the terms of G point the same way they add up: a few directions are larger than in the null, and the effective
rank is smaller. Both follow the number of tokens; their ratio hardly does.

Signs are drawn from the token ids of the text, the layer and the projection, so that they are the same in any batch,
order and engine.
"""

from collections.abc import Sequence
from zlib import crc32

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gradprism.models.projections.discovery import Projection
from gradprism.prism.measures import NULL_COLUMNS
from gradprism.prism.norms_and_ranks import effective_rank, nuclear_norm

_OF_DRAWS = (effective_rank, nuclear_norm)  # in the order of NULL_COLUMNS


def seed_of(token_ids: Sequence[int]) -> int:
    """Return the seed of a text's draws."""
    return crc32(np.asarray(token_ids, dtype=np.int64).tobytes())


def draw_signs(seed: int, projection: Projection, draws: int, rows: int) -> Float[Tensor, "draws rows"]:
    """Draw a sign for each row of D of one gradient, 1 or -1 in fp64, independent among projections."""
    random = np.random.default_rng([seed, projection.layer, crc32(projection.name.encode())])
    return torch.from_numpy(2.0 * random.integers(0, 2, (draws, rows)) - 1.0)


def summarise_draws(spectra: Float[Tensor, "gradients draws n"]) -> list[dict[str, float]]:
    """Return `NULL_COLUMNS` of each gradient, from the singular values of its draws; NaN where undefined."""
    draws = spectra.shape[1]
    found = []
    for measure in _OF_DRAWS:
        values = measure(spectra)  # (gradients, draws)
        found += [
            values.mean(1),
            values.std(1) / draws**0.5 if draws > 1 else values.new_full((len(values),), torch.nan),
        ]
    return [dict(zip(NULL_COLUMNS, row, strict=True)) for row in torch.stack(found, 1).tolist()]
