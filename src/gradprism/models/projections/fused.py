"""Layouts of several projections in one weight, as `transformers` has them: known by name, checked by size.

- contiguous: all of q, all of k, all of v
- per head: q, k and v of head 0, then of head 1, ...
- grouped: the queries that share a head of k and v, then that k and that v; then the next such group
"""

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from gradprism.models.projections.linear import Shape, WeightRows, consecutive_rows

Order = Literal["contiguous", "per_head", "grouped"]
QKV = ("q", "k", "v")

_HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "num_q_heads")
_KV_HEADS = ("num_key_value_heads", "num_kv_heads", "kv_heads", "num_k_heads", "num_multi_query_groups_per_partition")
_CODEGEN_BLOCKS = 4  # it was trained on so many TPU cores, and its code still splits the weight like that


class MisfitError(ValueError):
    """The rows of a fused weight cannot be told apart by what is known of it; the message says why."""


@dataclass(frozen=True)
class Heads:
    """The heads of an attention: their numbers, and the rows of each."""

    n_query: int
    n_kv: int
    dim: int

    @property
    def rows(self) -> int:
        """Rows of q, k and v together, the d_out of their fused map."""
        return (self.n_query + 2 * self.n_kv) * self.dim

    def rows_by(self, order: Order) -> dict[str, WeightRows]:
        """Return the rows of q, of k and of v in one weight of `self.rows` rows.

        Raises `MisfitError` where so many heads cannot come in this order.
        """
        blocks = {"contiguous": 1, "per_head": self.n_query, "grouped": self.n_kv}[order]
        if self.n_query % blocks or self.n_kv % blocks:
            raise MisfitError(f"{self.n_query} heads of q and {self.n_kv} of k and v cannot be laid out {order}")
        n_query, n_kv = self.n_query // blocks, self.n_kv // blocks
        return consecutive_rows({"q": n_query * self.dim, "k": n_kv * self.dim, "v": n_kv * self.dim}, blocks)


def qkv_rows(
    name: str, attention: nn.Module, config: Any, fused: Shape, d_attended: int | None
) -> dict[str, WeightRows]:
    """Find the rows of q, of k and of v in the fused map `name` of an attention; `d_attended` is d_in of its o.

    Raises `MisfitError` where the sizes are not those of the layout that the name stands for.
    """
    heads = _heads_of(attention, config, fused[0], d_attended)
    if type(attention).__name__ == "CodeGenAttention":  # named like others, laid out like none of them
        width = fused[0] // 3 // _CODEGEN_BLOCKS
        rows = consecutive_rows(dict.fromkeys(("q", "v", "k"), width), _CODEGEN_BLOCKS)
    else:
        rows = heads.rows_by(_order_by_name(name, config, heads))
    total = sum(map(len, rows.values()))
    if total != fused[0] or (d_attended is not None and len(rows["q"]) != d_attended):
        raise MisfitError(
            f"{heads.n_query} heads of q and {heads.n_kv} of k and v with {heads.dim} rows each make {total}, "
            f"the weight has {fused[0]}, and o reads {d_attended}"
        )
    return rows


def _order_by_name(name: str, config: Any, heads: Heads) -> Order:
    """Return the order of a fused map by its name and, where that says more, its configuration."""
    if name == "wqkv" or (name == "query_key_value" and getattr(config, "new_decoder_architecture", False)):
        return "grouped"  # InternLM 2, Falcon 40B and later
    if name == "query_key_value" and heads.n_kv == heads.n_query:
        return "per_head"  # after Megatron: GPT-NeoX, BLOOM, Persimmon, Falcon RW
    if name == "c_attn" and getattr(config, "multi_query", None) is False:
        return "per_head"  # GPT-BigCode
    if name == "query_key_value" and heads.n_kv > 1 and not hasattr(config, "multi_query_group_num"):  # ChatGLM
        raise MisfitError(f"it has {heads.n_kv} heads of k and v for {heads.n_query} of q, in an order not known")
    return "contiguous"


def _heads_of(attention: nn.Module, config: Any, d_out: int, d_attended: int | None) -> Heads:
    """Count heads: of q by the attention or its configuration, of k and v by the rows that the weight has left.

    Raises `MisfitError` where the configuration names another number of k and v.
    """
    n_query = _first_number(_HEADS, attention, config)
    if n_query is None:
        raise MisfitError("its number of heads is not known")
    configured = _configured_kv_heads(attention, config, n_query)
    if d_attended is None:
        return Heads(n_query, configured or n_query, d_out // (n_query + 2 * (configured or n_query)))
    n_kv = (d_out - d_attended) * n_query // (2 * d_attended)
    if configured not in (None, n_kv) and n_kv != n_query:
        raise MisfitError(f"its size is that of {n_kv} heads of k and v, and its configuration says {configured}")
    return Heads(n_query, n_kv, d_attended // n_query)


def _configured_kv_heads(attention: nn.Module, config: Any, n_query: int) -> int | None:
    if groups := _first_number(("num_key_value_groups",), attention):
        return n_query // groups
    return _first_number((*_KV_HEADS, "multi_query_group_num"), attention, config)


def _first_number(names: tuple[str, ...], *owners: Any) -> int | None:
    """Return the first positive attribute of these names; an earlier owner comes first."""
    for owner in owners:
        for name in names:
            if isinstance(value := getattr(owner, name, None), int) and value > 0:
                return value
    return None


def gated_query_rows(attention: nn.Module, config: Any, d_out: int, d_attended: int) -> WeightRows | None:
    """Return the rows of the queries in a q that holds the gate of attention's output too, head by head.

    Qwen3-Next and later families have such; None where q holds queries alone. Raises `MisfitError` where its size is
    that of both and the size of a head is not known.
    """
    if d_out != 2 * d_attended:
        return None
    n_query, dim = _first_number(_HEADS, attention, config), _first_number(("head_dim",), attention, config)
    if n_query is None or dim is None:
        raise MisfitError(
            f"it has {d_out} rows, twice what o reads ({d_attended}), and its number of heads and their size "
            "(head_dim) are not both known: it may hold queries alone, or their gate too"
        )
    if dim != d_attended // n_query:
        return None
    return consecutive_rows(dict.fromkeys(("q", "gate"), dim), n_query)["q"]


def gate_up_rows(d_out: int, d_hidden: int) -> dict[str, WeightRows] | None:
    """Return the halves of a fused map of an MLP, the gate (activated) first; None where the map is `up` alone.

    Raises `MisfitError` where it is neither.
    """
    if d_out == d_hidden:
        return None
    if d_out != 2 * d_hidden:
        raise MisfitError(f"it has {d_out} rows, and down reads {d_hidden}: expected as many, or twice as many")
    return consecutive_rows(dict.fromkeys(("gate", "up"), d_hidden))
