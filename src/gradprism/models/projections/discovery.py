"""Which linear maps of a model are its q, k, v, o (attention) and gate, up, down (MLP) projections."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from gradprism.core.errors import GradPrismError
from gradprism.models.projections.described import Architecture, described_layers
from gradprism.models.projections.fused import MisfitError
from gradprism.models.projections.linear import shape_of
from gradprism.models.projections.naming import ATTENTION, MLP, STANDS_FOR, Part, Parts, attentions, is_routed, mlps
from gradprism.models.projections.rows import Rows
from gradprism.models.projections.stack import Stack, find_stack, text_config
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
    rows: Rows | None = None  # which outputs of the module; None: all

    def of(self, outputs: Tensor) -> Tensor:
        """Their part of the module's outputs (..., all) -> (..., d_out)."""
        return outputs if self.rows is None else self.rows.of(outputs)


@dataclass(frozen=True)
class Found:
    """The projections of a model, in the order of layers and names, and what was left out."""

    projections: tuple[Projection, ...]
    names: tuple[str, ...]  # of those asked for, as this model has them
    layers: tuple[int, ...]  # with any of them
    skipped_layers: tuple[int, ...]  # decoder layers with none
    notes: tuple[str, ...]  # on what else was left out, a sentence each


def find_projections(model: nn.Module, names: Sequence[str], architecture: Architecture | None = None) -> Found:
    """Find the projections called `names` by structure and naming, or as an `architecture` describes them.

    A model with latent attention answers q, k and v with its own q_a, q_b, kv_a and kv_b. Raises `GradPrismError`
    where one of `names` is found nowhere, or where it is not clear what it is.
    """
    _check_names(names)
    try:
        if architecture:
            return _found(names, *described_layers(model, architecture))
        return _by_naming(model, names)
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


def _by_naming(model: nn.Module, names: Sequence[str]) -> Found:
    config = text_config(model)

    def has_parts(layer: nn.Module) -> bool:
        try:
            return any(True for _ in attentions(layer, config))
        except MisfitError:  # of another tower, perhaps: this configuration is not its own
            return True

    found = find_stack(model, has_parts)
    if found is None:
        raise _MissingError(names)
    stack, others = found
    kinds = _kinds(config, stack)
    parts = {number: _parts(stack, number, kinds.get(number, "?"), config, names) for number in stack.layers}
    notes = [f"Only the language model ({stack.path}) is measured, not {', '.join(others)}."] if others else []
    return _found(names, stack, parts, [*notes, *_by_convention(stack, parts, names), *_routed(stack, names)])


def _by_convention(stack: Stack, parts: Mapping[int, Parts], names: Sequence[str]) -> list[str]:
    """The words for fused maps of code that comes with a checkpoint: nobody has held it against what its name says."""
    wanted = {own for name in names for own in STANDS_FOR.get(name, (name,))}
    fused: dict[str, dict[str, None]] = defaultdict(dict)  # path below a layer -> what it holds, in order
    for number, found in sorted(parts.items()):
        if not type(stack.layers[number]).__module__.startswith("transformers."):
            for name in NAMES:
                if name in found and found[name].rows:
                    fused[found[name].path][name] = None
    return [
        f"{_listed([*held])} taken for rows of {path} in the order that its name stands for in transformers; if this "
        "model's own code has another, describe it (--architecture FILE.yaml)."
        for path, held in fused.items()
        if wanted & held.keys()
    ]


def _listed(names: Sequence[str]) -> str:
    """`q is`, `q, k and v are`."""
    return f"{names[0]} is" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} are"


def _kinds(config: object, stack: Stack) -> dict[int, str]:
    """What the configuration calls each layer, where it says so: `full_attention`, `linear_attention`, `conv`, ..."""
    kinds = getattr(config, "layer_types", None)
    if not isinstance(kinds, list | tuple) or len(kinds) != len(stack.layers):
        return {}
    return dict(zip(stack.layers, kinds, strict=True))


def _parts(stack: Stack, number: int, kind: str, config: object, names: Sequence[str]) -> Parts:
    """The attention and the MLP of a layer. Raises `MisfitError` where there must be an attention and none is seen."""
    layer, parts = stack.layers[number], Parts()
    if kind not in _WITHOUT_SOFTMAX:  # whatever the maps of such a layer are called
        parts = _one(stack, number, list(attentions(layer, config)), names)
    if not parts and kind in _WITH_SOFTMAX:
        raise MisfitError(f"its configuration calls layer {number} {kind}, and no attention is found there.")
    if {*names} & {*MLP}:
        parts = parts | _one(stack, number, list(mlps(layer)), names)
    return parts


def _one(stack: Stack, layer: int, found: Sequence[tuple[str, Parts]], names: Sequence[str]) -> Parts:
    """The only attention or MLP of a layer; raises `GradPrismError` where there are several that are asked for."""
    wanted = {own for name in names for own in STANDS_FOR.get(name, (name,))}
    having = [(path, parts) for path, parts in found if wanted & parts.keys()]
    if len(having) > 1:
        name = next(name for name in having[0][1] if name in wanted)
        paths = ", ".join(stack.path_of(layer, path) for path, _ in having)
        raise GradPrismError(
            f"There are several projections {name} in layer {layer}: in {paths}. Expected one.\n"
            "Say which in a description of the architecture (--architecture FILE.yaml); docs/families.md has examples."
        )
    return next((parts for _, parts in (*having, *found)), {})


def _routed(stack: Stack, names: Sequence[str]) -> list[str]:
    """The words for routed experts, where parts of MLPs are asked for."""
    having = [
        number
        for number, layer in stack.layers.items()
        if any(is_routed(path, module) for path, module in layer.named_modules())
    ]
    if not having or not {*names} & {*MLP}:
        return []
    return [f"The routed experts in {layers_in_words(having)} are not measured: each sees only some tokens."]


def _found(names: Sequence[str], stack: Stack, parts: Mapping[int, Parts], notes: Sequence[str]) -> Found:
    """Sort what there is; raises `_MissingError` where a name is nowhere."""
    there = {name for found in parts.values() for name in found}
    missing = [name for name in names if not {*STANDS_FOR.get(name, (name,))} & there]
    if missing == ["gate"] and "up" in there:
        raise GradPrismError(
            "This model has no gate: its MLPs are two maps, up and down. Leave it out of --projections."
        )
    if missing:
        raise _MissingError(missing, there, notes)
    own = tuple(dict.fromkeys(own for name in names for own in STANDS_FOR.get(name, (name,)) if own in there))
    projections = tuple(
        _projection(stack, number, name, found[name])
        for number, found in sorted(parts.items())
        for name in own
        if name in found
    )
    _refuse_tied(projections)
    layers = tuple(dict.fromkeys(p.layer for p in projections))
    skipped = tuple(number for number in sorted(stack.layers) if number not in layers)
    return Found(projections, own, layers, skipped, (*notes, *_gaps(projections, own, layers)))


def _refuse_tied(projections: Sequence[Projection]) -> None:
    """Raise `GradPrismError` where two have a weight in common (Zamba's layers): its gradient is the sum of its uses.

    Those that are different rows of one module have not.
    """
    owners: dict[int, tuple[object, list[Projection]]] = {}  # with the weight: the ids of what is gone are given anew
    for projection in projections:
        weight = _weight(projection.module)
        _, sharing = owners.setdefault(id(weight), (weight, []))
        for owner in sharing:
            if owner.module is not projection.module or owner.layer != projection.layer:
                raise GradPrismError(
                    f"{owner.path} and {projection.path} are one weight, used several times in one forward pass. "
                    "Expected one use: what is measured is one Dᵀ X, and this gradient would be the sum of several. "
                    "Leave it out of --projections, or describe the layers that have their own "
                    "(--architecture FILE.yaml)."
                )
            if _numbers(owner) & _numbers(projection):
                raise GradPrismError(
                    f"{owner.name} and {projection.name} are both to be rows of {owner.path}, and have some in common. "
                    "Expected each projection to have its own."
                )
        sharing.append(projection)


def _weight(module: nn.Module) -> nn.Parameter | nn.Module:
    """What tells a weight from others: itself, or its module where it is no parameter or is computed when read."""
    weight = None if is_parametrized(module) else getattr(module, "weight", None)
    return weight if isinstance(weight, nn.Parameter) else module


def _numbers(projection: Projection) -> set[int]:
    """Which of the module's outputs are the projection's."""
    d_out, _ = shape_of(projection.module) or (projection.d_out, 0)
    return set(projection.of(torch.arange(d_out)).tolist())


def _projection(stack: Stack, layer: int, name: str, part: Part) -> Projection:
    return Projection(name, layer, stack.path_of(layer, part.path), part.module, *part.shape, part.rows)


def _gaps(projections: Sequence[Projection], names: Sequence[str], layers: Sequence[int]) -> list[str]:
    """The words for layers that have some of the projections and lack others."""
    lacking: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name in names:
        having = {p.layer for p in projections if p.name == name}
        if without := tuple(layer for layer in layers if layer not in having):
            lacking[without].append(name)
    return [f"No {', '.join(these)} in {layers_in_words(without)}." for without, these in lacking.items()]


def layers_in_words(numbers: Sequence[int]) -> str:
    """Ascending numbers in words: `layer 7`, `layers 0-3, 7`."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1] = [ranges[-1][0], number]
        else:
            ranges.append([number])
    return f"layer{'s' * (len(numbers) > 1)} " + ", ".join("-".join(map(str, ends)) for ends in ranges)
