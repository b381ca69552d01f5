"""The description of an architecture that a user gives: where it lies, and its digest."""

import hashlib

from gradprism.files.places import absolute
from gradprism.prism.settings import PrismSettings


def resolved_prism(prism: PrismSettings) -> PrismSettings:
    """The description of an architecture as an absolute path."""
    return prism.model_copy(update={"architecture": absolute(prism.architecture)}) if prism.architecture else prism


def architecture_digest(prism: PrismSettings) -> dict[str, str]:
    """Tell two contents of one description apart; nothing where there is none. Raises `GradPrismError` if unusable."""
    if not prism.architecture:
        return {}
    from gradprism.models.projections.architecture import read_architecture  # loads torch

    text = read_architecture(prism.architecture).model_dump_json(exclude_none=True)
    return {"architecture digest": hashlib.sha256(text.encode()).hexdigest()[:16]}
