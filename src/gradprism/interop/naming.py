"""The names that the published files use: of weights, their statistics, and the cosines between them.

One JSON object a line: `instruction`, `output`, `loss`; under the name of each weight its statistics; `cosine_sim`, a
matrix over layers for each projection; `cosine_sim_qkvo`, for each layer the cosine of q with o and of k with v. The
names are those of Llama in `transformers`, which most models of today share.
"""

import re
from typing import NamedTuple

OWN_KEYS = ("loss", "cosine_sim", "cosine_sim_qkvo")  # beside the texts and the weights
SPECTRUM = ("S_list",)
SUMMARY = ("S_sum", "S_max", "S_min")  # of the earlier paper, in its place
ENTRIES = ("M_mean", "M_max", "M_min")
EXAMPLE_OF_A_WEIGHT = "model.layers.0.self_attn.q_proj.weight"

_IN_MLP = ("gate", "up", "down")
_WEIGHT = re.compile(
    r"model\.layers\.(\d{1,4})\.(self_attn|mlp)\.(q|k|v|o|gate|up|down|q_a|q_b|kv_a|kv_b)_proj\.weight"
)
_SAME_LAYER = {"q_proj_x_o_proj": "q-o", "k_proj_x_v_proj": "k-v"}


class WeightKey(NamedTuple):
    """One projection of one layer."""

    layer: int
    projection: str

    @property
    def weight(self) -> str:
        """The key of this weight in a line of a file."""
        home = "mlp" if self.projection in _IN_MLP else "self_attn"
        return f"model.layers.{self.layer}.{home}.{self.projection}_proj.weight"

    def __str__(self) -> str:
        """Return `layer 3 q`, for messages."""
        return f"layer {self.layer} {self.projection}"


def weight_key(name: str) -> WeightKey | None:
    """Parse a key of a line; None where it names no weight that is known."""
    match = _WEIGHT.fullmatch(name)
    key = WeightKey(int(match[1]), match[3]) if match else None
    return key if key and key.weight == name else None


def same_layer_pair(name: str) -> str | None:
    """Parse a pair of projections, `q_proj_x_o_proj` -> `q-o`; None for other keys."""
    return _SAME_LAYER.get(name)


def same_layer_name(pair: str) -> str:
    """Return the key of a pair of projections: `q-o` -> `q_proj_x_o_proj`."""
    return next(name for name, known in _SAME_LAYER.items() if known == pair)
