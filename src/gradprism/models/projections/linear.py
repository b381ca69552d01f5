"""The sizes of a linear module, whatever holds its weights."""

from torch import nn

Shape = tuple[int, int]


def shape_of(module: nn.Module) -> Shape | None:
    """(d_out, d_in) of a linear map by its attributes: quantised ones lack a 2-D weight. None where it is none.

    The `Conv1D` of the GPT-2 family, whose weight is transposed, calls them nf and nx.
    """
    for out_name, in_name in (("out_features", "in_features"), ("nf", "nx")):
        d_out, d_in = getattr(module, out_name, None), getattr(module, in_name, None)
        if isinstance(d_out, int) and isinstance(d_in, int):
            return d_out, d_in
    return None


def linear_in(module: nn.Module) -> tuple[str, nn.Module] | None:
    """The module itself (path "") if it is linear, else the only linear map inside it; None where there is no such.

    What wraps a linear map and has its sizes (LoRA) is the map; what has not (Moshi) is looked into.
    """
    if shape_of(module):
        return "", module
    inside = [(path, inner) for path, inner in module.named_modules() if shape_of(inner)]
    return inside[0] if len(inside) == 1 else None
