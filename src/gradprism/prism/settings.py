"""Settings of the prism: the projections and quantities to measure, and the precision."""

from typing import Any, Literal, Protocol, Self

from pydantic import field_validator

from gradprism.core.settings import Settings, checked, grouped, one_or_several
from gradprism.data.settings import ReadSettings, TextSettings
from gradprism.models.settings import ExecutionSettings

Precision = Literal["exact", "balanced", "fast"]


class PrismSettings(Settings):
    """The projections and quantities to measure, and the precision."""

    projections: str = "q,k,v,o"
    """Projections to measure, of q, k, v, o (attention) and gate, up, down (MLP). Models with latent attention have
    q_a, q_b, kv_a, kv_b instead, which can also be named."""
    architecture: str | None = None
    """YAML file that says where the projections are, for a model whose projections are not found automatically."""
    entry_stats: bool = False
    """Also measure the smallest and largest entry of each gradient (needs the whole matrix)."""
    all_layers: bool = False
    """Also measure the cosine of every pair of layers, not only of adjacent ones."""
    spectrum: bool = True
    """Store the singular values themselves."""
    tokens: bool = False
    """Also store the loss and the gradient size of each token, with its text."""
    precision: Precision = "exact"
    """Precision of the model's matrix products, as far as the hardware supports it: exact (fp32), balanced (TF32 or
    bf16 products) or fast (bf16, or int8 on a CPU without AMX). The spectra themselves are always fp64."""

    @field_validator("projections")
    @classmethod
    def _without_spaces(cls, text: str) -> str:
        """Remove spaces: `q, k` becomes `q,k`."""
        return ",".join(one_or_several(text))

    @property
    def projection_names(self) -> tuple[str, ...]:
        """The projections as a tuple."""
        return tuple(self.projections.split(",")) if self.projections else ()


class MeasuringSettings(Protocol):
    """The groups of settings that the analyzer reads; a recipe of `gradprism spectra` has these and more."""

    @property
    def read(self) -> ReadSettings:
        """The rows to read."""

    @property
    def text(self) -> TextSettings:
        """The template, and the tokens in the loss."""

    @property
    def prism(self) -> PrismSettings:
        """The projections and quantities to measure."""

    @property
    def execution(self) -> ExecutionSettings:
        """Devices, batches and threads."""


class AnalyzerSettings(Settings):
    """The settings of a `GradientAnalyzer`, without those of its model, which is passed loaded."""

    read: ReadSettings = ReadSettings()
    text: TextSettings = TextSettings()
    prism: PrismSettings = PrismSettings()
    execution: ExecutionSettings = ExecutionSettings()

    @classmethod
    def from_options(cls, **options: Any) -> Self:
        """Sort flat options, as a Python caller gives them, into their groups."""
        return checked(cls, grouped(cls, options))
