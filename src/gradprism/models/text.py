"""Text settings of a run: template, date and greatest length, resolved for its rows and its model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradprism.data.encode import BUILTIN_TEMPLATES, choose_template, read_template, with_date
from gradprism.data.settings import TextSettings
from gradprism.files.paths import absolute_path
from gradprism.files.records import short_digest
from gradprism.models.positions import position_limit
from gradprism.models.sources import ModelSource

METHOD = 2
"""Version of the way from rows to loss; a run of another version is not resumed."""


@dataclass(frozen=True)
class ResolvedText:
    """Settings of the text with nothing left open, and the reason for the template."""

    settings: TextSettings
    why: str


def resolve_text(
    text: TextSettings, source: ModelSource, config: Any, n_conversations: int, recorded: Mapping[str, Any]
) -> ResolvedText:
    """Resolve template, date and greatest length. Of a run that is resumed, `recorded` is its identity; else empty."""
    tokenizer = source.load_tokenizer()
    settings, why = choose_template(text, tokenizer, n_conversations)
    template = settings.template if settings.template in BUILTIN_TEMPLATES else absolute_path(settings.template)
    settings = with_date(settings, tokenizer, recorded.get("text.date")).at_most(position_limit(config))
    return ResolvedText(settings.model_copy(update={"template": template}), why)


def text_identity(text: TextSettings) -> dict[str, Any]:
    """Return the method's version and the digest of a template's text, in which a resumed run must agree."""
    if text.template in BUILTIN_TEMPLATES:
        return {"method": METHOD}
    return {"method": METHOD, "template digest": short_digest(read_template(text.template))}
