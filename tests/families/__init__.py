"""The families of `transformers` that are tested: a tiny model of each, and where its weights hold its projections.

Written from each family's own modelling code, by hand and without the package under test: a path of a weight, and for
a fused one how the family's `forward` cuts it. `python -m tests.families.page` writes the table of docs/families.md
from them.
"""

from tests.families.experts import EXPERTS
from tests.families.fused import FUSED
from tests.families.hybrids import HYBRIDS
from tests.families.latent import WITH_LATENT
from tests.families.others import WITH_OTHERS
from tests.families.separate import SEPARATE

FAMILIES = (*SEPARATE, *FUSED, *EXPERTS, *WITH_LATENT, *HYBRIDS, *WITH_OTHERS)
