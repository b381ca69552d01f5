"""Projections of a model as a description of its architecture names them."""

import re
from functools import reduce
from typing import Any

from torch import nn

from gradprism.core.errors import GradPrismError
from gradprism.models.projections.architecture import Architecture, FusedHalves, FusedMap, Map, Number
from gradprism.models.projections.decoder_layers import DecoderLayers, base_model, text_config
from gradprism.models.projections.fused import Heads, MisfitError
from gradprism.models.projections.linear import WeightRows, consecutive_rows, join_path, linear_in
from gradprism.models.projections.naming import LayerProjection, LayerProjections
from gradprism.models.projections.unrecognised import with_stars


def described_layers(model: nn.Module, architecture: Architecture) -> tuple[DecoderLayers, dict[int, LayerProjections]]:
    """Return the layers described, and the projections of each by its number.

    Raises `GradPrismError` where the model has no such layer, or none that has a module described;
    `MisfitError` where rows are not those of the weight.
    """
    decoder = _layers_at(model, architecture.layers)
    config = text_config(model)
    projections = {number: _projections_in(layer, architecture, config) for number, layer in decoder.layers.items()}
    for name, described in architecture:
        if isinstance(described, Map) and not any(
            _linear_below(layer, described.module) for layer in decoder.layers.values()
        ):
            raise GradPrismError(_no_such_module(architecture.layers, name, described.module, decoder))
    return decoder, projections


def _layers_at(model: nn.Module, pattern: str) -> DecoderLayers:
    """Return the modules whose path fits; numbered as the path says, or one after the other where it has several *.

    Paths are those without an adapter's wrapper, and also those with it.
    """
    fitting = re.compile(r"(\d+)".join(map(re.escape, pattern.split("*"))))
    outer, base = base_model(model)
    found = {
        tuple(map(int, match.groups())): (path, module)
        for path, module in model.named_modules()
        if (match := fitting.fullmatch(path.removeprefix(f"{outer}.")) or fitting.fullmatch(path))
    }
    if not found:
        lists = {with_stars(path) for path, _ in base.named_modules()}
        known = sorted(path for path in lists if path.endswith("*"))
        raise GradPrismError(
            f"layers: {pattern}: {type(base).__name__} has no such modules; expected one of {', '.join(known)}."
        )
    ordered = sorted(found)
    numbers = [key[0] for key in ordered] if pattern.count("*") == 1 else range(len(ordered))
    layers = {number: found[key] for number, key in zip(numbers, ordered, strict=True)}
    return DecoderLayers(
        pattern,
        {number: module for number, (_, module) in layers.items()},
        {number: path for number, (path, _) in layers.items()},
    )


def _linear_below(layer: nn.Module, path: str) -> tuple[str, nn.Module] | None:
    """Return path and module of the linear map at a path below a layer; None where there is none."""
    try:
        found = linear_in(layer.get_submodule(path))
    except AttributeError:
        return None
    return (join_path(path, found[0]), found[1]) if found else None


def _no_such_module(layers: str, name: str, module: str, decoder: DecoderLayers) -> str:
    below = {path for layer in decoder.layers.values() for path, inner in layer.named_modules() if linear_in(inner)}
    first = next(iter(decoder.layers.values()))
    there = ", ".join(sorted(path for path in below if _linear_below(first, path)) or below)
    return f"{name}: {layers}.{module} is no linear map of this model; those below {layers} are {there or '(none)'}."


def _projections_in(layer: nn.Module, architecture: Architecture, config: Any) -> LayerProjections:
    found: LayerProjections = {}
    down = _linear_below(layer, architecture.down.module) if architecture.down else None
    d_hidden = LayerProjection(*down).shape[1] if down else None
    for name, described in architecture:
        if isinstance(described, Map) and (at := _linear_below(layer, described.module)):
            rows = _rows_by_name(name, described, LayerProjection(*at), config, d_hidden)
            found |= {part: LayerProjection(*at, these) for part, these in rows.items()}
    return found


def _rows_by_name(
    name: str, described: Map, whole: LayerProjection, config: Any, d_hidden: int | None
) -> dict[str, WeightRows | None]:
    """Return the projections in one module and their rows (None: all); `d_hidden` is d_in of down."""
    d_out = whole.shape[0]
    if isinstance(described, FusedMap):
        return {**_qkv_rows(name, described, whole.path, d_out, config)}
    if isinstance(described, FusedHalves):
        return {**_gate_up_rows(name, whole.path, d_out, d_hidden)}
    if described.rows is None:
        return {name: None}
    blocks = _resolve_number(described.blocks, config)
    if d_out % blocks or described.rows[1] > d_out // blocks:
        within = f" within each of {blocks} blocks" if blocks > 1 else ""
        raise MisfitError(f"{name}: rows {list(described.rows)}{within}; {whole.path} has {d_out} rows")
    return {name: WeightRows(*described.rows, blocks)}


def _qkv_rows(name: str, described: FusedMap, path: str, d_out: int, config: Any) -> dict[str, WeightRows]:
    n_query = _resolve_number(described.heads, config)
    n_kv = n_query if described.kv_heads is None else _resolve_number(described.kv_heads, config)
    dim = d_out // (n_query + 2 * n_kv) if described.head_dim is None else _resolve_number(described.head_dim, config)
    heads = Heads(n_query, n_kv, dim)
    if heads.rows != d_out:
        raise MisfitError(
            f"{name}: {heads.n_query} heads of q and {heads.n_kv} of k and v with {heads.dim} rows each make "
            f"{heads.rows}, and {path} has {d_out}"
        )
    return heads.rows_by(described.order)


def _gate_up_rows(name: str, path: str, d_out: int, d_hidden: int | None) -> dict[str, WeightRows]:
    if d_hidden is None and d_out % 2:
        raise MisfitError(f"{name}: {path} has {d_out} rows: expected an even number")
    if d_hidden is not None and d_out != 2 * d_hidden:
        raise MisfitError(f"{name}: {path} has {d_out} rows, and down reads {d_hidden}: expected twice as many rows")
    return consecutive_rows(dict.fromkeys(("gate", "up"), d_out // 2))


def _resolve_number(number: Number, config: Any) -> int:
    """Return a number itself, or the one that the configuration has under this name (dots for groups)."""
    if isinstance(number, int):
        return number
    found = reduce(lambda owner, name: getattr(owner, name, None), number.split("."), config)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise GradPrismError(
            f"{number}: expected the name of a number from 1 in the model's configuration; it has {found!r}."
        )
    return found
