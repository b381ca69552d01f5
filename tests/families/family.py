"""What a family of `transformers` is to the tests: a tiny random model, where its projections are, and the truth."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

WIDTH, HIDDEN, HEADS, KV_HEADS, LAYERS, VOCABULARY = 32, 48, 4, 2, 3, 96
DIM = WIDTH // HEADS
SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "max_position_embeddings": 128,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip

Cut = Callable[[Tensor], Tensor]
Place = str | tuple[str, Cut]
"""A weight's path below a layer, and which part of its gradient (d_out, d_in) is the projection's."""


def whole(gradient: Tensor) -> Tensor:
    return gradient


def rows(first: int, last: int) -> Cut:
    return lambda gradient: gradient[first:last]


def in_heads(which: int, heads: int = HEADS, parts: int = 3) -> Cut:
    """`view(..., heads, 3, head_dim)[..., which, :]`, as BLOOM, Persimmon and Falcon RW write it."""
    return lambda gradient: gradient.view(heads, parts, -1, gradient.shape[1])[:, which].flatten(0, 1)


def in_groups(which: str) -> Cut:
    """Falcon's `view(..., kv_heads, heads // kv_heads + 2, head_dim)`: queries `[:-2]`, key `[-2]`, value `[-1]`."""
    taken = {"q": slice(None, -2), "k": slice(-2, -1), "v": slice(-1, None)}[which]
    return lambda gradient: gradient.view(KV_HEADS, HEADS // KV_HEADS + 2, -1, gradient.shape[1])[:, taken].flatten(
        0, 2
    )


def on_cores(which: int) -> Cut:
    """CodeGen: `reshape(..., mp_num=4, -1)`, then `query, value, key = split(local_dim)` in each of the four."""
    return lambda gradient: gradient.view(4, 3, -1, gradient.shape[1])[:, which].flatten(0, 1)


def transposed(cut: Cut = whole) -> Cut:
    """`Conv1D` holds (d_in, d_out)."""
    return lambda gradient: cut(gradient.T.contiguous())


def fused(path: str, cuts: Sequence[Cut], names: str = "qkv") -> dict[str, Place]:
    return {name: (path, cut) for name, cut in zip(names, cuts, strict=True)}


def below(path: str, **names: str) -> dict[str, Place]:
    return {name: f"{path}{'.' if path else ''}{child}" for name, child in names.items()}


LLAMA_ATTENTION = below("self_attn", q="q_proj", k="k_proj", v="v_proj", o="o_proj")
LLAMA_MLP = below("mlp", gate="gate_proj", up="up_proj", down="down_proj")


@dataclass(frozen=True)
class Family:
    """A family of `transformers`: the settings of a tiny model, and where its projections are."""

    name: str
    config: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    attention: Mapping[str, Place] = field(default_factory=lambda: LLAMA_ATTENTION)
    mlp: Mapping[str, Place] = field(default_factory=lambda: LLAMA_MLP)
    layers: str = "model.layers"
    n_layers: int = LAYERS
    attention_layers: tuple[int, ...] = tuple(range(LAYERS))
    mlp_layers: tuple[int, ...] | None = None  # all, where the family has an `mlp`
    borrowing_layers: tuple[int, ...] = ()  # with the keys and values of a lower one
    kind: str = "separate"
    experts: bool = False  # whether it has routed ones, which are not measured
    gate_up: bool = False  # whether gate and up are one map
    remark: str = ""
    common: bool = True  # whether its configuration takes the sizes of all
    in_fp64: bool = True  # whether its code runs in fp64
    loaded_as: str = "AutoModelForCausalLM"

    @property
    def layout(self) -> tuple[object, ...]:
        """Properties that decide how projections are found: one family of each layout stands for the others."""
        return (
            self.kind, self.experts, self.gate_up, bool(self.borrowing_layers), self.loaded_as, self.in_fp64,
            len(self.attention_layers) < self.n_layers, self.mlp_layers is None,
        )  # fmt: skip

    def make(self, seed: int = 0) -> Any:
        """A random model, with weights large enough for gradients well above rounding."""
        import transformers as hf

        config = getattr(hf, self.config)(**((SIZES if self.common else {}) | dict(self.settings)))
        torch.manual_seed(seed)
        model = getattr(hf, self.loaded_as).from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim >= 2:
                    parameter.normal_(0.0, 0.15)
                elif not parameter.any():  # biases, and norms that scale by 1 + w: nothing may hide behind a zero
                    parameter.normal_(0.0, 0.05)
        return model

    def in_truth(self, model: Any) -> Any:
        """The same model in fp64, where its code can do that."""
        model = copy.deepcopy(model)
        if not self.in_fp64:
            return model
        if self.experts:
            model.set_experts_implementation("eager")  # the default has no fp64
        return model.double()

    def places(self) -> dict[tuple[str, int], tuple[str, Cut]]:
        """(projection, layer) -> full name of the weight, and the cut of its gradient."""
        found: dict[tuple[str, int], tuple[str, Cut]] = {}
        mlp_layers = range(self.n_layers) if self.mlp_layers is None else self.mlp_layers
        for parts, layers in ((self.attention, self.attention_layers), (self.mlp, mlp_layers)):
            for name, place in parts.items():
                path, cut = (place, whole) if isinstance(place, str) else place
                for layer in layers:
                    if name in "kv" and layer in self.borrowing_layers:
                        continue
                    found[name, layer] = f"{self.layers}.{layer}.{path}.weight", cut
        return found


# (tokens, of them the response's): fewer tokens than any side of a weight, and more than most
LENGTHS = ((9, 4), (45, 30))
MEASURES = ("nuclear_norm", "effective_rank", "frobenius_norm", "spectral_norm", "stable_rank")


def examples() -> list[tuple[tuple[int, ...], tuple[bool, ...]]]:
    """Token ids and response masks of random text."""
    random = torch.Generator().manual_seed(1)
    ids = [tuple(torch.randint(3, VOCABULARY, (n,), generator=random).tolist()) for n, _ in LENGTHS]
    return [(ids[i], tuple(at >= n - scored for at in range(n))) for i, (n, scored) in enumerate(LENGTHS)]


def true_gradients(family: Family, model: Any, ids: Sequence[int], mask: Sequence[bool]) -> dict[tuple[str, int], Any]:
    """Autograd on the weights, of the mean response loss, in the type of the model; one example by itself."""
    places = family.places()
    parameters = dict(model.named_parameters())
    model.requires_grad_(False)
    for path, _ in places.values():
        parameters[path].requires_grad_(True)
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, :-1]
    scored = torch.tensor(mask[1:])
    torch.nn.functional.cross_entropy(logits[scored], torch.tensor(ids[1:])[scored]).backward()
    found = {key: cut(parameters[path].grad).double().numpy().copy() for key, (path, cut) in places.items()}
    for path, _ in places.values():
        parameters[path].grad = None
    return found
