"""A description of an architecture by its user: a few lines of YAML that say where the projections are."""

import re
from functools import reduce
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    field_validator,
    model_validator,
)
from torch import nn

from gradprism.core.errors import GradPrismError
from gradprism.core.settings import given
from gradprism.models.projections.fused import QKV, Heads, MisfitError, Order
from gradprism.models.projections.linear import linear_in
from gradprism.models.projections.naming import ATTENTION, MLP, Part, Parts
from gradprism.models.projections.rows import Rows, cut
from gradprism.models.projections.stack import Stack, inside_wrapper, text_config
from gradprism.models.projections.unrecognised import with_stars


def _positive(value: int | str) -> int | str:
    if isinstance(value, int) and value < 1:
        raise ValueError("expected a number from 1, or the name of one in the model's configuration")
    return value


Number = Annotated[int | str, AfterValidator(_positive)]
"""A number, or where the model's configuration has it: `num_attention_heads`, `attn_config.kv_n_heads`."""


class _Described(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OneMap(_Described):
    """A projection: a module below the layer, and which rows of its weight."""

    module: str
    rows: tuple[int, int] | None = None
    """First row, and the one after the last; of each block where there are several. All where None."""
    blocks: Number = 1
    """How many equal blocks the weight's rows come in."""

    @model_validator(mode="after")
    def _ascending(self) -> "OneMap":
        if self.rows and not 0 <= self.rows[0] < self.rows[1]:
            raise ValueError("rows: expected [FIRST, LAST + 1], counted from 0")
        if self.blocks != 1 and self.rows is None:
            raise ValueError("blocks: expected rows as well, those within each block")
        return self


class FusedMap(_Described):
    """One map that holds q, k and v."""

    module: str
    order: Order
    heads: Number
    kv_heads: Number | None = None
    """As many as `heads` where None."""
    head_dim: Number | None = None
    """What the weight's rows leave for each head where None."""


class FusedHalves(_Described):
    """One map that holds gate in the first half of its rows, and up in the second."""

    module: str


def _module_alone(value: Any) -> Any:
    return {"module": value} if isinstance(value, str) else value


One = Annotated[OneMap | None, BeforeValidator(_module_alone)]


Map = OneMap | FusedMap | FusedHalves


class Architecture(_Described):
    """Where the layers are, and where in each of them the projections; a layer without one of the modules lacks it."""

    layers: str
    q: One = None
    k: One = None
    v: One = None
    o: One = None
    q_a: One = None
    q_b: One = None
    kv_a: One = None
    kv_b: One = None
    gate: One = None
    up: One = None
    down: One = None
    qkv: FusedMap | None = None
    gate_up: Annotated[FusedHalves | None, BeforeValidator(_module_alone)] = None

    @field_validator("layers")
    @classmethod
    def _numbered(cls, text: str) -> str:
        if "*" not in text.split("."):
            raise ValueError("expected a path with * where the layer's number stands, such as model.layers.*")
        return text

    @model_validator(mode="after")
    def _not_twice(self) -> "Architecture":
        for fused, parts in (("qkv", QKV), ("gate_up", ("gate", "up"))):
            if getattr(self, fused) and any(getattr(self, part) for part in parts):
                raise ValueError(f"{fused} says where {', '.join(parts)} are: expected none of them beside it")
        return self


def read_architecture(path: str | Path) -> Architecture:
    """Read a description. Raises `GradPrismError` that names the file, the line and what was expected there."""
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
        values, tree = yaml.safe_load(text), yaml.compose(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise GradPrismError(f"Cannot read the architecture {path}: {error}") from error
    try:
        return Architecture.model_validate(values)
    except ValidationError as error:
        problems = [f"  line {_line(tree, problem['loc'])}, {_words(problem)}" for problem in error.errors()]
        raise GradPrismError(
            f"The architecture {path} is not understood:\n" + "\n".join(problems) + "\nExpected `layers:` with a * "
            f"and some of {', '.join((*ATTENTION, *MLP, 'qkv', 'gate_up'))}; docs/families.md has examples."
        ) from None


def _words(problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"]) or "file"
    return f"{place}: {problem['msg'].removeprefix('Value error, ')}{given(problem)}"


def _line(tree: Any, loc: tuple[Any, ...]) -> int:
    """The line, from 1, of a setting in the file; of what it would stand in where it is missing."""
    line = tree.start_mark.line if tree else 0
    for name in loc:
        entries = {key.value: (key, value) for key, value in tree.value} if isinstance(tree, yaml.MappingNode) else {}
        if name not in entries:
            break
        key, tree = entries[name]
        line = key.start_mark.line
    return int(line) + 1


def described_layers(model: nn.Module, architecture: Architecture) -> tuple[Stack, dict[int, Parts], list[str]]:
    """The layers described, the projections of each, and no notes.

    Raises `GradPrismError` where the model has no such layer, or none that has a module described;
    `MisfitError` where rows are not those of the weight.
    """
    stack = _stack(model, architecture.layers)
    config = text_config(model)
    parts = {number: _parts(layer, architecture, config) for number, layer in stack.layers.items()}
    for name, described in architecture:
        if isinstance(described, Map) and not any(
            linear_below(layer, described.module) for layer in stack.layers.values()
        ):
            raise GradPrismError(_no_such_module(architecture.layers, name, described.module, stack))
    return stack, parts, []


def _stack(model: nn.Module, pattern: str) -> Stack:
    """Modules whose path fits; numbered as the path says, or one after the other where there are several *.

    Paths are those without an adapter's wrapper, and also those with it.
    """
    fitting = re.compile(r"(\d+)".join(map(re.escape, pattern.split("*"))))
    outer, base = inside_wrapper(model)
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
    ordered = sorted(found.items())
    numbers = [key[0] for key, _ in ordered] if pattern.count("*") == 1 else range(len(ordered))
    items = [(number, *item) for number, (_, item) in zip(numbers, ordered, strict=True)]
    return Stack(pattern, {number: layer for number, _, layer in items}, {number: path for number, path, _ in items})


def linear_below(layer: nn.Module, path: str) -> tuple[str, nn.Module] | None:
    """The linear map at a path below a layer; None where there is none."""
    try:
        found = linear_in(layer.get_submodule(path))
    except AttributeError:
        return None
    return (".".join(filter(None, (path, found[0]))), found[1]) if found else None


def _no_such_module(layers: str, name: str, module: str, stack: Stack) -> str:
    below = {path for layer in stack.layers.values() for path, inner in layer.named_modules() if linear_in(inner)}
    there = ", ".join(sorted(path for path in below if linear_below(next(iter(stack.layers.values())), path)) or below)
    return f"{name}: {layers}.{module} is no linear map of this model; those below {layers} are {there or '(none)'}."


def _parts(layer: nn.Module, architecture: Architecture, config: Any) -> Parts:
    found: Parts = {}
    down = linear_below(layer, architecture.down.module) if architecture.down else None
    d_hidden = Part(*down).shape[1] if down else None
    for name, described in architecture:
        if isinstance(described, Map) and (at := linear_below(layer, described.module)):
            rows = _rows_of(name, described, Part(*at), config, d_hidden)
            found |= {part: Part(*at, these) for part, these in rows.items()}
    return found


def _rows_of(name: str, described: Map, whole: Part, config: Any, d_hidden: int | None) -> dict[str, Rows | None]:
    """The projections in one module, and their rows; `d_hidden` is d_in of down."""
    d_out = whole.shape[0]
    if isinstance(described, FusedMap):
        return {**_thirds(name, described, whole.path, d_out, config)}
    if isinstance(described, FusedHalves):
        return {**_halves(name, whole.path, d_out, d_hidden)}
    if described.rows is None:
        return {name: None}
    blocks = _number(described.blocks, config)
    if d_out % blocks or described.rows[1] > d_out // blocks:
        within = f" within each of {blocks} blocks" if blocks > 1 else ""
        raise MisfitError(f"{name}: rows {list(described.rows)}{within}; {whole.path} has {d_out} rows")
    return {name: Rows(*described.rows, blocks)}


def _thirds(name: str, described: FusedMap, path: str, d_out: int, config: Any) -> dict[str, Rows]:
    heads = _heads(described, d_out, config)
    if heads.rows != d_out:
        raise MisfitError(
            f"{name}: {heads.n_query} heads of q and {heads.n_kv} of k and v with {heads.dim} rows each make "
            f"{heads.rows}, and {path} has {d_out}"
        )
    return heads.rows_by(described.order)


def _halves(name: str, path: str, d_out: int, d_hidden: int | None) -> dict[str, Rows]:
    if d_hidden is None and d_out % 2:
        raise MisfitError(f"{name}: {path} has {d_out} rows: expected an even number")
    if d_hidden is not None and d_out != 2 * d_hidden:
        raise MisfitError(f"{name}: {path} has {d_out} rows, and down reads {d_hidden}: expected twice as many rows")
    return cut(("gate", "up"), dict.fromkeys(("gate", "up"), d_out // 2))


def _heads(described: FusedMap, d_out: int, config: Any) -> Heads:
    n_query = _number(described.heads, config)
    n_kv = n_query if described.kv_heads is None else _number(described.kv_heads, config)
    dim = d_out // (n_query + 2 * n_kv) if described.head_dim is None else _number(described.head_dim, config)
    return Heads(n_query, n_kv, dim)


def _number(given: Number, config: Any) -> int:
    """The number itself, or the one that the configuration has under this name."""
    if isinstance(given, int):
        return given
    found = reduce(lambda place, name: getattr(place, name, None), given.split("."), config)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise GradPrismError(
            f"{given}: expected the name of a number from 1 in the model's configuration; it has {found!r}."
        )
    return found
