"""Texts of single tokens: joined they are the whole text, whatever the tokenizer does at its ends."""

from typing import Any

import pytest

from gradprism.data.pieces import TokenPieces

TEXTS = (
    "Plain words, and more.",
    " begins with a blank",
    "日本語 and 😀 of several bytes",
    "a�b",
    "",
    "tabs\tand\n\nlines\n",
)


@pytest.mark.parametrize("text", TEXTS)
def test_pieces_of_a_byte_level_tokenizer(text: str, tokenizer: Any) -> None:
    ids = tokenizer(text)["input_ids"]
    pieces = TokenPieces(tokenizer).of(ids)
    assert ("".join(pieces), len(pieces)) == (text, len(ids))


def test_a_character_of_several_tokens_belongs_to_the_last(tokenizer: Any) -> None:
    ids = tokenizer("x😀y")["input_ids"]
    pieces = TokenPieces(tokenizer).of(ids)
    assert len(ids) > 3
    assert pieces == ["x", *[""] * (len(ids) - 3), "😀", "y"]


def test_special_tokens_are_shown(tokenizer: Any) -> None:
    ids = tokenizer("<|turn|>user\nhi<|end|>")["input_ids"]
    assert TokenPieces(tokenizer).of(ids)[0] == "<|turn|>"
    assert TokenPieces(tokenizer).of(ids)[-1] == "<|end|>"


def test_a_decoder_that_drops_the_first_blank_drops_it_once(tokenizer: Any) -> None:
    """As those of Llama 2 and Mistral do: each token alone would lose the blank in front of it."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate(["▁the", "▁blue", "▁sky", "?"])}, unk_token="?")
    )
    core.pre_tokenizer, core.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made = PreTrainedTokenizerFast(tokenizer_object=core)
    assert TokenPieces(made).of(made("the blue sky the")["input_ids"]) == ["the", " blue", " sky", " the"]
