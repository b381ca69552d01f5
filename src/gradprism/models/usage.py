"""Check of a loaded model on a few tokens: which projections it uses, how often, and whether it looks ahead."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gradprism.core.errors import GradPrismError
from gradprism.models.likelihood import evaluating
from gradprism.models.projections.discovery import FoundProjections, Projection, layers_in_words

_TEXTS = ((0, 1, 1), (0, 2, 2))  # as many tokens as examples would hide which of the two comes first


def used_projections(model: nn.Module, found: FoundProjections, device: torch.device) -> FoundProjections:
    """Leave out projections that the model has and does not use (layers that read images, or reuse lower keys).

    Raises `GradPrismError` where the model fails on two tokens, or uses a projection several times.
    """
    uses = _count_uses(model, {p.module for p in found.projections}, device)
    if several := [p for p in found.projections if uses[p.module] > 1]:
        raise GradPrismError(repeated_use_message(several[0].path))
    used = tuple(p for p in found.projections if uses[p.module])
    if len(used) == len(found.projections):
        return found
    if not used:
        raise GradPrismError(
            f"{type(model).__name__} uses none of {', '.join(found.names)} when it reads text. Expected a causal "
            "language model; choose others with --projections, or describe its architecture (--architecture FILE.yaml)."
        )
    layers = tuple(dict.fromkeys(p.layer for p in used))
    return replace(
        found,
        projections=used,
        names=tuple(name for name in found.names if any(p.name == name for p in used)),
        layers=layers,
        skipped_layers=tuple(sorted({*found.skipped_layers, *found.layers} - {*layers})),
        notes=(*found.notes, *_notes_on_unused([p for p in found.projections if not uses[p.module]])),
    )


def repeated_use_message(path: str) -> str:
    """Return the message for a projection at `path` that one forward pass uses several times."""
    return (
        f"{path} is used several times in one forward pass. Expected one use: what is measured is one Dᵀ X, and this "
        "gradient would be the sum of several. Leave it out of --projections."
    )


def _count_uses(model: nn.Module, modules: set[nn.Module], device: torch.device) -> Counter[nn.Module]:
    """Count the calls of each module in one pass over two texts that share their first token.

    Raises `GradPrismError` for a model that fails, looks ahead, or puts tokens before examples.
    """
    uses = Counter[nn.Module]()
    mixed: list[nn.Module] = []

    def count(module: nn.Module, _: Any, output: Tensor) -> None:
        uses[module] += 1
        if _is_mixed(output):
            mixed.append(module)

    handles = [module.register_forward_hook(count) for module in modules]
    try:
        with torch.no_grad(), evaluating(model):
            logits = model(input_ids=torch.tensor(_TEXTS, device=device), use_cache=False).logits
    except (RuntimeError, ValueError, TypeError, AttributeError, LookupError, ImportError, AssertionError) as error:
        raise GradPrismError(
            f"{type(model).__name__} cannot read a text of three tokens: {type(error).__name__}: {error}\n"
            "Expected a causal language model that takes input_ids alone."
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    if _differ(logits[0, 0], logits[1, 0]):
        raise GradPrismError(
            f"{type(model).__name__} looks ahead: what it predicts after a token depends on the tokens that follow. "
            "Expected a causal language model; of an encoder, one with `is_decoder` in its configuration."
        )
    if mixed:
        path = next(path for path, module in model.named_modules() if module is mixed[0])
        raise GradPrismError(
            f"{path} does not see the tokens of one example after those of another: they are in another order, such "
            "as (tokens, batch, d). Expected (batch, tokens, d), or the same flattened."
        )
    return uses


def _is_mixed(values: Tensor) -> bool:
    """Check whether the outputs of a projection are laid out as (tokens, batch), flattened or not.

    By causality those of the first token, which the texts share, are equal. Other shapes are checked when measured.
    """
    sizes = [n for n in values.shape[:-1] if n > 1]
    if sizes not in ([2, 3], [6]):
        return sizes == [3, 2]
    first, second = values.reshape(2, 3, -1)[:, 0]
    return _differ(first, second)


def _differ(a: Tensor, b: Tensor) -> bool:
    """Check whether two rows of one batch differ by more than rounding: their sums may be in another order."""
    rounding = 0.02 if torch.finfo(a.dtype).bits < 32 else 1e-3
    return bool((a.float() - b.float()).abs().max() > rounding * a.abs().max())


def _notes_on_unused(projections: Sequence[Projection]) -> list[str]:
    """Note the projections that are not used, with their layers."""
    by_layers: dict[tuple[int, ...], list[str]] = {}
    for name in dict.fromkeys(p.name for p in projections):
        layers = tuple(p.layer for p in projections if p.name == name)
        by_layers.setdefault(layers, []).append(name)
    return [
        f"Not used when the model reads text: {', '.join(these)} of {layers_in_words(layers)}."
        for layers, these in by_layers.items()
    ]
