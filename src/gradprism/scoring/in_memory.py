"""Metrics of rows in memory: each a function that returns a table, without a run."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import say_nothing
from gradprism.core.python_options import PythonOptions
from gradprism.data.example import Example
from gradprism.data.example_set import open_examples
from gradprism.models.builtin import cache_folder
from gradprism.models.sources import LoadedModel
from gradprism.scoring.api import score_recipe, with_resolved_text
from gradprism.scoring.metrics import make_metric
from gradprism.scoring.settings import ScoreRecipe

_IFD = PythonOptions(ScoreRecipe, ("read", "text", "checkpoint", "likelihood", "execution"), but=("model",))
_LIKELIHOOD = PythonOptions(ScoreRecipe, ("read", "text", "checkpoint", "execution"), but=("model",))
_REWARD = PythonOptions(ScoreRecipe, ("read", "text", "reward", "execution"), but=("reward_model",))
_JUDGE = PythonOptions(ScoreRecipe, ("read", "text", "judge", "requests", "execution"), but=("judge",))


@_IFD
def ifd(
    data: Any,
    model: Any = "smollm2-135m",
    *,
    tokenizer: Any = None,
    columns: str | Mapping[str, str] = "",
    split: str | None = None,
    config: str | None = None,
    rows: str | None = None,
    sample: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    max_row_bytes: int = 2**26,
    template: str | Path = "auto",
    system: str | None = None,
    date: str | None = None,
    turns: Literal["all", "last"] = "all",
    end_of_turn: bool = True,
    max_length: int = 2048,
    response_tokens: int | None = None,
    prompt_tokens: int | None = None,
    revision: str | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32",
    from_scratch: bool = False,
    init_seed: int = 0,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    adapter: str | Path | None = None,
    adapter_revision: str | None = None,
    quantization: Literal["bnb-8bit", "bnb-4bit", "torchao-int8"] | None = None,
    style: Literal["matched", "superfiltering"] = "matched",
    ifd_value: Literal["ppl", "loss"] = "ppl",
    device: str = "auto",
    batch_tokens: int | None = None,
    threads: int | None = None,
    device_map: str | Path | None = None,
    max_memory: str | Mapping[str, str] | None = None,
    offload_folder: str | Path | None = None,
) -> pl.DataFrame:
    """Compute the instruction-following difficulty of each row: its `value`, and the sums it is computed from."""
    return _score_in_memory("ifd", data, model, tokenizer, _IFD.given(locals()))


@_LIKELIHOOD
def loss(
    data: Any,
    model: Any = "smollm2-135m",
    *,
    tokenizer: Any = None,
    columns: str | Mapping[str, str] = "",
    split: str | None = None,
    config: str | None = None,
    rows: str | None = None,
    sample: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    max_row_bytes: int = 2**26,
    template: str | Path = "auto",
    system: str | None = None,
    date: str | None = None,
    turns: Literal["all", "last"] = "all",
    end_of_turn: bool = True,
    max_length: int = 2048,
    response_tokens: int | None = None,
    prompt_tokens: int | None = None,
    revision: str | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32",
    from_scratch: bool = False,
    init_seed: int = 0,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    adapter: str | Path | None = None,
    adapter_revision: str | None = None,
    quantization: Literal["bnb-8bit", "bnb-4bit", "torchao-int8"] | None = None,
    device: str = "auto",
    batch_tokens: int | None = None,
    threads: int | None = None,
    device_map: str | Path | None = None,
    max_memory: str | Mapping[str, str] | None = None,
    offload_folder: str | Path | None = None,
) -> pl.DataFrame:
    """Compute the mean negative log-likelihood of each row's response, in nats per token."""
    return _score_in_memory("loss", data, model, tokenizer, _LIKELIHOOD.given(locals()))


@_LIKELIHOOD
def perplexity(
    data: Any,
    model: Any = "smollm2-135m",
    *,
    tokenizer: Any = None,
    columns: str | Mapping[str, str] = "",
    split: str | None = None,
    config: str | None = None,
    rows: str | None = None,
    sample: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    max_row_bytes: int = 2**26,
    template: str | Path = "auto",
    system: str | None = None,
    date: str | None = None,
    turns: Literal["all", "last"] = "all",
    end_of_turn: bool = True,
    max_length: int = 2048,
    response_tokens: int | None = None,
    prompt_tokens: int | None = None,
    revision: str | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32",
    from_scratch: bool = False,
    init_seed: int = 0,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    adapter: str | Path | None = None,
    adapter_revision: str | None = None,
    quantization: Literal["bnb-8bit", "bnb-4bit", "torchao-int8"] | None = None,
    device: str = "auto",
    batch_tokens: int | None = None,
    threads: int | None = None,
    device_map: str | Path | None = None,
    max_memory: str | Mapping[str, str] | None = None,
    offload_folder: str | Path | None = None,
) -> pl.DataFrame:
    """Compute exp(loss) of each row's response."""
    return _score_in_memory("perplexity", data, model, tokenizer, _LIKELIHOOD.given(locals()))


@_LIKELIHOOD
def length(
    data: Any,
    model: Any = "smollm2-135m",
    *,
    tokenizer: Any = None,
    columns: str | Mapping[str, str] = "",
    split: str | None = None,
    config: str | None = None,
    rows: str | None = None,
    sample: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    max_row_bytes: int = 2**26,
    template: str | Path = "auto",
    system: str | None = None,
    date: str | None = None,
    turns: Literal["all", "last"] = "all",
    end_of_turn: bool = True,
    max_length: int = 2048,
    response_tokens: int | None = None,
    prompt_tokens: int | None = None,
    revision: str | None = None,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32",
    from_scratch: bool = False,
    init_seed: int = 0,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    adapter: str | Path | None = None,
    adapter_revision: str | None = None,
    quantization: Literal["bnb-8bit", "bnb-4bit", "torchao-int8"] | None = None,
    device: str = "auto",
    batch_tokens: int | None = None,
    threads: int | None = None,
    device_map: str | Path | None = None,
    max_memory: str | Mapping[str, str] | None = None,
    offload_folder: str | Path | None = None,
) -> pl.DataFrame:
    """Count the tokens of each row's response, by the model's tokenizer."""
    return _score_in_memory("length", data, model, tokenizer, _LIKELIHOOD.given(locals()))


@_REWARD
def reward(
    data: Any,
    model: Any,
    *,
    tokenizer: Any = None,
    columns: str | Mapping[str, str] = "",
    split: str | None = None,
    config: str | None = None,
    rows: str | None = None,
    sample: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    max_row_bytes: int = 2**26,
    template: str | Path = "auto",
    system: str | None = None,
    date: str | None = None,
    turns: Literal["all", "last"] = "all",
    end_of_turn: bool = True,
    max_length: int = 2048,
    response_tokens: int | None = None,
    prompt_tokens: int | None = None,
    reward_revision: str | None = None,
    reward_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32",
    reward_output: str | None = None,
    reward_template: str | Path | None = None,
    reward_date: str | None = None,
    reward_trust_remote_code: bool = False,
    reward_allow_pickle: bool = False,
    reward_max_length: int = 4096,
    device: str = "auto",
    batch_tokens: int | None = None,
    threads: int | None = None,
    device_map: str | Path | None = None,
    max_memory: str | Mapping[str, str] | None = None,
    offload_folder: str | Path | None = None,
) -> pl.DataFrame:
    """Compute the reward of each conversation; `model` is a name, or a loaded classifier with its `tokenizer`."""
    options = _REWARD.given(locals())
    loaded = not isinstance(model, str | Path)
    if tokenizer is not None and not loaded:
        raise GradPrismError("Given a tokenizer, and no loaded model that it belongs to. Expected both, or neither.")
    options["reward_model"] = type(model).__name__ if loaded else str(model)
    recipe, _ = score_recipe(data, "reward", None, None, "none", options)  # no run is made
    classifier = LoadedModel(model, tokenizer) if loaded else None
    metric = make_metric("reward", recipe, None, say_nothing, classifier=classifier)
    return metric.table(_examples(data, recipe))


@_JUDGE
def instag(
    data: Any,
    judge: str,
    *,
    columns: str | Mapping[str, str] = "",
    split: str | None = None,
    config: str | None = None,
    rows: str | None = None,
    sample: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    max_row_bytes: int = 2**26,
    template: str | Path = "auto",
    system: str | None = None,
    date: str | None = None,
    turns: Literal["all", "last"] = "all",
    end_of_turn: bool = True,
    max_length: int = 2048,
    response_tokens: int | None = None,
    prompt_tokens: int | None = None,
    base_url: str | None = None,
    key_env: str = "OPENAI_API_KEY",
    judge_template: str | Path | None = None,
    judge_max_tokens: int = 1024,
    temperature: float = 0.0,
    judge_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32",
    concurrency: int = 8,
    requests_per_minute: int | None = None,
    request_timeout: float = 120.0,
    retries: int = 6,
    cache: str | Path | None = None,
    price: str | Sequence[float] | None = None,
    device: str = "auto",
    batch_tokens: int | None = None,
    threads: int | None = None,
    device_map: str | Path | None = None,
    max_memory: str | Mapping[str, str] | None = None,
    offload_folder: str | Path | None = None,
) -> pl.DataFrame:
    """Count the intent tags that a judge gives each row's instruction; the table also has the tags."""
    return _score_in_memory("instag", data, None, None, _JUDGE.given(locals()) | {"judge": judge})


@_JUDGE
def difficulty(
    data: Any,
    judge: str,
    *,
    columns: str | Mapping[str, str] = "",
    split: str | None = None,
    config: str | None = None,
    rows: str | None = None,
    sample: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    max_row_bytes: int = 2**26,
    template: str | Path = "auto",
    system: str | None = None,
    date: str | None = None,
    turns: Literal["all", "last"] = "all",
    end_of_turn: bool = True,
    max_length: int = 2048,
    response_tokens: int | None = None,
    prompt_tokens: int | None = None,
    base_url: str | None = None,
    key_env: str = "OPENAI_API_KEY",
    judge_template: str | Path | None = None,
    judge_max_tokens: int = 1024,
    temperature: float = 0.0,
    judge_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32",
    concurrency: int = 8,
    requests_per_minute: int | None = None,
    request_timeout: float = 120.0,
    retries: int = 6,
    cache: str | Path | None = None,
    price: str | Sequence[float] | None = None,
    device: str = "auto",
    batch_tokens: int | None = None,
    threads: int | None = None,
    device_map: str | Path | None = None,
    max_memory: str | Mapping[str, str] | None = None,
    offload_folder: str | Path | None = None,
) -> pl.DataFrame:
    """Rate the difficulty of each row's instruction from 1 to 10, by a judge."""
    return _score_in_memory("difficulty", data, None, None, _JUDGE.given(locals()) | {"judge": judge})


def _score_in_memory(name: str, data: Any, model: Any, tokenizer: Any, options: dict[str, Any]) -> pl.DataFrame:
    """Score all rows by one metric, without a run. A judge's answers are cached in the user's cache folder."""
    if "judge" in options:
        options.setdefault("cache", str(cache_folder().parent / "judge-cache.sqlite"))
    with tempfile.TemporaryDirectory(prefix="gradprism-") as scratch:
        recipe, source = score_recipe(data, name, model, tokenizer, scratch, options)
        examples = _examples(data, recipe)
        recipe = with_resolved_text(recipe, source, sum(example.is_conversation for example in examples))
        return make_metric(name, recipe, source, say_nothing).table(examples)


def _examples(data: Any, recipe: ScoreRecipe) -> Sequence[Example]:
    are_examples = isinstance(data, Sequence) and len(data) > 0 and all(isinstance(item, Example) for item in data)
    return data if are_examples else list(open_examples(data, recipe.read))
