"""Describe where scores differ from the spectra of their run in the settings of model and text."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any

from gradprism.runs.run import Run
from gradprism.runs.values import score_behind

DECIDING = ("text.", "checkpoint.", "model fingerprint", "template digest", "method")
"""Prefixes of the settings of text and model, in the identity of spectra and of scores."""

_IN_WORDS: Mapping[str, tuple[str, str]] = {  # the words for a value, and for none; in the order of a sentence
    "checkpoint.model": ("of {}", "of a model without a name"),
    "checkpoint.revision": ("revision {}", ""),
    "model fingerprint": ("weights {:.16}", "weights without a fingerprint"),
    "checkpoint.dtype": ("in {}", ""),
    "checkpoint.from_scratch": ("random weights", "trained weights"),
    "checkpoint.init_seed": ("seed {}", ""),
    "checkpoint.adapter": ("with the adapter {}", "without an adapter"),
    "checkpoint.quantization": ("quantised: {}", "not quantised"),
    "text.template": ("template {}", ""),
    "template digest": ("its text {}", ""),
    "text.date": ("dated {}", "without a date"),
    "text.system": ("system prompt {!r}", "no system prompt added"),
    "text.max_length": ("at most {:,} tokens", ""),
    "text.turns": ("turns={}", ""),
    "text.end_of_turn": ("loss on the end of turn too", "no loss on the end of turn"),
    "text.response_tokens": ("exactly the first {:,} response tokens", "all response tokens"),
    "text.prompt_tokens": ("exactly the last {:,} prompt tokens", "all prompt tokens"),
    "method": ("by method {} of reading rows and taking their loss", "by the method of an earlier gradprism"),
}
_CONTENT_OF = {"checkpoint.model": "model fingerprint", "text.template": "template digest"}
"""A name -> the digest of its content: with equal digests names may differ; with other names digests always do."""


def own_settings(run: Run, name: str) -> str:
    """Describe how scores differ from the run's spectra in model and text, as in "of gpt2, at most 1,024 tokens".

    `name` is that of the scores. In a run without spectra they are compared with the other scores. Empty where nothing
    differs, and for scores by judges and reward models, which have no such settings.
    """
    own = _score_identity(run, name)
    others = [run.record["identity"]] if run.has_spectra else [_score_identity(run, other) for other in run.metrics]
    different = {key for other in others if own and other for key in _differences(own, other)}
    names = [key for key in _IN_WORDS if key in different] + sorted(different - {*_IN_WORDS})
    return ", ".join(filter(None, (_in_words(key, own.get(key)) for key in names)))


def notes_on_settings(run: Run, specs: Iterable[str]) -> Iterator[str]:
    """Yield a sentence for each of the scores behind the metrics `specs` whose settings differ from the spectra's."""
    than = "the spectra" if run.has_spectra else "the other scores"
    for name in dict.fromkeys(filter(None, (score_behind(run, spec) for spec in specs))):
        if words := own_settings(run, name):
            yield f"{name} has other settings than {than}: {words}."


def _score_identity(run: Run, name: str) -> Mapping[str, Any]:
    """Return the identity of scores by a causal language model; empty for other scores."""
    identity: Mapping[str, Any] = run.score_record(name).get("identity", {})
    return identity if "text.template" in identity else {}


def _differences(own: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    """Return the names of the settings that differ; of imported spectra only the model is known, if that."""
    imported = "checkpoint.model" not in other
    if imported and "model fingerprint" not in other:
        return {"checkpoint.model"}
    keys = {key for key in {*own, *other} if key.startswith(DECIDING)}
    if imported:
        keys -= {key for key in keys if key.startswith("checkpoint.") and key != "checkpoint.model"}
    different = {key for key in keys if (own.get(key) or None) != (other.get(key) or None)}  # none, or off
    for name, content in _CONTENT_OF.items():
        if own.get(content) and content not in different:
            different.discard(name)
        elif _last_part(own.get(name)) != _last_part(other.get(name)):
            different.discard(content)
    return different


def _last_part(value: Any) -> str:
    """Return the value as text; of an absolute path only the last part."""
    path = PurePath(str(value))
    return path.name if path.is_absolute() else str(value)


def _in_words(key: str, value: Any) -> str:
    if key not in _IN_WORDS:
        return f"{key} {value!r}"
    present, absent = _IN_WORDS[key]
    if value is None or value is False:
        return absent
    return present.format(_last_part(value) if isinstance(value, str) else value)
