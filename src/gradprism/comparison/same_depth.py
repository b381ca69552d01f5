"""Matrices of the same rows through two models, made comparable cell by cell: by depth, and value by value."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from gradprism.comparison.comparison_tables import COSINES
from gradprism.comparison.group_matrix import Features, GroupMatrix, Key, read_groups
from gradprism.comparison.grouping import GroupRows
from gradprism.prism.measures import MEAN
from gradprism.runs.run import Run

Sides = tuple[GroupMatrix, GroupMatrix]


def read_sides(
    first: GroupRows, second: GroupRows, metrics: Sequence[str], measures: Sequence[str]
) -> tuple[Sides, list[str]]:
    """Read the rows of two runs into matrices of the same columns, with notes on what only one of them has.

    Layers are compared by number where the models have equally many, otherwise by normalised depth: the curves of the
    deeper model are interpolated linearly at the depths of the other's layers. Means over layers are of each model's
    own layers.
    """
    depths = [_layers_of_model(each.run) for each in (first, second)]
    if depths[0] == depths[1]:
        (one, other), notes = read_groups([first, second], metrics, measures)
        return (one, other), notes
    ((one,), notes), ((other,), more) = (read_groups([each], metrics, measures) for each in (first, second))
    shallow = one if depths[0] < depths[1] else other
    shared = {key[:2] for key in one.features.keys} & {key[:2] for key in other.features.keys}
    keys = tuple(key for key in shallow.features.keys if key[0] not in COSINES and key[:2] in shared)
    note = (
        f"The models have {depths[0]} and {depths[1]} layers: {first.name} and {second.name} are compared at the same "
        f"normalised depth, that of the layers of {shallow.name} (layer over last layer), between layers by linear "
        "interpolation. Means over layers are of each model's own; cosines between layers are left out."
    )
    sides = tuple(_at_depths(each, keys, depth, min(depths)) for each, depth in zip((one, other), depths, strict=True))
    return (sides[0], sides[1]), [note, *notes, *more]


def _layers_of_model(run: Run) -> int:
    return int(run.record["model"].get("layers") or 0)


def _at_depths(matrix: GroupMatrix, keys: tuple[Key, ...], layers: int, grid_layers: int) -> GroupMatrix:
    """Return the values at the depths of layers of a model of `grid_layers`; means over layers as they are."""
    own = {key: column for column, key in enumerate(matrix.features.keys)}
    columns = [
        matrix.values[:, own[key]] if key[2] is None else _interpolated(matrix, own, key, layers, grid_layers)
        for key in keys
    ]
    return replace(matrix, features=Features(keys), values=np.stack(columns, axis=1))


def _interpolated(
    matrix: GroupMatrix, own: dict[Key, int], key: Key, layers: int, grid_layers: int
) -> Float[np.ndarray, " n"]:
    """Interpolate a curve at one depth; NaN where a neighbour has no value or was not measured."""
    measure, projection, layer = key
    place = (layer or 0) * (layers - 1) / max(grid_layers - 1, 1)
    below = min(int(place + 1e-9), layers - 1)
    share = max(place - below, 0.0)
    missing = np.full(len(matrix.values), np.nan)

    def at(number: int) -> np.ndarray:
        column = own.get((measure, projection, number))
        return missing if column is None else matrix.values[:, column]

    return at(below) if share < 1e-9 else (1 - share) * at(below) + share * at(below + 1)


def with_common_values(first: GroupMatrix, second: GroupMatrix) -> tuple[GroupMatrix, GroupMatrix, int]:
    """Leave only values that both sides have, and count the rows that lose some.

    A mean over layers or projections of one side is of the same cells as that of the other: where the two differ in
    which cells have a value, the means of that row that would be of different ones are missing too.
    """
    one, other = first.values.copy(), second.values.copy()
    differ = np.isfinite(one) != np.isfinite(other)
    lost = differ.copy()
    for column, cells in _means_of(first.features):
        lost[:, column] |= differ[:, cells].any(axis=1)
    one[lost], other[lost] = np.nan, np.nan
    return replace(first, values=one), replace(second, values=other), int(lost.any(axis=1).sum())


def _means_of(features: Features) -> Iterator[tuple[int, list[int]]]:
    """Yield each column that is a mean over layers or projections, and the columns of the cells that it is of."""
    cells: dict[tuple[str, str | None, int | None], list[int]] = {}
    for column, (measure, projection, layer) in enumerate(features.keys):
        if layer is None or projection is None:
            continue
        cells.setdefault((measure, projection, None), []).append(column)
        if projection != MEAN:
            for wide in ((measure, MEAN, layer), (measure, MEAN, None)):
                cells.setdefault(wide, []).append(column)
    for column, key in enumerate(features.keys):
        if key in cells and cells[key] != [column]:
            yield column, cells[key]
