"""Settings of the prism: what is measured of each gradient, and how exactly."""

from typing import Any, Literal, Protocol, Self

from pydantic import field_validator

from gradprism.core.settings import Settings, checked, grouped
from gradprism.data.settings import ReadSettings, TextSettings
from gradprism.models.settings import ExecutionSettings

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


class MeasuringSettings(Protocol):
    """What the analyzer is told; a recipe of `gradprism spectra` has these groups, and more."""

    @property
    def read(self) -> ReadSettings:
        """Which rows."""

    @property
    def text(self) -> TextSettings:
        """How they become tokens."""

    @property
    def prism(self) -> PrismSettings:
        """What is measured."""

    @property
    def execution(self) -> ExecutionSettings:
        """How the work is done."""


class AnalyzerSettings(Settings):
    """The settings of a `GradientAnalyzer`, which is given its model."""

    read: ReadSettings = ReadSettings()
    text: TextSettings = TextSettings()
    prism: PrismSettings = PrismSettings()
    execution: ExecutionSettings = ExecutionSettings()

    @classmethod
    def from_options(cls, **options: Any) -> Self:
        """Sort flat options, as a Python caller gives them, into their groups."""
        return checked(cls, grouped(cls, options))
