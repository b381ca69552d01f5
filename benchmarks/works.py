"""The works that cost is measured on: a model and the examples that go through it, as token ids."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, PreTrainedTokenizerFast, Qwen2Config

from gradprism.data.encode import Encoded, make_encoder
from gradprism.data.example import Example, RowProblemError
from gradprism.data.example_set import open_examples
from gradprism.data.settings import ReadSettings, TextSettings
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.settings import CheckpointSettings

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "examples" / "sample.jsonl"
MAX_LENGTH = 2048
RESPONSE_SHARE = 0.8  # of the tokens of a random example; 0.81 in the 200 WizardLM rows of highest reward

Encodeds = Sequence[tuple[Example, Encoded]]


@dataclass(frozen=True)
class Work:
    """A model with its examples. `target`: the most of `plain`, and the least gain over the published way."""

    name: str
    load: Callable[[], tuple[Any, Any, Encodeds]]
    """Model, tokenizer, examples."""
    target: tuple[float, float] | None = None


def smollm2(data: Path, rows: int | None) -> tuple[Any, Any, Encodeds]:
    """Real weights, and the first `rows` usable rows of a file of real text."""
    checkpoint = find_checkpoint(CheckpointSettings(model="smollm2-135m"), print)
    tokenizer = checkpoint.load_tokenizer()
    encoder = make_encoder(tokenizer, TextSettings(max_length=MAX_LENGTH))
    encoded = []
    for example in open_examples(str(data), ReadSettings()):
        try:
            encoded.append((example, encoder.encode(example)))
        except RowProblemError:
            continue
        if len(encoded) == rows:
            break
    return checkpoint.load_model(), tokenizer, encoded


def random_model(config: PreTrainedConfig, n_tokens: int, rows: int = 2) -> tuple[Any, Any, Encodeds]:
    """Random weights of a configuration, and random tokens of which four in five are the response."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    return model, unused_tokenizer(), [random_example(row, n_tokens, config.vocab_size) for row in range(rows)]


def random_example(row: int, n_tokens: int, vocabulary: int) -> tuple[Example, Encoded]:
    """One example of random tokens, always the same for a row."""
    ids = torch.randint(vocabulary, (n_tokens,), generator=torch.Generator().manual_seed(row)).tolist()
    n_prompt = round(n_tokens * (1 - RESPONSE_SHARE))
    encoded = Encoded(tuple(ids), (False,) * n_prompt + (True,) * (n_tokens - n_prompt), truncated=False)
    return Example(row=row, example_id=str(row), turns=()), encoded


def llama_1b(layers: int, n_layers_of_model: int = 16) -> LlamaConfig:
    """The shape of Llama-3.2-1B with fewer layers; its vocabulary shrinks with them, so that each keeps its share."""
    return LlamaConfig(
        vocab_size=128256 * layers // n_layers_of_model, hidden_size=2048, intermediate_size=8192,
        num_hidden_layers=layers, num_attention_heads=32, num_key_value_heads=8, head_dim=64,
        tie_word_embeddings=True, max_position_embeddings=8192,
    )  # fmt: skip


def llama_shape(width: int, layers: int) -> LlamaConfig:
    """Proportions of a Llama, whatever the width: heads of 64, a quarter of them for keys and values."""
    return LlamaConfig(
        vocab_size=8192, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
        num_attention_heads=width // 64, num_key_value_heads=width // 256, head_dim=64,
        tie_word_embeddings=True, max_position_embeddings=8192,
    )  # fmt: skip


def qwen_7b(layers: int, n_layers_of_model: int = 28) -> Qwen2Config:
    """The shape of Qwen2.5-7B, shrunk in the same way."""
    return Qwen2Config(
        vocab_size=152064 * layers // n_layers_of_model, hidden_size=3584, intermediate_size=18944,
        num_hidden_layers=layers, num_attention_heads=28, num_key_value_heads=4,
        tie_word_embeddings=False, max_position_embeddings=8192,
    )  # fmt: skip


def unused_tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer for models whose tokens are random: it is asked for, and never used."""
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, unk_token="a")))


def the_four(reward_data: Path | None) -> list[Work]:
    """The works that a change is judged by; `reward_data` is the folder of WizardLM's rows sorted by reward."""
    if reward_data:
        long, short = (reward_data / f"wiz_10k_{end}_200.json" for end in ("highest", "lowest"))
        real = [
            Work("smollm2-135m, T≈1,200", lambda: smollm2(long, 10), (0.85, 2.1)),
            Work("smollm2-135m, T≈190", lambda: smollm2(short, 10), (0.80, 4.2)),
        ]
    else:
        real = [Work("smollm2-135m, embedded sample", lambda: smollm2(SAMPLE, 10))]
    return [
        *real,
        Work("width 2048, 4 layers, T=300", lambda: random_model(llama_1b(4), 300), (0.58, 7.0)),
        Work("width 3584, 2 layers, T=512", lambda: random_model(qwen_7b(2), 512), (0.55, 6.0)),
    ]
