"""One example of a run written as one line of a published file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from gradprism.data.example import Example, turns_to_judge
from gradprism.interop.naming import OWN_KEYS, WeightKey, same_layer_name

Row = Mapping[str, Any]
_TEXTS = ("instruction", "input", "context", "output", "system", "chosen", "messages", "conversations")


@dataclass(frozen=True)
class CosineKinds:
    """The kinds of cosines that a run has, of any example: every line of a file has the same keys."""

    between_layers: bool
    same_layer: bool


def line_of(
    example: Example, row: Row, spectra: pl.DataFrame, similarity: pl.DataFrame, kinds: CosineKinds, named: bool = False
) -> dict[str, Any]:
    """Return one line. `row` is of the table of examples; `spectra` and `similarity` are those of this example alone.

    `named`: whether the line needs its id, since its number in the file will be another.
    """
    weights = {
        WeightKey(each["layer"], each["projection"]).weight: _statistics(each, row["n_tokens"])
        for each in spectra.iter_rows(named=True)
    }
    taken = {*_TEXTS, *OWN_KEYS, *weights}
    own = {name: value for name, value in _own_columns(example, row, named).items() if name not in taken}
    cosines = [*similarity.iter_rows(named=True)]
    line = {**paper_texts(example), **own, "loss": row["loss"], **weights}
    if kinds.between_layers:
        parts = spectra.group_by("projection", maintain_order=True)
        layers = {str(name): part["layer"].sort().to_list() for (name,), part in parts}
        line["cosine_sim"] = {f"{name}_proj": _layer_matrix(found, name, cosines) for name, found in layers.items()}
    if kinds.same_layer:
        line["cosine_sim_qkvo"] = _same_layer_cosines(spectra["layer"].unique().sort().to_list(), cosines)
    return line


def paper_texts(example: Example) -> dict[str, str]:
    """Return a conversation as the `paper` template has it: in lines what stands before the last answer in the loss."""
    *before, answer = turns_to_judge(example.answered)
    texts = {"output": answer.text}
    if [turn.role for turn in before] == ["system", "user"]:
        texts["system"] = before.pop(0).text
    return {"instruction": "\n".join(turn.text for turn in before), **texts}


def _own_columns(example: Example, row: Row, named: bool) -> dict[str, Any]:
    """Return the data's other scalar columns, and its `id` where it has one or is given one."""
    columns: dict[str, Any] = json.loads(row["columns"] or "{}")
    own_id = {"id": row["example_id"]} if named or row["example_id"] != str(example.row) else {}
    return own_id | {name: value for name, value in columns.items() if value is not None}


def _statistics(row: Row, n_tokens: int | None) -> dict[str, Any]:
    entries = {
        "M_mean": row["grad_mean"], "M_max": row["grad_max"], "M_min": row["grad_min"],
        "frobenius_norm": row["frobenius_norm"],
    }  # fmt: skip
    if row["singular_values"] is not None:
        return entries | {"S_list": row["singular_values"]}
    return entries | {"S_sum": row["nuclear_norm"], "S_max": row["spectral_norm"], "S_min": _smallest(row, n_tokens)}


def _smallest(row: Row, n_tokens: int | None) -> float | None:
    """Return 0 where there are fewer tokens than either side of the weight; otherwise a run does not know it."""
    if n_tokens is None or row["d_out"] is None:
        return None
    return 0.0 if n_tokens - 1 < min(row["d_out"], row["d_in"]) else None


def _layer_matrix(layers: Sequence[int], projection: str, cosines: Sequence[Row]) -> dict[str, Any]:
    """Return a symmetric matrix, 1 on the diagonal, null where the run has not measured it."""
    position = {layer: number for number, layer in enumerate(layers)}
    matrix: list[list[float | None]] = [[None] * len(layers) for _ in layers]
    for number in range(len(layers)):
        matrix[number][number] = 1.0
    for row in _between_layers(projection, cosines):
        i, j = position[row["layer"]], position[row["other_layer"]]
        matrix[i][j] = matrix[j][i] = row["cosine"]
    return {"layer_indices": list(layers), "matrix": matrix}


def _between_layers(projection: str, cosines: Sequence[Row]) -> Iterator[Row]:
    """Yield the cosines of neighbouring layers, then of all pairs of layers, which hold the neighbours too."""
    for kind in ("adjacent", "all_layers"):
        yield from (row for row in cosines if row["kind"] == kind and row["pair"] == projection)


def _same_layer_cosines(layers: Sequence[int], cosines: Sequence[Row]) -> dict[str, dict[str, float | None]]:
    found: dict[str, dict[str, float | None]] = {str(layer): {} for layer in layers}
    for row in sorted(cosines, key=lambda row: row["pair"], reverse=True):
        if row["kind"] == "same_layer":
            found[str(row["layer"])][same_layer_name(row["pair"])] = row["cosine"]
    return found
