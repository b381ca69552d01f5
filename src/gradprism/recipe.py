"""The settings of each verb: frozen, checked when made, saved with every run and replayable from it."""

import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import yaml
from pydantic import ConfigDict, Field, field_validator, model_validator

from gradprism.core.errors import GradPrismError
from gradprism.core.settings import Settings, checked, grouped
from gradprism.models.positions import position_limit

if TYPE_CHECKING:
    from gradprism.compare_recipe import CompareRecipe
    from gradprism.import_recipe import ImportRecipe
    from gradprism.select_recipe import SelectRecipe
    from gradprism.study_recipe import StudyRecipe

    Recipe: TypeAlias = "SpectraRecipe | ScoreRecipe | SelectRecipe | CompareRecipe | ImportRecipe | StudyRecipe"

IN_MEMORY = ("(Python objects)",)
"""What a recipe says of its data where no file was given."""

Precision = Literal["exact", "balanced", "fast"]
Quantization = Literal["bnb-8bit", "bnb-4bit", "torchao-int8"]
DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
"""Ways of spreading a model that accelerate works out by itself."""


class ReadSettings(Settings):
    """Which rows, and what their columns mean."""

    columns: str = ""
    """Which column is which, where that is not found by itself: prompt=NAME,response=NAME
    (roles: prompt, input, response, messages, system, history, tools, id). Columns that are not named are not read; a
    row may lack any but prompt, response and messages. response=A+B is the text of A, a newline, and that of B."""
    split: str | None = None
    """Split of a hub data set, a saved `datasets` folder, or a folder of files (by their names, or their folders')."""
    config: str | None = None
    """Configuration of a hub data set, or the folder in a folder that is called so."""
    rows: str | None = None
    """Only the rows A:B, counted from 0, B left out."""
    sample: int | None = Field(default=None, ge=1)
    """Take N rows at random, without replacement."""
    seed: int = 0
    """Seed of --sample, and of what select draws: ties and the random baseline."""
    limit: int | None = Field(default=None, ge=1)
    """Stop after the first N of the rows chosen so far."""


def _iso_date(text: str | None) -> str | None:
    return None if text is None else date.fromisoformat(text).isoformat()


class TextSettings(Settings):
    """How text becomes tokens, and which tokens carry the loss."""

    template: str = "auto"
    """`paper` (prompt, newline, response), `chat` (the tokenizer's chat template), or a Jinja file in chat-template
    form. By itself (`auto`) chat for data that hold conversations, where the tokenizer has a template, else paper."""
    system: str | None = None
    """System prompt for examples that bring none."""
    date: str | None = None
    """The day that a chat template prints, YYYY-MM-DD, where it prints one; by itself the day the run began."""
    turns: Literal["all", "last"] = "all"
    """Loss on every assistant turn, or on the last one only."""
    end_of_turn: bool = True
    """Whether the token that ends an assistant turn is part of the loss (`paper` writes none)."""
    max_length: int = Field(default=2048, ge=2)
    """Tokens kept of an example; longer ones are cut on the right, and recorded as truncated."""
    response_tokens: int | None = Field(default=None, ge=1)
    """Keep exactly the first N tokens that carry the loss, and nothing after them; examples with fewer are skipped."""
    prompt_tokens: int | None = Field(default=None, ge=1)
    """Keep exactly the last N tokens before the first one that carries the loss (and a token that the tokenizer sets
    before every text); examples with fewer are skipped. With `response_tokens`, all of one turn, every gradient is of
    equally many tokens: a control of length."""

    _is_a_day = field_validator("date")(_iso_date)

    @property
    def most_tokens(self) -> int:
        """Of an example, at most."""
        if self.prompt_tokens is None or self.response_tokens is None:
            return self.max_length
        return min(self.max_length, 1 + self.prompt_tokens + self.response_tokens)

    def within(self, config: Any) -> Self:
        """The same, with no more tokens than a model of this (transformers) configuration has positions for."""
        limit = position_limit(config)
        if limit is not None and limit < self.max_length:
            return self.model_copy(update={"max_length": limit})
        return self


class CheckpointSettings(Settings):
    """Which model, and how it is loaded."""

    model: str
    """Hub id, folder, .gguf file, or a built-in name (see `gradprism models`)."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    """Type of the weights and activations; `auto` keeps the checkpoint's own."""
    from_scratch: bool = False
    """Random weights of the same configuration instead of the trained ones."""
    init_seed: int = 0
    """Seed of --from-scratch."""
    trust_remote_code: bool = False
    """Run modelling code that the checkpoint brings. Only for sources you trust."""
    allow_pickle: bool = False
    """Load pickled (.bin) weights. Only for sources you trust."""
    adapter: str | None = None
    """Folder or hub id of a peft adapter (LoRA, ...), put on top of the model and kept apart from its weights."""
    adapter_revision: str | None = None
    """Branch, tag or commit of a hub adapter."""
    quantization: Quantization | None = None
    """Quantise the linear maps on loading. What was saved quantised needs nothing: it loads as it is."""


class PrismSettings(Settings):
    """What is measured of each gradient, and how exactly."""

    projections: str = "q,k,v,o"
    """Projections to measure, of q, k, v, o (attention) and gate, up, down (MLP). Latent attention answers with its
    own q_a, q_b, kv_a, kv_b, which can also be asked for."""
    architecture: str | None = None
    """YAML file that says where the projections of a model are which is not understood by itself."""
    entry_stats: bool = False
    """Also the smallest and largest entry of each gradient (needs the whole matrix)."""
    all_layers: bool = False
    """Also the cosine of every pair of layers, not only of neighbours."""
    spectrum: bool = True
    """Keep the singular values themselves."""
    precision: Precision = "exact"
    """The model's matrix products: exact (fp32), balanced (TF32 or bf16 products) or fast (bf16, or int8 on a CPU
    without AMX), with what the machine has. The spectra themselves are always fp64."""

    @field_validator("projections")
    @classmethod
    def _without_spaces(cls, text: str) -> str:
        """One spelling of one choice: `q, k` is `q,k`."""
        return ",".join(name.strip() for name in text.split(",") if name.strip())

    @property
    def projection_names(self) -> tuple[str, ...]:
        """The projections as a tuple."""
        return tuple(self.projections.split(",")) if self.projections else ()


class ExecutionSettings(Settings):
    """How the work is done. None of these changes a number beyond rounding."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    batch_tokens: int | None = Field(default=None, ge=1)
    """Most tokens, padding included, in one batch. By itself 512 on a CPU, where padding costs more than small
    batches do, and 8192 elsewhere."""
    threads: int | None = Field(default=None, ge=1)
    """Threads for the eigenvalue problems; all cores otherwise."""
    device_map: str | None = None
    """Spread the model over devices, memory and disk: auto, balanced, balanced_low_0, sequential, a JSON file, or
    MODULE=DEVICE,... (of each module its device: 0, cuda:1, cpu, disk)."""
    max_memory: str | None = None
    """Most of each device that the weights of a spread model may take: 0=20GiB,1=20GiB,cpu=100GiB."""
    offload_folder: str | None = None
    """Folder for weights of a spread model that fit no memory and cannot be read from their own files."""

    @field_validator("device_map")
    @classmethod
    def _known_map(cls, text: str | None) -> str | None:
        """A file as an absolute path, so that a recipe can be replayed from anywhere."""
        if text is None or text in DEVICE_MAPS or re.fullmatch(r"[\w.]*=[\w:]+(,[\w.]*=[\w:]+)*", text):
            return text
        path = Path(text).expanduser()
        if not path.is_file():
            raise ValueError(f"expected {', '.join(DEVICE_MAPS)}, a JSON file, or MODULE=DEVICE,MODULE=DEVICE,...")
        return str(path.resolve())

    @field_validator("max_memory")
    @classmethod
    def _known_sizes(cls, text: str | None) -> str | None:
        size = r"[\w:]+=\d+(\.\d+)?[KMGT]i?B"
        if text is not None and not re.fullmatch(f"{size}(,{size})*", text):
            raise ValueError("expected DEVICE=SIZE,..., such as 0=20GiB,1=20GiB,cpu=100GiB")
        return text


class EngineSettings(Settings):
    """Where the work is done. None of these changes a number beyond rounding."""

    engine: Literal["local", "ray"] = "local"
    """`local`: in this process; `ray`: by workers of a Ray cluster, on one machine or many."""
    address: str | None = None
    """Ray cluster: auto (this machine is part of it) or ray://HEAD:10001; one of its own on this machine otherwise."""
    workers: int | None = Field(default=None, ge=1)
    """Workers, each with the whole model; by itself one a GPU, or one a machine without GPUs."""
    gpus_per_worker: float | None = Field(default=None, ge=0)
    """GPUs of each worker, also a fraction; by itself 1 where the cluster has any."""
    cpus_per_worker: float | None = Field(default=None, gt=0)
    """CPUs of each worker; by itself its share of the machine, or 1 beside a GPU."""

    @model_validator(mode="after")
    def _of_ray_alone(self) -> Self:
        """Options of the cluster do nothing on the local engine."""
        given = sorted(self.model_fields_set - {"engine"}) if self.engine == "local" else []
        if any(getattr(self, name) is not None for name in given):
            raise ValueError(f"{', '.join(given)}: of the Ray engine; add --engine ray")
        return self


class LikelihoodSettings(Settings):
    """How IFD is computed."""

    style: Literal["matched", "superfiltering"] = "matched"
    """Of IFD: `matched` scores exactly the same response tokens with and without the prompt; `superfiltering` is the
    published formula (response tokenised by itself, its first token not scored)."""
    ifd_value: Literal["ppl", "loss"] = "ppl"
    """Which ratio is the value of IFD: of perplexities or of mean losses."""


class JudgeSettings(Settings):
    """Which language model judges (instag, difficulty), and how it is asked."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)  # an address may hold a password

    judge: str | None = None
    """Model name at the endpoint, or local:MODEL for one that runs here (hub id, folder, .gguf, built-in name)."""
    base_url: str | None = None
    """An OpenAI-compatible endpoint, such as http://localhost:8000/v1; the OpenAI service otherwise."""
    key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key. The key itself is written nowhere."""
    judge_template: str | None = None
    """Jinja file with your own prompt; it sees instruction, response and conversation."""
    judge_max_tokens: int = Field(default=1024, ge=1)
    """Most tokens of an answer; one that is cut there has no value."""
    temperature: float = Field(default=0.0, ge=0)
    """Sampling temperature of the judge."""
    judge_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    """Type of a local judge's weights and activations."""

    @field_validator("base_url")
    @classmethod
    def _without_secrets(cls, url: str | None) -> str | None:
        """It is saved with the run."""
        if url and ("@" in url or "?" in url):
            raise ValueError("holds a password or a query; expected a plain address, and the key in the environment")
        return url


class RequestSettings(Settings):
    """How requests are sent. None of these changes an answer."""

    concurrency: int = Field(default=8, ge=1)
    """Most requests under way at once."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Most requests begun in a minute; no limit otherwise."""
    request_timeout: float = Field(default=120.0, gt=0)
    """Seconds until a request is given up and tried again."""
    retries: int = Field(default=6, ge=0)
    """How often a request is tried again after a failed connection, a 429 or a 5xx."""
    cache: str | None = None
    """File of answers already given, keyed by the request; judge-cache.sqlite in the run otherwise."""
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
        """Of a million tokens read, and written."""
        if self.price is None:
            return None
        read, written = map(float, self.price.split(","))
        return read, written


class RewardSettings(Settings):
    """Which reward model, and which of its outputs."""

    reward_model: str | None = None
    """Hub id or folder of a sequence classifier."""
    reward_revision: str | None = None
    """Branch, tag or commit of a hub model."""
    reward_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    """Type of its weights and activations."""
    reward_output: str | None = None
    """Name or number of the output that is the reward, where the model has several."""
    reward_template: str | None = None
    """Jinja chat template, where the tokenizer has none."""
    reward_date: str | None = None
    """The day that its chat template prints, YYYY-MM-DD, where it prints one; by itself that of --date, else the day
    the scores were begun."""
    reward_trust_remote_code: bool = False
    """Run modelling code that the checkpoint brings. Only for sources you trust."""
    reward_allow_pickle: bool = False
    """Load pickled (.bin) weights. Only for sources you trust."""
    reward_max_length: int = Field(default=4096, ge=2)
    """Tokens kept of a conversation; longer ones are cut on the right, and recorded as truncated."""

    _is_a_day = field_validator("reward_date")(_iso_date)


class SpectraRecipe(Settings):
    """Everything that `gradprism spectra` was told."""

    verb: Literal["spectra"] = "spectra"
    data: tuple[str, ...]
    read: ReadSettings = ReadSettings()
    text: TextSettings = TextSettings()
    checkpoint: CheckpointSettings
    prism: PrismSettings = PrismSettings()
    execution: ExecutionSettings = ExecutionSettings()
    engine: EngineSettings = EngineSettings()
    part_rows: int = Field(default=32, ge=1)
    out: str

    @classmethod
    def from_options(cls, data: tuple[str, ...], out: str, **options: Any) -> Self:
        """Sort flat options, as a Python caller gives them, into their groups."""
        return checked(cls, {"data": data, "out": out, **grouped(cls, options)})

    def identity(self) -> dict[str, Any]:
        """The settings that decide the numbers and the cut into parts: what a resumed run must agree with."""
        groups = {"read": self.read, "text": self.text, "checkpoint": self.checkpoint, "prism": self.prism}
        return {"part_rows": self.part_rows} | {
            f"{group}.{name}": value for group, settings in groups.items() for name, value in settings
        }


class ScoreRecipe(Settings):
    """Everything that `gradprism score` was told."""

    verb: Literal["score"] = "score"
    data: tuple[str, ...]
    metric: str
    name: str | None = None
    read: ReadSettings = ReadSettings()
    text: TextSettings = TextSettings()
    checkpoint: CheckpointSettings | None = None
    likelihood: LikelihoodSettings = LikelihoodSettings()
    judge: JudgeSettings = JudgeSettings()
    requests: RequestSettings = RequestSettings()
    reward: RewardSettings = RewardSettings()
    execution: ExecutionSettings = ExecutionSettings()
    engine: EngineSettings = EngineSettings()
    part_rows: int = Field(default=128, ge=1)
    out: str

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics asked for, each once."""
        return tuple(dict.fromkeys(name.strip() for name in self.metric.split(",") if name.strip()))

    @classmethod
    def from_options(cls, data: tuple[str, ...], metric: str, out: str, **options: Any) -> Self:
        """Sort flat options, as a Python caller gives them, into their groups."""
        return checked(cls, {"data": data, "metric": metric, "out": out, **grouped(cls, options)})


def refuse_loading_options(options: Mapping[str, Any]) -> None:
    """Refuse, for a model that is loaded already, the options that say how one is loaded: they would do nothing."""
    placing = {"device", "device_map", "max_memory", "offload_folder"}
    idle = sorted({*options} & {*CheckpointSettings.model_fields, *placing})
    if idle:
        raise GradPrismError(
            f"Given {', '.join(idle)} together with a model that is loaded already. Expected options of the text and "
            "of what is measured; load the model as you want it, on the device that you want."
        )


def load_recipe(path: Path) -> "Recipe":
    """Read a recipe: the text of `recipe_text`, or one written by hand."""
    from gradprism.compare_recipe import CompareRecipe
    from gradprism.import_recipe import ImportRecipe
    from gradprism.select_recipe import SelectRecipe
    from gradprism.study_recipe import StudyRecipe

    kinds: dict[str, type[Recipe]] = {
        "spectra": SpectraRecipe, "score": ScoreRecipe, "select": SelectRecipe, "compare": CompareRecipe,
        "import": ImportRecipe, "study": StudyRecipe,
    }  # fmt: skip
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise GradPrismError(f"Cannot read the recipe {path}: {error}") from error
    kind = kinds.get(str(values.get("verb"))) if isinstance(values, dict) else None
    if kind is None:
        raise GradPrismError(f"{path} is not a recipe: expected a YAML mapping with `verb: {' | '.join(kinds)}`.")
    return checked(kind, values)
