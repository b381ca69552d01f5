"""Make the stored numbers of gradients from their spectra: measures, their errors, and the singular values kept."""

import math
from collections.abc import Iterator, Mapping, Sequence

from gradprism.prism.example_gradients import ProjectionGradient
from gradprism.prism.gradient import Gradient
from gradprism.prism.measures import ERROR_COLUMNS, TAIL_COLUMNS, measure_spectra
from gradprism.prism.null_draws import summarise_draws
from gradprism.prism.settings import PrismSettings
from gradprism.prism.tail import Spectra

_NO_ERRORS, _NO_TAIL = (dict.fromkeys(names, math.nan) for names in (ERROR_COLUMNS, TAIL_COLUMNS))


def measured_gradients(
    gradients: Sequence[Gradient], spectra: Spectra, settings: PrismSettings
) -> Iterator[ProjectionGradient]:
    """Yield what is stored of each gradient, given the spectra (gradients, 1 + draws) of it and its draws."""
    own = spectra.map(lambda each: each[:, 0])
    of_null: Sequence[Mapping[str, float]] = [{}] * len(gradients)
    if settings.null_draws:
        of_null = summarise_draws(spectra.map(lambda each: each[:, 1:]))
    of_own = measure_spectra(own, some_estimated=settings.precision != "exact")
    found = zip(gradients, of_own, of_null, _errors(own, settings), _kept(own, settings), strict=True)
    for gradient, measures, null, errors, (values, tail) in found:
        yield ProjectionGradient(
            gradient.projection,
            {**measures, **null, **errors},
            gradient.mean,
            gradient.factors.extremes if settings.entry_stats else None,
            None if values is None else values[: gradient.factors.n_values],
            tail,
        )


def _errors(spectra: Spectra, settings: PrismSettings) -> list[dict[str, float]]:
    if settings.precision == "exact":
        return [{}] * len(spectra.values)
    if spectra.errors is None:
        return [_NO_ERRORS] * len(spectra.values)
    return [dict(zip(ERROR_COLUMNS, row, strict=True)) for row in spectra.errors.tolist()]


def _kept(spectra: Spectra, settings: PrismSettings) -> Iterator[tuple[list[float] | None, Mapping[str, float]]]:
    """Yield the singular values that are stored, and the sums over the others; both none where none are stored."""
    n = len(spectra.values)
    if settings.kept_values == 0:
        return iter([(None, dict[str, float]())] * n)
    cut = spectra if settings.kept_values is None else spectra.cut(settings.kept_values)
    if not settings.has_tails:
        tails: Sequence[Mapping[str, float]] = [{}] * n
    elif cut.tail is None:
        tails = [_NO_TAIL] * n
    else:
        tails = [each if each["tail_count"] else _NO_TAIL for each in cut.tail.columns()]
    return zip(cut.values.tolist(), tails, strict=True)
