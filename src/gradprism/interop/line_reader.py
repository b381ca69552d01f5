"""One line of a published file read as gradients and cosines, every value checked."""

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradprism.data.example import RowProblemError
from gradprism.interop.naming import (
    ENTRIES,
    EXAMPLE_OF_A_WEIGHT,
    SPECTRUM,
    SUMMARY,
    WeightKey,
    same_layer_pair,
    weight_key,
)

Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Layout:
    """The statistics that a file holds, the same in all of its lines."""

    keys: tuple[WeightKey, ...]  # by layer, the projections in the order of the file
    has_spectra: bool  # S_list; otherwise the sum, largest and smallest of the singular values
    has_layer_cosines: bool
    has_same_layer_cosines: bool

    @property
    def projections(self) -> tuple[str, ...]:
        """Each projection once, in the order of the file."""
        return tuple(dict.fromkeys(key.projection for key in self.keys))

    @property
    def layers(self) -> tuple[int, ...]:
        """Each layer once, ascending."""
        return tuple(dict.fromkeys(key.layer for key in self.keys))

    @property
    def statistics(self) -> tuple[str, ...]:
        """Names of the statistics under each weight."""
        return (*ENTRIES, "frobenius_norm", *(SPECTRUM if self.has_spectra else SUMMARY))


@dataclass(frozen=True)
class Gradient:
    """The statistics of one gradient. Of `values` and (`nuclear_norm`, `spectral_norm`) the file holds one."""

    key: WeightKey
    mean: float | None
    largest: float | None
    smallest: float | None
    frobenius_norm: float
    values: np.ndarray | None = None  # singular values, float32, descending, as many as the file holds
    nuclear_norm: float | None = None
    spectral_norm: float | None = None


@dataclass(frozen=True)
class Cosine:
    """A row of the similarity table, without the example."""

    kind: str
    layer: int
    other_layer: int
    pair: str
    value: float | None


@dataclass(frozen=True)
class Line:
    """The statistics of one example."""

    loss: float
    gradients: tuple[Gradient, ...]
    cosines: tuple[Cosine, ...]


def layout_of(fields: Fields) -> Layout:
    """Return which statistics a line holds. Raises `RowProblemError` where there is no weight among its keys."""
    found = [key for name in fields if (key := weight_key(name))]
    if not found:
        raise RowProblemError(f"no weight among its keys, expected such as {EXAMPLE_OF_A_WEIGHT}")
    order = {name: number for number, name in enumerate(dict.fromkeys(key.projection for key in found))}
    keys = sorted(found, key=lambda key: (key.layer, order[key.projection]))
    first = fields[keys[0].weight]
    has_spectra = not (isinstance(first, dict) and "S_list" not in first and "S_sum" in first)
    return Layout(tuple(keys), has_spectra, "cosine_sim" in fields, "cosine_sim_qkvo" in fields)


def read_line(fields: Fields, layout: Layout) -> Line:
    """Read the statistics that the layout names. Raises `RowProblemError` that names what is missing or wrong."""
    _refuse_other_weights(layout_of(fields), layout)
    if "loss" not in fields:
        raise RowProblemError("no 'loss', expected the mean loss of the response")
    loss = _finite_number(fields["loss"], "loss")
    gradients = tuple(_gradient(key, fields[key.weight], layout) for key in layout.keys)
    return Line(loss, gradients, tuple(_cosines(fields, layout)))


def _refuse_other_weights(here: Layout, first: Layout) -> None:
    if {*here.keys} != {*first.keys}:
        missing, more = [
            sorted({*one.keys} - {*other.keys}) for one, other in ((first, here), (here, first))
        ]  # fmt: skip
        words = [f"{len(found)} {what} ({found[0]})" for what, found in (("missing", missing), ("more", more)) if found]
        raise RowProblemError(f"other weights than most of the first lines have: {', '.join(words)}")
    for name, wanted, there in (
        ("cosine_sim", first.has_layer_cosines, here.has_layer_cosines),
        ("cosine_sim_qkvo", first.has_same_layer_cosines, here.has_same_layer_cosines),
    ):
        if wanted != there:
            which = "no" if wanted else "a"
            raise RowProblemError(f"{which} {name!r}, unlike most of the first lines")


def _gradient(key: WeightKey, given: object, layout: Layout) -> Gradient:
    expected = layout.statistics
    if not isinstance(given, dict):
        raise RowProblemError(f"{key} ({key.weight}) is a {type(given).__name__}, expected {', '.join(expected)}")
    if missing := [name for name in expected if name not in given]:
        raise RowProblemError(f"{key} ({key.weight}) has no {missing[0]}, expected {', '.join(expected)}")
    mean, most, least = (_number_or_none(given[name], f"{name} of {key}") for name in ENTRIES)
    frobenius_norm = _norm(given["frobenius_norm"], f"frobenius_norm of {key}")
    if layout.has_spectra:
        values = _singular_values(given["S_list"], f"S_list of {key}")
        return Gradient(key, mean, most, least, frobenius_norm, values=values)
    total, largest = (_norm(given[name], f"{name} of {key}") for name in SUMMARY[:2])
    return Gradient(key, mean, most, least, frobenius_norm, nuclear_norm=total, spectral_norm=largest)


def _singular_values(given: object, what: str) -> np.ndarray:
    """Return singular values in the order and type in which a run holds them."""
    with np.errstate(over="ignore"):
        values = np.sort(_floats(given, what).astype(np.float32))[::-1]
    if not np.isfinite(values).all() or (values < 0).any():
        raise RowProblemError(f"{what} holds a value that is negative or no finite float32")
    return values


def _floats(given: object, what: str) -> np.ndarray:
    if not isinstance(given, list) or not {*map(type, given)} <= {int, float}:
        raise RowProblemError(f"{what} is not a list of numbers")
    try:
        return np.array(given, dtype=np.float64)
    except OverflowError:
        raise RowProblemError(f"{what} holds a number that is too large") from None


def _finite_number(value: object, what: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        return float(value)  # NaN fails the comparison
    raise RowProblemError(f"{what} is {_shortened(value)}, expected a finite number")


def _number_or_none(value: object, what: str) -> float | None:
    """Return a number; None for null, which a run without `--entry-stats` writes."""
    return None if value is None else _finite_number(value, what)


def _norm(value: object, what: str) -> float:
    number = _finite_number(value, what)
    if number < 0:
        raise RowProblemError(f"{what} is {number:g}, expected no negative number")
    return number


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _cosines(fields: Fields, layout: Layout) -> Iterator[Cosine]:
    """Yield cosines in the order in which a run holds them: by kind, layer and other layer."""
    if layout.has_layer_cosines:
        found = [*_layer_cosines(fields["cosine_sim"], layout)]
        adjacent = [cosine for cosine in found if cosine.other_layer == cosine.layer + 1]
        if any(cosine.value is not None for cosine in found if cosine.other_layer != cosine.layer + 1):
            yield from sorted(found, key=_layer_pair)
        yield from (
            Cosine("adjacent", each.layer, each.other_layer, each.pair, each.value)
            for each in sorted(adjacent, key=_layer_pair)
        )
    if layout.has_same_layer_cosines:
        yield from sorted(_same_layer_cosines(fields["cosine_sim_qkvo"], layout), key=_layer_pair)


def _layer_pair(cosine: Cosine) -> tuple[int, int]:
    return cosine.layer, cosine.other_layer


def _layer_cosines(given: object, layout: Layout) -> Iterator[Cosine]:
    """Yield the cosine of every two layers, the lower one first, from above the diagonal of each matrix."""
    if not isinstance(given, dict):
        raise RowProblemError("'cosine_sim' is no object of matrices")
    for projection in layout.projections:
        what = f"cosine_sim of {projection}_proj"
        entry = given.get(f"{projection}_proj")
        if not isinstance(entry, dict) or not {"layer_indices", "matrix"} <= {*entry}:
            raise RowProblemError(f"no {what} with layer_indices and matrix")
        layers = [key.layer for key in layout.keys if key.projection == projection]
        if entry["layer_indices"] != layers:
            raise RowProblemError(f"layer_indices of {what} are not the layers that have its weights")
        matrix = _matrix(entry["matrix"], len(layers), what)
        for i, lower in enumerate(layers):
            for upper, value in zip(layers[i + 1 :], matrix[i, i + 1 :].tolist(), strict=True):
                yield Cosine("all_layers", lower, upper, projection, None if math.isnan(value) else value)


def _matrix(given: object, size: int, what: str) -> np.ndarray:
    """Return a square matrix, NaN where it has null: not measured, or of a zero gradient."""
    rows = given if isinstance(given, list) else []
    if len(rows) != size or not all(isinstance(row, list) and len(row) == size for row in rows):
        raise RowProblemError(f"the matrix of {what} is not {size} x {size}, as its layer_indices say")
    flat = [math.nan if value is None else value for row in rows for value in row]
    matrix = _floats(flat, f"the matrix of {what}").reshape(size, size)
    if np.isinf(matrix).any():
        raise RowProblemError(f"the matrix of {what} holds infinity")
    return matrix


def _same_layer_cosines(given: object, layout: Layout) -> Iterator[Cosine]:
    if not isinstance(given, dict):
        raise RowProblemError("'cosine_sim_qkvo' is no object of layers")
    for layer in layout.layers:
        if str(layer) not in given:
            raise RowProblemError(f"cosine_sim_qkvo has no layer {layer}, whose weights the line has")
        if not isinstance(entry := given[str(layer)], dict):
            raise RowProblemError(f"cosine_sim_qkvo of layer {layer} is a {type(entry).__name__}, expected an object")
        pairs = {pair: value for name, value in entry.items() if (pair := same_layer_pair(name))}
        for pair in sorted(pairs):
            value = pairs[pair]
            if isinstance(value, float) and math.isnan(value):  # of a zero gradient
                value = None
            what = f"cosine_sim_qkvo of layer {layer}, {pair}"
            yield Cosine("same_layer", layer, layer, pair, _number_or_none(value, what))
