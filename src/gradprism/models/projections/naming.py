"""Names that decoder models of `transformers` give to the linear maps of an attention and of an MLP.

An attention comes in three kinds: separate (q, k, v, o), fused (qkv, o) and latent (DeepSeek's multi-head latent
attention: q_a and q_b through a bottleneck, or q; kv_a and kv_b through another; o).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from gradprism.models.projections.fused import MisfitError, gate_up_rows, gated_query_rows, qkv_rows
from gradprism.models.projections.linear import WeightRows, join_path, linear_in, shape_of

ATTENTION_NAMES = {
    "q": ("q_proj", "query_proj", "query", "wq", "Wq", "q_lin", "project_q"),
    "k": ("k_proj", "key_proj", "key", "wk", "Wk", "k_lin", "project_k"),
    "v": ("v_proj", "value_proj", "value", "wv", "Wv", "v_lin", "project_v"),
    "o": ("o_proj", "out_proj", "dense", "wo", "Wo", "c_proj", "out_lin", "attention_out"),
    "qkv": ("qkv_proj", "query_key_value", "c_attn", "Wqkv", "wqkv", "W_pack"),
    "q_a": ("q_a_proj",),
    "q_b": ("q_b_proj",),
    "kv_a": ("kv_a_proj_with_mqa", "kv_a_proj"),
    "kv_b": ("kv_b_proj",),
}
MLP_NAMES = (  # gate, up, down; an `up` of twice the rows that `down` reads holds the gate in its first half
    ("gate_proj", "up_proj", "down_proj"),
    ("w1", "w3", "w2"),
    (None, "gate_up_proj", "down_proj"),
    (None, "c_fc", "c_proj"),
    (None, "fc_in", "fc_out"),
    (None, "fc1", "fc2"),
    (None, "dense_h_to_4h", "dense_4h_to_h"),
    (None, "Wi", "Wo"),
    (None, "input_linear", "output_linear"),
    (None, "lin1", "lin2"),
)
# Names that stand for others: what a latent attention answers where q, k or v is asked for.
STANDS_FOR = {"q": ("q", "q_a", "q_b"), "k": ("k", "kv_a", "kv_b"), "v": ("v", "kv_a", "kv_b")}
ATTENTION = ("q", "k", "v", "o", "q_a", "q_b", "kv_a", "kv_b")
MLP = ("gate", "up", "down")

# Maps called q, k and v that feed no softmax: recurrences over a state (layers of hybrid models). KimiLinearAttention
# is the latent attention, with a softmax, of a model called Kimi Linear.
_LINEAR_ATTENTION = re.compile(
    r"(?<!^Kimi)LinearAtt(n|ention)(?!DecoderLayer)|DeltaNet|DeltaAttention|DeltaProduct|Lightning|Retention|HGRN|GLA|"
    r"Mamba|R(WKV|wkv)|mLSTM"
)
_CROSS_ATTENTION = re.compile(r"cross|encoder_attn|enc_attn")


@dataclass(frozen=True)
class LayerProjection:
    """A projection found in a layer: the module below it, and which rows of its weight."""

    path: str  # below the layer
    module: nn.Module
    rows: WeightRows | None = None  # None: all

    @property
    def shape(self) -> tuple[int, int]:
        """Sizes (d_out, d_in) of the projection."""
        d_out, d_in = shape_of(self.module) or (0, 0)
        return (d_out if self.rows is None else len(self.rows)), d_in


LayerProjections = dict[str, LayerProjection]
"""Name (q, k, ...) -> the projection of a layer."""


def attentions(layer: nn.Module, config: Any) -> Iterator[tuple[str, LayerProjections]]:
    """Yield path and projections of every self-attention with a softmax below a layer.

    Raises `MisfitError` where the rows of a fused map cannot be told apart.
    """
    for path, module in layer.named_modules():
        if _CROSS_ATTENTION.search(path) or _LINEAR_ATTENTION.search(type(module).__name__) or "linear_attn" in path:
            continue
        found = _maps_by_name(path, module)
        if _is_attention(found):
            yield path, _with_fused_divided(found, module, config)


def _maps_by_name(path: str, module: nn.Module) -> LayerProjections:
    children = dict(module.named_children())
    named: LayerProjections = {}
    for name, spellings in ATTENTION_NAMES.items():
        for spelling in spellings:
            if name not in named and spelling in children and (inner := linear_in(children[spelling])):
                named[name] = LayerProjection(join_path(path, spelling, inner[0]), inner[1])
    return named


def _is_attention(found: LayerProjections) -> bool:
    """Check that maps are those of an attention, and not of something else with one or the other name.

    Layers that reuse the keys and values of a lower one (Gemma 3n) have q and o alone.
    """
    if "qkv" in found:
        return True
    if "kv_a" in found or "q_a" in found:
        return {"kv_a", "kv_b"} <= found.keys() and ("q" in found or {"q_a", "q_b"} <= found.keys())
    return "q" in found and ("o" in found or {"k", "v"} <= found.keys())


def _with_fused_divided(found: LayerProjections, attention: nn.Module, config: Any) -> LayerProjections:
    """Divide a fused qkv, and a q that holds the output's gate too, into rows; other maps stay as they are."""
    d_attended = found["o"].shape[1] if "o" in found else None
    if fused := found.pop("qkv", None):
        name = next(part for part in fused.path.split(".")[::-1] if part in ATTENTION_NAMES["qkv"])
        try:
            rows = qkv_rows(name, attention, config, fused.shape, d_attended)
        except MisfitError as problem:
            raise MisfitError(f"{fused.path} {list(fused.shape)} holds q, k and v, but {problem}") from None
        found |= {name: replace(fused, rows=rows[name]) for name in rows}
    elif "q" in found and "kv_a" not in found and d_attended:
        q = found["q"]
        try:
            rows_of_q = gated_query_rows(attention, config, q.shape[0], d_attended)
        except MisfitError as problem:
            raise MisfitError(f"{q.path} {list(q.shape)} holds q, but {problem}") from None
        found["q"] = replace(q, rows=rows_of_q)
    return found


def mlps(layer: nn.Module) -> Iterator[tuple[str, LayerProjections]]:
    """Yield path and projections of every MLP below a layer, those of routed experts left out."""
    for path, module in layer.named_modules():
        if is_routed(path, module):
            continue
        children = {name: inner for name, child in module.named_children() if (inner := linear_in(child))}
        for names in MLP_NAMES:
            if names[1] in children and names[2] in children:
                parts = {
                    name: LayerProjection(join_path(path, spelling, children[spelling][0]), children[spelling][1])
                    for name, spelling in zip(MLP, names, strict=True)
                    if spelling in children
                }
                _refuse_second_gate_or_up(path, parts, children)
                yield path, _with_gate_up_divided(parts)
                break


def _refuse_second_gate_or_up(
    path: str, parts: LayerProjections, children: Mapping[str, tuple[str, nn.Module]]
) -> None:
    """Refuse a map beside `up` that has its shape (c_fc2 of Jais): one of the two is the gate. Raises `MisfitError`."""
    if "gate" in parts:
        return
    own = {part.module for part in parts.values()}
    for name, (_, module) in children.items():
        if module not in own and shape_of(module) == parts["up"].shape:
            raise MisfitError(
                f"{join_path(path, name)} {list(parts['up'].shape)} has the shape of "
                f"{parts['up'].path}, and which of them is the gate is not known"
            )


def _with_gate_up_divided(parts: LayerProjections) -> LayerProjections:
    """Divide an `up` of twice the rows that `down` reads into gate and up. Raises `MisfitError` for other sizes."""
    if "gate" in parts:
        return parts
    up = parts["up"]
    try:
        rows = gate_up_rows(up.shape[0], parts["down"].shape[1])
    except MisfitError as problem:
        raise MisfitError(f"{up.path} {list(up.shape)} holds up, or gate and up, but {problem}") from None
    if rows is None:
        return parts
    return {"gate": replace(up, rows=rows["gate"]), **parts, "up": replace(up, rows=rows["up"])}


def is_routed(path: str, module: nn.Module) -> bool:
    """Check for routed experts, which see only the tokens sent to them: modules in a list, or all in one weight."""
    if re.search(r"(^|\.)experts\.\d+(\.|$)", path):
        return True
    named = f"{path.rpartition('.')[2]} {type(module).__name__}".lower()
    weights = [p for p in module.parameters(recurse=False) if p.ndim >= 2]
    return "expert" in named and bool(weights) and shape_of(module) is None
