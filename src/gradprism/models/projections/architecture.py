"""Descriptions of an architecture by its user: a few lines of YAML that say where the projections are."""

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

from gradprism.core.errors import GradPrismError
from gradprism.core.settings import quote_given
from gradprism.core.yaml_text import YamlProblemError, parse_yaml_tree, read_yaml_file
from gradprism.models.projections.fused import QKV, Order
from gradprism.models.projections.naming import ATTENTION, MLP


def _positive(value: int | str) -> int | str:
    if isinstance(value, int) and value < 1:
        raise ValueError("expected a number from 1, or the name of one in the model's configuration")
    return value


Number = Annotated[int | str, AfterValidator(_positive)]
"""A number, or where the model's configuration has it: `num_attention_heads`, `attn_config.kv_n_heads`."""


class _Description(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OneMap(_Description):
    """A projection: a module below the layer, and which rows of its weight."""

    module: str
    """Path below the layer."""
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


class FusedMap(_Description):
    """One map that holds q, k and v."""

    module: str
    order: Order
    heads: Number
    kv_heads: Number | None = None
    """As many as `heads` where None."""
    head_dim: Number | None = None
    """The weight's rows divided by its heads where None."""


class FusedHalves(_Description):
    """One map that holds gate in the first half of its rows, and up in the second."""

    module: str


def _module_alone(value: Any) -> Any:
    return {"module": value} if isinstance(value, str) else value


One = Annotated[OneMap | None, BeforeValidator(_module_alone)]


Map = OneMap | FusedMap | FusedHalves


class Architecture(_Description):
    """Paths of the layers and, below each, of the projections; a layer without one of the modules lacks it."""

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
        values, tree = parse_yaml_tree(read_yaml_file(Path(path).expanduser()))
    except (OSError, YamlProblemError) as error:
        raise GradPrismError(f"Cannot read the architecture {path}: {error}") from None
    try:
        return Architecture.model_validate(values)
    except ValidationError as error:
        problems = [f"  line {_line_of(tree, each['loc'])}, {_problem_in_words(each)}" for each in error.errors()]
        raise GradPrismError(
            f"The architecture {path} is not understood:\n" + "\n".join(problems) + "\nExpected `layers:` with a * "
            f"and some of {', '.join((*ATTENTION, *MLP, 'qkv', 'gate_up'))}; docs/families.md has examples."
        ) from None


def _problem_in_words(problem: Any) -> str:
    setting = ".".join(str(name) for name in problem["loc"]) or "file"
    return f"{setting}: {problem['msg'].removeprefix('Value error, ')}{quote_given(problem)}"


def _line_of(tree: Any, setting: tuple[Any, ...]) -> int:
    """Return the line, from 1, of a setting in the file; for a missing one the line of the group it belongs to."""
    line = tree.start_mark.line if tree else 0
    for name in setting:
        entries = {key.value: (key, value) for key, value in tree.value} if isinstance(tree, yaml.MappingNode) else {}
        if name not in entries:
            break
        key, tree = entries[name]
        line = key.start_mark.line
    return int(line) + 1
