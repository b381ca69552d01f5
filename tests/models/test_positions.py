"""Texts longer than a model has positions for are cut to what it can read: tried on each kind."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as hf

from gradprism import GradientAnalyzer
from gradprism.models.positions import position_limit

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
CAUSAL: dict[str, Callable[[int], Any]] = {
    "roberta": lambda n: hf.RobertaConfig(vocab_size=n, max_position_embeddings=34, is_decoder=True, **SIZES),
    "roberta, padding 5": lambda n: hf.RobertaConfig(
        vocab_size=n, max_position_embeddings=38, is_decoder=True, pad_token_id=5, **SIZES
    ),
    "xlm-roberta": lambda n: hf.XLMRobertaConfig(vocab_size=n, max_position_embeddings=34, is_decoder=True, **SIZES),
    "camembert": lambda n: hf.CamembertConfig(vocab_size=n, max_position_embeddings=34, is_decoder=True, **SIZES),
    "data2vec": lambda n: hf.Data2VecTextConfig(vocab_size=n, max_position_embeddings=34, is_decoder=True, **SIZES),
    "bert": lambda n: hf.BertConfig(vocab_size=n, max_position_embeddings=32, is_decoder=True, **SIZES),
    "gpt2": lambda n: hf.GPT2Config(vocab_size=n, n_positions=32, n_embd=32, n_layer=2, n_head=4),
    "opt": lambda n: hf.OPTConfig(
        vocab_size=n, max_position_embeddings=32, hidden_size=32, ffn_dim=48, num_hidden_layers=2,
        num_attention_heads=4, word_embed_proj_dim=32,
    ),
    "mpt": lambda n: hf.MptConfig(vocab_size=n, max_seq_len=32, d_model=32, n_layers=2, n_heads=4),
    "whisper": lambda n: hf.WhisperConfig(
        vocab_size=n, max_target_positions=32, d_model=32, decoder_layers=2, decoder_attention_heads=4,
        decoder_ffn_dim=48, encoder_layers=1, encoder_attention_heads=4, encoder_ffn_dim=48,
        pad_token_id=0, bos_token_id=0, eos_token_id=0, decoder_start_token_id=0,
    ),
}  # fmt: skip


def causal(config: Any) -> Any:
    torch.manual_seed(0)
    if config.model_type == "whisper":
        return hf.WhisperForCausalLM(config).eval()
    return hf.AutoModelForCausalLM.from_config(config).eval()


@pytest.mark.parametrize("kind", CAUSAL)
def test_a_row_that_is_too_long_is_cut_to_the_last_position(kind: str, tokenizer: Any) -> None:
    config = CAUSAL[kind](len(tokenizer))
    assert position_limit(config) == 32
    model = causal(config)
    if kind != "mpt":  # whose positions are slopes, and have no end
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, 33), 7))
    rows = [{"prompt": "a", "completion": "word " * 200}, {"prompt": "a", "completion": "b"}]
    examples = GradientAnalyzer(model, tokenizer, projections=("q", "v")).analyze(rows).examples
    assert examples["status"].to_list() == ["ok", "ok"], examples["reason"].to_list()
    assert examples["n_tokens"][0] == 32
    assert examples["truncated"].to_list() == [True, False]


def test_what_has_no_positions_of_its_own_has_no_limit() -> None:
    assert position_limit(hf.BloomConfig()) is None
    assert position_limit(hf.EsmConfig(vocab_size=33, pad_token_id=1, max_position_embeddings=1026)) == 1024
    rotary = hf.EsmConfig(vocab_size=33, pad_token_id=1, max_position_embeddings=1026, position_embedding_type="rotary")
    assert position_limit(rotary) == 1026
    assert position_limit(None) is None
