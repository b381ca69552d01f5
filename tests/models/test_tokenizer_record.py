"""The record of a tokenizer: equal for checkpoints that cut texts into the same tokens, other for any other."""

import copy
from pathlib import Path
from typing import Any

from gradprism.models.record import tokenizer_record


def test_a_saved_copy_has_the_same_record(tokenizer: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    assert tokenizer_record(AutoTokenizer.from_pretrained(tmp_path)) == tokenizer_record(tokenizer)


def test_a_further_token_changes_the_digest(tokenizer: Any) -> None:
    other = copy.deepcopy(tokenizer)
    other.add_tokens(["gradient"])
    assert tokenizer_record(other)["tokenizer"] != tokenizer_record(tokenizer)["tokenizer"]


def test_other_splitting_of_one_vocabulary_changes_the_digest(tokenizer: Any) -> None:
    from tokenizers import pre_tokenizers

    other = copy.deepcopy(tokenizer)
    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert other.get_vocab() == tokenizer.get_vocab()
    assert tokenizer_record(other)["tokenizer"] != tokenizer_record(tokenizer)["tokenizer"]


def test_the_chat_template_has_a_digest_of_its_own(tokenizer: Any) -> None:
    other = copy.deepcopy(tokenizer)
    other.chat_template = None
    found = tokenizer_record(other)
    assert found == {"tokenizer": tokenizer_record(tokenizer)["tokenizer"], "chat_template": None}
