"""The measures of a gradient, one entry each: name, title, unit, scale, and the formula of its value.

A measure is computed from singular values while gradients are measured, and stored as a column of the table `spectra`
(`function`); or computed from columns that a run stores already (`expression`). Other packages register their own under
the entry point `gradprism.measures`; see `docs/extending.md`. No torch is loaded here.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.core.plugins import load_plugins

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from gradprism.prism.tail import Spectra, Tail

LAYER = "all"
"""The name, in place of a projection, of all measured projections of a layer together."""
MEAN = "mean"
"""The name, in place of a projection, of the mean over all measured projections."""
MAIN_MEASURES = ("nuclear_norm", "effective_rank")
"""The measures that summaries and figures show before all others."""


@dataclass(frozen=True)
class Measure:
    """A measure: a number that describes each gradient."""

    name: str
    title: str
    """Its name in sentences, figures and tables."""
    unit: str = ""
    scale: Literal["log", "linear"] = "log"
    """How groups are compared: by ratios (`log`) or differences (`linear`)."""
    function: "Callable[..., Float[Tensor, ' batch']] | str | None" = None
    """Singular values (batch, n), each row padded with zeros -> fp64 values, NaN where undefined; or
    `module:function`."""
    takes_tail: bool = False
    """True if the function is also given the sums over what follows leading values, `gradprism.prism.tail.Tail`, or
    None where there is nothing; without it the measure is null throughout runs of precision `balanced` and `fast`."""
    expression: Callable[[], pl.Expr] | None = None
    """Computes the value from the built-in columns of `spectra` and `loss`, null where undefined."""
    needs: tuple[str, ...] = ()
    """Columns that the expression reads and that not every run stores."""
    of_layer: bool = False
    """True if the expression aggregates the projections of a layer: one value a layer, under the projection `all`."""
    compared: bool = True
    """True if it is compared and correlated by default."""

    def compute(
        self, singular_values: "Float[Tensor, 'batch n']", tail: "Tail | None" = None
    ) -> "Float[Tensor, ' batch']":
        """Compute the value of each spectrum of a stack, NaN where it is not finite.

        Raises `GradPrismError` where the function gives anything else than one number for each spectrum.
        """
        function = self.function
        if isinstance(function, str):
            module, _, name = function.partition(":")
            function = getattr(import_module(module), name)
        assert callable(function)
        n = len(singular_values)
        values: Tensor = function(singular_values, tail) if self.takes_tail else function(singular_values)
        if getattr(values, "shape", None) != (n,):
            raise GradPrismError(
                f"The measure {self.name} gave {_described(values)} for {n} spectra. Expected a tensor of "
                f"shape ({n},): one number for each."
            )
        values = values.double()
        return values.where(values.isfinite(), float("nan"))


def _described(values: object) -> str:
    shape = getattr(values, "shape", None)
    return type(values).__name__ if shape is None else f"{type(values).__name__} of shape {tuple(shape)}"


def _quotient(above: str, below: str) -> pl.Expr:
    return pl.when(pl.col(below) > 0).then(pl.col(above) / pl.col(below))


def _of_formula(name: str, title: str, unit: str = "") -> Measure:
    return Measure(name, title, unit, function=f"gradprism.prism.norms_and_ranks:{name}", takes_tail=True)


_OWN = (
    _of_formula("nuclear_norm", "nuclear norm", "nats per unit weight"),
    _of_formula("effective_rank", "effective rank"),
    _of_formula("frobenius_norm", "Frobenius norm", "nats per unit weight"),
    _of_formula("spectral_norm", "spectral norm", "nats per unit weight"),
    _of_formula("stable_rank", "stable rank"),
    Measure(  # the largest singular value's part of their sum: 1 for a gradient of rank 1
        "leading_share", "leading share", scale="linear", compared=False,
        expression=lambda: _quotient("spectral_norm", "nuclear_norm"),
    ),
    Measure(  # the size of the gradient per nat of loss
        "nuclear_norm_over_loss", "nuclear norm over loss", "per unit weight", compared=False,
        expression=lambda: _quotient("nuclear_norm", "loss"),
    ),
    Measure(  # of gradients with the same tokens and no agreement among them: see `gradprism.prism.null_draws`
        "relative_effective_rank", "relative effective rank", needs=("null_effective_rank",),
        expression=lambda: _quotient("effective_rank", "null_effective_rank"),
    ),
    Measure(
        "relative_nuclear_norm", "relative nuclear norm", needs=("null_nuclear_norm",),
        expression=lambda: _quotient("nuclear_norm", "null_nuclear_norm"),
    ),
    Measure(  # GraNd (Paul et al. 2021, arXiv 2107.07075) of one layer's measured projections
        "gradient_l2", "gradient L2 norm", "nats per unit weight", of_layer=True, compared=False,
        expression=lambda: pl.col("frobenius_norm").pow(2).sum().sqrt(),
    ),
)  # fmt: skip
MEASURES = tuple(measure.name for measure in _OWN if measure.function is not None)
"""The built-in stored measures; effective and stable rank are null where the gradient is zero."""
NULL_COLUMNS = ("null_effective_rank", "null_effective_rank_error", "null_nuclear_norm", "null_nuclear_norm_error")
"""Columns of `spectra` where a null was drawn: means over the draws, and their standard errors (null for one draw)."""
TAIL_COLUMNS = ("tail_count", "tail_sum", "tail_square_sum", "tail_log_sum")
"""Columns of `spectra` where not all singular values are stored: how many more there are, and Σ σ, Σ σ² and Σ σ ln σ
over those; null where all are stored."""
ERROR_COLUMNS = ("nuclear_norm_error", "effective_rank_error")
"""Columns of `spectra` of precision `balanced` and `fast`: standard errors; null where a spectrum is not estimated."""
_OF_FIRST_RUNS = ("nuclear_norm", "effective_rank", "frobenius_norm", "spectral_norm", "stable_rank")  # never changes


@cache
def known_measures() -> Mapping[str, Measure]:
    """Return every measure by its name, the built-in ones first. Raises `GradPrismError` for an unusable plugin."""
    found = {measure.name: measure for measure in _OWN}
    for name, measure in load_plugins("gradprism.measures"):
        if not isinstance(measure, Measure) or (measure.function is None) == (measure.expression is None):
            raise GradPrismError(
                f"The entry point gradprism.measures {name} is {measure!r}. Expected a Measure "
                "(gradprism.prism.measures) with either a function of singular values or an expression."
            )
        if measure.name in found or not measure.name.isidentifier():
            raise GradPrismError(
                f"The entry point gradprism.measures {name} brings a measure named {measure.name!r}. Expected an "
                "identifier that is not in use; uninstall the package, or rename the measure."
            )
        found[measure.name] = measure
    return found


def stored_measures() -> dict[str, Measure]:
    """Return the measures that are computed from singular values, by name, in the order of their columns."""
    return {name: measure for name, measure in known_measures().items() if measure.function is not None}


def measures_identity(stored: Collection[str]) -> list[str] | None:
    """Return what the identity of a run says of the measures it stores; None where they are those of the first runs.

    Else it is the names of those that the first runs had not, and of those of the first runs that are gone.
    """
    names = dict.fromkeys((*stored, *_OF_FIRST_RUNS))
    return [name for name in names if (name in stored) != (name in _OF_FIRST_RUNS)] or None


def measure_spectra(spectra: "Spectra", some_estimated: bool = False) -> list[dict[str, float]]:
    """Compute every stored measure of each spectrum of a stack, by name.

    In a run with `some_estimated` spectra, measures that take no tail are NaN of all: a mean would be of the others.
    """
    import torch

    nothing = torch.full((len(spectra.values),), float("nan"), dtype=torch.float64)
    columns = {
        name: nothing if some_estimated and not measure.takes_tail else measure.compute(spectra.values, spectra.tail)
        for name, measure in stored_measures().items()
    }
    values = torch.stack([*columns.values()], 1).tolist()
    return [dict(zip(columns, row, strict=True)) for row in values]


def available_measures(columns: Iterable[str]) -> dict[str, Measure]:
    """Return the measures that a table `spectra` with these columns stores or allows to compute, by name."""
    there = {*columns, "loss"}
    return {
        name: each
        for name, each in known_measures().items()
        if (there.issuperset(each.needs) if each.expression is not None else name in there)
    }


def with_measures(spectra: pl.LazyFrame, names: Iterable[str]) -> pl.LazyFrame:
    """Add columns for those of the named measures that are expressions with one value per projection.

    `spectra` must have the column `loss` where one of them needs it.
    """
    known: dict[str, Any] = {name: known_measures()[name].expression for name in names}
    return spectra.with_columns(**{name: expression() for name, expression in known.items() if expression})
