"""Settings of the quality metrics."""

import re
from typing import Literal

from pydantic import ConfigDict, Field, field_validator

from gradprism.core.settings import Settings, iso_date
from gradprism.models.settings import Dtype


class LikelihoodSettings(Settings):
    """The settings of IFD."""

    style: Literal["matched", "superfiltering"] = "matched"
    """Style of IFD: `matched` scores exactly the same response tokens with and without the prompt; `superfiltering` is
    the published formula (response tokenised by itself, its first token not scored)."""
    ifd_value: Literal["ppl", "loss"] = "ppl"
    """Ratio that is the value of IFD: of perplexities or of mean losses."""


class JudgeSettings(Settings):
    """The language model that judges (instag, difficulty), its prompt and its answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)  # an address may hold a password

    judge: str | None = None
    """Model name at the endpoint, or local:MODEL for one that runs here (hub id, folder, .gguf, built-in name)."""
    base_url: str | None = None
    """OpenAI-compatible endpoint, such as http://localhost:8000/v1; by default the OpenAI service."""
    key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key. The key itself is written nowhere."""
    judge_template: str | None = None
    """Jinja file with your own prompt; its variables are instruction, response, conversation and tools."""
    judge_max_tokens: int = Field(default=1024, ge=1)
    """Maximum number of tokens of an answer; one that is cut there has no value."""
    temperature: float = Field(default=0.0, ge=0)
    """Sampling temperature of the judge."""
    judge_dtype: Dtype = "float32"
    """Type of a local judge's weights and activations."""

    @field_validator("base_url")
    @classmethod
    def _without_secrets(cls, url: str | None) -> str | None:
        """Refuse an address with a password or query, since it is saved with the run."""
        if url and ("@" in url or "?" in url):
            raise ValueError("holds a password or a query; expected a plain address, and the key in the environment")
        return url


class RequestSettings(Settings):
    """The settings of requests to an endpoint. None of them changes an answer."""

    concurrency: int = Field(default=8, ge=1)
    """Maximum number of concurrent requests."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Maximum number of requests per minute; no limit by default."""
    request_timeout: float = Field(default=120.0, gt=0)
    """Seconds until a request times out and is retried."""
    retries: int = Field(default=6, ge=0)
    """Number of retries after a failed connection, a time-out, a 429 or a 5xx."""
    cache: str | None = None
    """File that caches answers, keyed by the request; by default judge-cache.sqlite in the run."""
    price: str | None = None
    """Price of a million tokens, IN,OUT, for the estimate of --dry-run."""

    @field_validator("price")
    @classmethod
    def _two_numbers(cls, text: str | None) -> str | None:
        if text is not None and not re.fullmatch(r"\s*\d+(\.\d+)?\s*,\s*\d+(\.\d+)?\s*", text):
            raise ValueError("expected two numbers, IN,OUT, such as 0.15,0.60")
        return text

    @property
    def prices(self) -> tuple[float, float] | None:
        """The prices of a million tokens read, and of a million written."""
        if self.price is None:
            return None
        read, written = map(float, self.price.split(","))
        return read, written


class RewardSettings(Settings):
    """The reward model, and its output."""

    reward_model: str | None = None
    """Hub id or folder of a sequence classifier."""
    reward_revision: str | None = None
    """Branch, tag or commit of a hub model."""
    reward_dtype: Dtype = "float32"
    """Type of its weights and activations."""
    reward_output: str | None = None
    """Name or number of the output that is the reward, where the model has several."""
    reward_template: str | None = None
    """Jinja chat template, where the tokenizer has none."""
    reward_date: str | None = None
    """The day that its chat template prints, YYYY-MM-DD, if it prints one; by default that of --date, else the day
    the scores were begun."""
    reward_trust_remote_code: bool = False
    """Run modelling code that the checkpoint brings. Only for sources you trust."""
    reward_allow_pickle: bool = False
    """Load pickled (.bin) weights. Only for sources you trust."""
    reward_max_length: int = Field(default=4096, ge=2)
    """Tokens kept of a conversation; longer ones are cut on the right, and recorded as truncated."""

    _is_a_day = field_validator("reward_date")(iso_date)
