"""Read and tokenise a data set, before any weights are loaded."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gradprism.core.errors import GradPrismError
from gradprism.core.summary_lines import describe_text
from gradprism.data.encode import Encoded, Encoder, choose_template, make_encoder, with_date
from gradprism.data.example import Example, RowProblemError
from gradprism.data.example_set import ExampleSet, open_examples
from gradprism.data.settings import ReadSettings, TextSettings
from gradprism.inspection.unusual_rows import UnusualRows
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.positions import position_limit
from gradprism.models.settings import CheckpointSettings


@dataclass(frozen=True)
class InspectedExample:
    """One example as it will be used; `pieces` are its tokens as text, each with whether it is in the loss."""

    example: Example
    encoded: Encoded | None
    pieces: tuple[tuple[str, bool], ...]
    problem: str | None


@dataclass(frozen=True)
class Inspection:
    """A data set's format and schema, some examples in full, and counts over all rows."""

    examples: ExampleSet
    shown: tuple[InspectedExample, ...]  # the first rows
    unusual: tuple[tuple[str, InspectedExample], ...]  # rows unlike the others, each with what is unusual about it
    lengths: tuple[int, ...]  # tokens of every usable row; empty without a tokenizer
    response_lengths: tuple[int, ...]
    n_truncated: int
    problems: dict[str, int]
    left_out: dict[str, int]  # rows whose template does not show a part of the context, by that part
    template: str | None  # in words, with why it is this one; None without a tokenizer


def inspect(
    data: Any,
    checkpoint: CheckpointSettings | None,
    read: ReadSettings,
    text: TextSettings,
    show: int = 3,
) -> Inspection:
    """Read and tokenise a data set. Loads a tokenizer where a model is named, and never any weights.

    Shows the first `show` rows, and at most as many that are unusual.
    """
    examples = open_examples(data, read)
    encoder, template = _make_encoder(checkpoint, text, examples.n_conversations) if checkpoint else (None, None)
    shown, unusual = list[InspectedExample](), UnusualRows(show)
    lengths, responses, truncated, problems, left_out = [], [], 0, Counter[str](), Counter[str]()
    for example in examples:
        encoded, problem = _encode_or_problem(example, encoder)
        if len(shown) < show:
            shown.append(_inspect_example(example, encoder, encoded, problem))
        else:
            unusual.add(example, encoded, problem)
        if problem:
            problems[problem] += 1
        elif encoded:
            lengths.append(encoded.n_tokens)
            responses.append(encoded.n_response_tokens)
            truncated += encoded.truncated
            left_out.update(encoded.left_out)
    found = tuple(
        (why, _inspect_example(example, encoder, *_encode_or_problem(example, encoder)))
        for why, example in unusual.found()
    )
    return Inspection(
        examples,
        tuple(shown),
        found,
        tuple(lengths),
        tuple(responses),
        truncated,
        dict(problems),
        dict(left_out),
        template,
    )


def _make_encoder(settings: CheckpointSettings, text: TextSettings, n_conversations: int) -> tuple[Encoder, str]:
    """Return the encoder that a run would have, and its template in words."""
    checkpoint = find_checkpoint(settings, weights=False)
    tokenizer = checkpoint.load_tokenizer()
    with suppress(GradPrismError):  # a folder with a tokenizer alone is enough to look at the text
        text = text.at_most(position_limit(checkpoint.load_config()))
    text, why = choose_template(text, tokenizer, n_conversations)
    text = with_date(text, tokenizer)
    return make_encoder(tokenizer, text), describe_text({**text.model_dump(), "why": why})


def _encode_or_problem(example: Example, encoder: Encoder | None) -> tuple[Encoded | None, str | None]:
    """Return the tokens of an example where there is a tokenizer, or why it would be skipped."""
    if example.problem:
        return None, example.problem
    try:
        return encoder.encode(example) if encoder else None, None
    except RowProblemError as problem:
        return None, str(problem)


def _inspect_example(
    example: Example, encoder: Encoder | None, encoded: Encoded | None, problem: str | None
) -> InspectedExample:
    pieces = _pieces(encoder.tokenizer, encoded) if encoder and encoded else ()
    return InspectedExample(example, encoded, pieces, problem)


def _pieces(tokenizer: Any, encoded: Encoded) -> tuple[tuple[str, bool], ...]:
    """Decode runs of tokens together, split where the loss begins or ends."""
    pieces: list[tuple[str, bool]] = []
    start = 0
    mask: Sequence[bool] = encoded.response_mask
    for stop in range(1, len(mask) + 1):
        if stop == len(mask) or mask[stop] != mask[start]:
            text = tokenizer.decode(list(encoded.ids[start:stop]), clean_up_tokenization_spaces=False)
            pieces.append((text, mask[start]))
            start = stop
    return tuple(pieces)
