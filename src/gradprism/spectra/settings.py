"""Settings of the prism: what is measured of each gradient, and how exactly."""

from typing import Literal

from pydantic import field_validator

from gradprism.core.settings import Settings

Precision = Literal["exact", "balanced", "fast"]


class PrismSettings(Settings):
    """What is measured of each gradient, and how exactly."""

    projections: str = "q,k,v,o"
    """Projections to measure, of q, k, v, o (attention) and gate, up, down (MLP). Latent attention answers with its
    own q_a, q_b, kv_a, kv_b, which can also be asked for."""
    architecture: str | None = None
    """YAML file that says where the projections of a model are which is not understood by itself."""
    entry_stats: bool = False
    """Also the smallest and largest entry of each gradient (needs the whole matrix)."""
    all_layers: bool = False
    """Also the cosine of every pair of layers, not only of neighbours."""
    spectrum: bool = True
    """Keep the singular values themselves."""
    precision: Precision = "exact"
    """The model's matrix products: exact (fp32), balanced (TF32 or bf16 products) or fast (bf16, or int8 on a CPU
    without AMX), with what the machine has. The spectra themselves are always fp64."""

    @field_validator("projections")
    @classmethod
    def _without_spaces(cls, text: str) -> str:
        """One spelling of one choice: `q, k` is `q,k`."""
        return ",".join(name.strip() for name in text.split(",") if name.strip())

    @property
    def projection_names(self) -> tuple[str, ...]:
        """The projections as a tuple."""
        return tuple(self.projections.split(",")) if self.projections else ()
