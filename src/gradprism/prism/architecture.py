"""Resolve the path of a user's architecture description, and compute its digest."""

from gradprism.files.paths import absolute_path
from gradprism.files.records import short_digest
from gradprism.prism.settings import PrismSettings


def resolved_prism(prism: PrismSettings) -> PrismSettings:
    """Return the settings with the path of the architecture description made absolute."""
    return prism.model_copy(update={"architecture": absolute_path(prism.architecture)}) if prism.architecture else prism


def architecture_digest(prism: PrismSettings) -> dict[str, str]:
    """Return the digest of the architecture description, as an entry of a run's identity; empty where none is given.

    Raises `GradPrismError` where the description cannot be used.
    """
    if not prism.architecture:
        return {}
    from gradprism.models.projections.architecture import read_architecture  # loads torch

    text = read_architecture(prism.architecture).model_dump_json(exclude_none=True)
    return {"architecture digest": short_digest(text)}
