"""Files as Li et al. published them, of made-up gradients: an SVD of the whole float32 matrix, noise and all."""

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

SHAPES = {"q": (24, 16), "k": (8, 16), "v": (8, 16), "o": (16, 24)}  # d_out, d_in

Fields = dict[str, Any]


def weight(layer: int, projection: str) -> str:
    return f"model.layers.{layer}.self_attn.{projection}_proj.weight"


def paper_rows(n: int, layers: int = 3, tokens: int | Sequence[int] = 7, seed: int = 0) -> list[Fields]:
    """Lines of the newer form: the gradients of so many tokens, which have rank `tokens` - 1."""
    random = np.random.default_rng(seed)
    lengths = [tokens] * n if isinstance(tokens, int) else tokens
    return [_row(number, layers, length, random) for number, length in enumerate(lengths)]


def _row(number: int, layers: int, tokens: int, random: np.random.Generator) -> Fields:
    gradients = {
        (layer, name): _gradient(shape, tokens, random)
        for layer, (name, shape) in product(range(layers), SHAPES.items())
    }
    pairs = [("q", "o"), ("k", "v")]
    return {
        "instruction": f"Question {number}",
        "output": f"Answer {number}",
        "reward": number / 4,
        "kind": "odd" if number % 2 else "even",
        "loss": float(random.uniform(0.5, 3)),
        **{weight(*place): _statistics(gradient) for place, gradient in gradients.items()},
        "cosine_sim": {
            f"{name}_proj": {
                "layer_indices": list(range(layers)),
                "matrix": [
                    [_cosine(gradients[i, name], gradients[j, name]) for j in range(layers)] for i in range(layers)
                ],
            }
            for name in SHAPES
        },
        "cosine_sim_qkvo": {
            str(layer): {f"{a}_proj_x_{b}_proj": _cosine(gradients[layer, a], gradients[layer, b]) for a, b in pairs}
            for layer in range(layers)
        },
    }


def _gradient(shape: tuple[int, int], tokens: int, random: np.random.Generator) -> np.ndarray:
    """Dᵀ X of tokens of which the last has no loss."""
    scale = np.exp(-np.arange(tokens - 1) / 3)[:, None]
    deltas, inputs = (random.standard_normal((tokens - 1, side)) for side in shape)
    return (deltas.T @ (scale * inputs)).astype(np.float32)


def _statistics(gradient: np.ndarray) -> Fields:
    return {
        "M_mean": float(gradient.mean()),
        "M_max": float(gradient.max()),
        "M_min": float(gradient.min()),
        "frobenius_norm": float(np.linalg.norm(gradient)),
        "S_list": np.linalg.svd(gradient, compute_uv=False).tolist(),
    }


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one.reshape(-1), other.reshape(-1)
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def summarised(fields: Fields) -> Fields:
    """The same line as the earlier paper's files have it."""
    line = {name: value for name, value in fields.items() if not name.startswith("cosine_sim")}
    for name, value in line.items():
        if isinstance(value, dict):
            values = value["S_list"]
            rest = {key: number for key, number in value.items() if key != "S_list"}
            line[name] = rest | {"S_sum": sum(values), "S_max": max(values), "S_min": min(values)}
    return line


def written(path: Path, rows: Sequence[Fields | str]) -> Path:
    """A line each: JSON, or a text as it is."""
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path
