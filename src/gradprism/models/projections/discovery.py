"""Find the q, k, v, o (attention) and gate, up, down (MLP) projections among the linear maps of a model."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from gradprism.core.errors import GradPrismError
from gradprism.models.projections.architecture import Architecture
from gradprism.models.projections.decoder_layers import DecoderLayers, find_decoder_layers, text_config
from gradprism.models.projections.described import described_layers
from gradprism.models.projections.fused import MisfitError
from gradprism.models.projections.linear import WeightRows, shape_of
from gradprism.models.projections.naming import (
    ATTENTION,
    MLP,
    STANDS_FOR,
    LayerProjections,
    attentions,
    is_routed,
    mlps,
)
from gradprism.models.projections.unrecognised import unrecognised_model

NAMES = (*ATTENTION[:4], *MLP, *ATTENTION[4:])
_WITH_SOFTMAX = ("full_attention", "sliding_attention", "chunked_attention", "indexed_attention")
_WITHOUT_SOFTMAX = ("linear_attention", "conv")


@dataclass(frozen=True, eq=False)
class Projection:
    """One linear map y = W x of a decoder layer; W has the shape (d_out, d_in).

    Several projections may be rows of one module's weight (fused): then y is a part of the module's output.
    """

    name: str  # q, k, v, o, q_a, q_b, kv_a, kv_b, gate, up, down
    layer: int
    path: str
    module: nn.Module
    d_out: int
    d_in: int
    rows: WeightRows | None = None  # of the module's weight; None: all

    def __repr__(self) -> str:
        """Name the projection and its shape, without the module."""
        return f"Projection({self.path}: {self.name} of layer {self.layer}, {self.d_out} x {self.d_in})"

    def select(self, outputs: Tensor) -> Tensor:
        """Take the projection's outputs (..., d_out) out of those of its module (..., all)."""
        return outputs if self.rows is None else self.rows.select(outputs)


@dataclass(frozen=True)
class FoundProjections:
    """The projections of a model, in the order of layers and names, and what was left out."""

    projections: tuple[Projection, ...]
    names: tuple[str, ...]  # of those asked for, as this model has them
    layers: tuple[int, ...]  # with any of them
    skipped_layers: tuple[int, ...]  # decoder layers with none
    notes: tuple[str, ...]  # on what else was left out, a sentence each

    @property
    def in_words(self) -> str:
        """Names of the projections, and the number of layers that have any."""
        return f"{', '.join(self.names)} in {len(self.layers)} layers"

    def __repr__(self) -> str:
        """Name the projections, without their modules."""
        return f"FoundProjections({self.in_words})"


def find_projections(
    model: nn.Module, names: Sequence[str], architecture: Architecture | None = None
) -> FoundProjections:
    """Find the projections called `names` by structure and naming, or as an `architecture` describes them.

    A model with latent attention answers q, k and v with its own q_a, q_b, kv_a and kv_b. Raises `GradPrismError`
    where one of `names` is found nowhere, or where it is not clear what it is.
    """
    _check_names(names)
    try:
        if architecture:
            return _collect(names, *described_layers(model, architecture))
        return _find_by_naming(model, names)
    except (MisfitError, _MissingError) as problem:
        if architecture:
            raise GradPrismError(f"The architecture does not fit {type(model).__name__}: {problem}") from None
        raise GradPrismError(unrecognised_model(model, names, str(problem))) from None


class _MissingError(Exception):
    """A projection asked for is nowhere in the model; the message says which, and what there is."""

    def __init__(self, missing: Sequence[str], present: Collection[str] = (), notes: Sequence[str] = ()):
        has = ", ".join(name for name in NAMES if name in present)
        words = f"it has no projections named {', '.join(missing)}{f'; it has {has}' if has else ''}."
        super().__init__(" ".join([words, *notes]))


def _check_names(names: Sequence[str]) -> None:
    if unknown := [name for name in names if name not in NAMES]:
        raise GradPrismError(f"Unknown projection {unknown[0]!r}; known: {', '.join(NAMES)}.")
    if not names or len(set(names)) != len(names):
        raise GradPrismError(f"--projections {','.join(names)!r}: expected distinct names of {', '.join(NAMES)}.")


def _names_here(names: Sequence[str]) -> list[str]:
    """Return the names that answer `names` in one model or another: of q also q_a and q_b, ..."""
    return list(dict.fromkeys(own for name in names for own in STANDS_FOR.get(name, (name,))))


def _find_by_naming(model: nn.Module, names: Sequence[str]) -> FoundProjections:
    config = text_config(model)

    def has_attention(layer: nn.Module) -> bool:
        try:
            return any(True for _ in attentions(layer, config))
        except MisfitError:  # of another tower, perhaps: this configuration is not its own
            return True

    found = find_decoder_layers(model, has_attention)
    if found is None:
        raise _MissingError(names)
    decoder, others = found
    kinds = _layer_kinds(config, decoder)
    by_layer = {n: _projections_in(decoder, n, kinds.get(n, "?"), config, names) for n in decoder.layers}
    notes = [
        *([f"Only the language model ({decoder.path}) is measured, not {', '.join(others)}."] if others else []),
        *_notes_on_fused_maps(decoder, by_layer, names),
        *_notes_on_experts(decoder, names),
    ]
    return _collect(names, decoder, by_layer, notes)


def _notes_on_fused_maps(
    decoder: DecoderLayers, by_layer: Mapping[int, LayerProjections], names: Sequence[str]
) -> list[str]:
    """Note the fused maps in code that comes with a checkpoint: their order is not verified against that code."""
    fused: dict[str, dict[str, None]] = defaultdict(dict)  # path below a layer -> projections in it, in order
    for number, found in sorted(by_layer.items()):
        if not type(decoder.layers[number]).__module__.startswith("transformers."):
            for name in NAMES:
                if name in found and found[name].rows:
                    fused[found[name].path][name] = None
    return [
        f"{_with_verb([*inside])} taken for rows of {path} in the order that its name stands for in transformers; if "
        "this model's own code has another, describe it (--architecture FILE.yaml)."
        for path, inside in fused.items()
        if {*_names_here(names)} & inside.keys()
    ]


def _with_verb(names: Sequence[str]) -> str:
    """Join names and their verb: `q is`, `q, k and v are`."""
    return f"{names[0]} is" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} are"


def _layer_kinds(config: object, decoder: DecoderLayers) -> dict[int, str]:
    """Return the kind of each layer by the configuration (`full_attention`, `conv`, ...); empty where it says none."""
    kinds = getattr(config, "layer_types", None)
    if not isinstance(kinds, list | tuple) or len(kinds) != len(decoder.layers):
        return {}
    return dict(zip(decoder.layers, kinds, strict=True))


def _projections_in(
    decoder: DecoderLayers, number: int, kind: str, config: object, names: Sequence[str]
) -> LayerProjections:
    """Find the attention and the MLP of a layer. Raises `MisfitError` where its kind has an attention and none is seen.

    Layers of a kind without a softmax have no attention, whatever their maps are called.
    """
    layer, found = decoder.layers[number], LayerProjections()
    if kind not in _WITHOUT_SOFTMAX:
        found = _the_only(decoder, number, list(attentions(layer, config)), names)
    if not found and kind in _WITH_SOFTMAX:
        raise MisfitError(f"its configuration calls layer {number} {kind}, and no attention is found there.")
    if {*names} & {*MLP}:
        found = found | _the_only(decoder, number, list(mlps(layer)), names)
    return found


def _the_only(
    decoder: DecoderLayers, layer: int, found: Sequence[tuple[str, LayerProjections]], names: Sequence[str]
) -> LayerProjections:
    """Return the only attention or MLP of a layer. Raises `GradPrismError` where several have projections asked for."""
    wanted = {*_names_here(names)}
    having = [(path, projections) for path, projections in found if wanted & projections.keys()]
    if len(having) > 1:
        name = next(name for name in having[0][1] if name in wanted)
        paths = ", ".join(decoder.path_of(layer, path) for path, _ in having)
        raise GradPrismError(
            f"There are several projections {name} in layer {layer}: in {paths}. Expected one.\n"
            "Say which in a description of the architecture (--architecture FILE.yaml); docs/families.md has examples."
        )
    return next((projections for _, projections in (*having, *found)), {})


def _notes_on_experts(decoder: DecoderLayers, names: Sequence[str]) -> list[str]:
    """Note the layers with routed experts, where projections of MLPs are asked for."""
    having = [
        number
        for number, layer in decoder.layers.items()
        if any(is_routed(path, module) for path, module in layer.named_modules())
    ]
    if not having or not {*names} & {*MLP}:
        return []
    return [f"The routed experts in {layers_in_words(having)} are not measured: each sees only some tokens."]


def _collect(
    names: Sequence[str], decoder: DecoderLayers, by_layer: Mapping[int, LayerProjections], notes: Sequence[str] = ()
) -> FoundProjections:
    """Put the projections of all layers in order. Raises `_MissingError` where a name is nowhere."""
    there = {name for found in by_layer.values() for name in found}
    missing = [name for name in names if there.isdisjoint(_names_here([name]))]
    if missing == ["gate"] and "up" in there:
        raise GradPrismError(
            "This model has no gate: its MLPs are two maps, up and down. Leave it out of --projections."
        )
    if missing:
        raise _MissingError(missing, there, notes)
    own = tuple(name for name in _names_here(names) if name in there)
    projections = tuple(
        Projection(name, number, decoder.path_of(number, it.path), it.module, *it.shape, it.rows)
        for number, found in sorted(by_layer.items())
        for name in own
        if (it := found.get(name))
    )
    _refuse_shared_weights(projections)
    layers = tuple(dict.fromkeys(p.layer for p in projections))
    skipped = tuple(number for number in sorted(decoder.layers) if number not in layers)
    notes = (*notes, *_notes_on_gaps(projections, own, layers))
    return FoundProjections(projections, own, layers, skipped, notes)


def _refuse_shared_weights(projections: Sequence[Projection]) -> None:
    """Refuse two projections with a weight in common (Zamba's layers): its gradient is the sum of its uses.

    Different rows of one module have nothing in common. Raises `GradPrismError`.
    """
    owners: dict[int, tuple[object, list[Projection]]] = {}  # with the weight: the ids of what is gone are given anew
    for projection in projections:
        weight = _weight_or_module(projection.module)
        _, sharing = owners.setdefault(id(weight), (weight, []))
        for owner in sharing:
            if owner.module is not projection.module or owner.layer != projection.layer:
                raise GradPrismError(
                    f"{owner.path} and {projection.path} are one weight, used several times in one forward pass. "
                    "Expected one use: what is measured is one Dᵀ X, and this gradient would be the sum of several. "
                    "Leave it out of --projections, or describe the layers that have their own "
                    "(--architecture FILE.yaml)."
                )
            if _row_numbers(owner) & _row_numbers(projection):
                raise GradPrismError(
                    f"{owner.name} and {projection.name} are both to be rows of {owner.path}, and have some in common. "
                    "Expected each projection to have its own."
                )
        sharing.append(projection)


def _weight_or_module(module: nn.Module) -> nn.Parameter | nn.Module:
    """Return the weight of a module; the module itself where that is no parameter, or is computed when read."""
    weight = None if is_parametrized(module) else getattr(module, "weight", None)
    return weight if isinstance(weight, nn.Parameter) else module


def _row_numbers(projection: Projection) -> set[int]:
    """Return the numbers of the projection's rows in its module's weight."""
    d_out, _ = shape_of(projection.module) or (projection.d_out, 0)
    return set(projection.select(torch.arange(d_out)).tolist())


def _notes_on_gaps(projections: Sequence[Projection], names: Sequence[str], layers: Sequence[int]) -> list[str]:
    """Note the layers that have some of the projections and lack others."""
    lacking: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name in names:
        having = {p.layer for p in projections if p.name == name}
        if without := tuple(layer for layer in layers if layer not in having):
            lacking[without].append(name)
    return [f"No {', '.join(these)} in {layers_in_words(without)}." for without, these in lacking.items()]


def layers_in_words(numbers: Sequence[int]) -> str:
    """Write ascending layer numbers in words: `layer 7`, `layers 0-3, 7`."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1] = [ranges[-1][0], number]
        else:
            ranges.append([number])
    return f"layer{'s' * (len(numbers) > 1)} " + ", ".join("-".join(map(str, ends)) for ends in ranges)
