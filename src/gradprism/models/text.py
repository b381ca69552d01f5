"""How the rows of a run become text: the template that fits them, the date that it prints, the length of the model."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradprism.data.encode import BUILTIN_TEMPLATES, choose_template, read_template, with_date
from gradprism.data.settings import TextSettings
from gradprism.files.places import absolute
from gradprism.models.positions import position_limit
from gradprism.models.sources import ModelSource

METHOD = 2
"""Counts how often the way from rows to loss has changed: a run is never made of two."""


@dataclass(frozen=True)
class ResolvedText:
    """Settings of the text with nothing left open, and why the template is this one."""

    settings: TextSettings
    why: str


def resolve_text(
    text: TextSettings, source: ModelSource, config: Any, n_conversations: int, begun: Mapping[str, Any]
) -> ResolvedText:
    """Settle template, date and greatest length; `begun` is the identity of what is gone on with, if there is any."""
    tokenizer = source.load_tokenizer()
    settings, why = choose_template(text, tokenizer, n_conversations)
    template = settings.template if settings.template in BUILTIN_TEMPLATES else absolute(settings.template)
    settings = with_date(settings, tokenizer, begun.get("text.date")).at_most(position_limit(config))
    return ResolvedText(settings.model_copy(update={"template": template}), why)


def text_identity(text: TextSettings) -> dict[str, Any]:
    """Return what a resumed run must agree with beside the settings: how text is read, and the text of a template."""
    if text.template in BUILTIN_TEMPLATES:
        return {"method": METHOD}
    digest = hashlib.sha256(read_template(text.template).encode()).hexdigest()[:16]
    return {"method": METHOD, "template digest": digest}
