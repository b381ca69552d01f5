"""Settings of the prism: the projections and quantities to measure, and the precision."""

import re
from typing import Any, Literal, Protocol, Self

from pydantic import Field, field_validator, model_validator

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
    spectrum: bool | str = True
    """Store the singular values themselves: all that are computed, or top:K, the K largest and sums over the rest."""
    tokens: bool = False
    """Also store the loss and the gradient size of each token, with its text."""
    null_draws: int = Field(default=0, ge=0, le=64)
    """Draws of a null that has the same tokens; relative effective rank and relative nuclear norm are ratios to it, and
    hardly follow length. 0: neither is measured. Each draw costs another spectrum; 4 are enough."""
    null: Literal["permuted", "signs"] = "permuted"
    """What the null takes from a gradient, a sum over tokens: which token's output gradient belongs to which token's
    input (permuted), or the signs of the terms."""
    sketch: int = Field(default=0, ge=0, le=65536)
    """Dimension of a random projection of the whole gradient, which is stored: for diversity, duplicates and a map.
    0: none; 4096 is a good one."""
    sketch_seed: int = Field(default=0, ge=0)
    """Seed of the random projection: sketches of the same seed and dimension can be compared."""
    loss: Literal["sft", "dpo"] = "sft"
    """Loss whose gradient is measured: sft, the mean over response tokens; or dpo (Rafailov et al. 2023) of rows with a
    chosen and a rejected answer, a gradient of the tokens of both."""
    beta: float = Field(default=0.1, gt=0)
    """Temperature of dpo."""
    reference: Literal["model", "base", "columns"] = "model"
    """Reference of dpo: the model itself, as where a training begins, so that every pair weighs beta / 2; the model
    without its adapter (base); or summed log-likelihoods in the columns ref_chosen_logps and ref_rejected_logps."""
    weights: str | None = None
    """Column of the data with a factor of each row's loss, such as an advantage; below 0 the gradient turns round."""
    precision: Precision = "exact"
    """Precision of the model's matrix products, as far as the hardware supports it: exact (fp32), balanced (TF32 or
    bf16 products) or fast (bf16, or int8 on a CPU without AMX). Spectra of large gradients are estimated by the last
    two, each with its error; all others are computed in fp64."""

    @field_validator("spectrum")
    @classmethod
    def _known(cls, given: bool | str) -> bool | str:
        """Take `all` and `none` as true and false; refuse other words than top:K."""
        if given in ("all", "none", "true", "false"):
            return given in ("all", "true")
        if isinstance(given, str) and not re.fullmatch(r"top:[1-9][0-9]*", given):
            raise ValueError("expected all, none, or top:K with a number K, such as top:64")
        return given

    @field_validator("projections")
    @classmethod
    def _without_spaces(cls, text: str) -> str:
        """Remove spaces: `q, k` becomes `q,k`."""
        return ",".join(one_or_several(text))

    @model_validator(mode="after")
    def _of_one_loss(self) -> Self:
        """Refuse what has no meaning for the loss."""
        if self.loss == "dpo" and self.tokens:
            raise ValueError("--tokens is of one answer's tokens, and --loss dpo has two answers; leave one out")
        if self.loss != "dpo" and (self.reference != "model" or self.beta != 0.1):
            raise ValueError("--beta and --reference are of --loss dpo")
        return self

    @property
    def kept_values(self) -> int | None:
        """The most singular values of a gradient that are stored; None where all are."""
        if isinstance(self.spectrum, str):
            return int(self.spectrum.removeprefix("top:"))
        return None if self.spectrum else 0

    @property
    def has_tails(self) -> bool:
        """True if the tables have columns for sums over singular values that are not stored."""
        return bool(self.spectrum) and (isinstance(self.spectrum, str) or self.precision != "exact")

    @property
    def projection_names(self) -> tuple[str, ...]:
        """The projections as a tuple."""
        return tuple(self.projections.split(",")) if self.projections else ()


class TargetSettings(Settings):
    """The targets that every gradient is compared with."""

    target: tuple[str, ...] = ()
    """NAME=FILE: compare every gradient with the mean gradient of these rows, exactly: scores influence:NAME. Repeat it
    for several."""
    target_mean: Literal["plain", "unit"] = "plain"
    """How a target's gradients are averaged: as they are, or each divided by its norm, so that long and short rows
    count alike."""
    target_rank: int = Field(default=8, ge=0, le=256)
    """Leading singular vectors of a target's gradient, of each projection: how much of a row's gradient lies in them is
    its share. 0: no shares, which saves the time of finding them for a wide model."""

    @field_validator("target", mode="before")
    @classmethod
    def _one_or_several(cls, given: object) -> object:
        """Take `a=one.jsonl,b=two.jsonl` apart."""
        if isinstance(given, str):
            given = (given,)
        if isinstance(given, list | tuple):
            return tuple(part for text in given for part in re.split(r",(?=[A-Za-z0-9_-]+=)", str(text)) if part)
        return given

    @model_validator(mode="after")
    def _named(self) -> Self:
        """Refuse targets without a name, and names that are used twice."""
        for text in self.target:
            if not re.match(r"[A-Za-z0-9][A-Za-z0-9_-]*=.", text):
                raise ValueError(f"target {text!r}: expected NAME=FILE, the name of letters and digits, and _ - in it")
        if len(self.files) < len(self.target):
            raise ValueError("two targets have the same name; expected a different one for each")
        return self

    @property
    def files(self) -> dict[str, str]:
        """The file of each target by its name."""
        pairs = (text.partition("=") for text in self.target)
        return {name: file for name, _, file in pairs}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the targets."""
        return tuple(self.files)


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
