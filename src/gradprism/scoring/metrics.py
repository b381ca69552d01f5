"""Quality metrics by name: which model or judge each needs, and what decides its numbers."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.data.chat_template import prints_date
from gradprism.data.encode import Encoder, make_encoder, own_template, read_template
from gradprism.files.places import is_shared, place
from gradprism.metrics.metric import Metric
from gradprism.metrics.settings import RewardSettings
from gradprism.models.builtin import cache_folder
from gradprism.models.checkpoints import Checkpoint, LoadedModel, ModelSource, find_checkpoint
from gradprism.models.description import resolved_checkpoint
from gradprism.models.device import Spread, find_device, find_spread
from gradprism.models.positions import position_limit
from gradprism.models.settings import CheckpointSettings, ExecutionSettings
from gradprism.models.text import text_identity
from gradprism.prism.tables import MEASURES
from gradprism.runs.layout import RUN_FILE, published_parts, score_table
from gradprism.runs.run import open_run
from gradprism.scoring.settings import ScoreRecipe

if TYPE_CHECKING:
    from gradprism.metrics.likelihood import Alone, Known

Say = Callable[[str], None]

METRICS = {
    "ifd": "perplexity of the response given the prompt over its perplexity alone (Li et al. 2023)",
    "instag": "number of intent tags that a judge gives the instruction (Lu et al. 2023)",
    "difficulty": "1 to 10, by a judge",
    "reward": "score of a reward model",
    "length": "response tokens",
    "loss": "mean negative log-likelihood of the response",
    "perplexity": "exp(loss)",
}
_JUDGED: tuple[Literal["instag", "difficulty"], ...] = ("instag", "difficulty")
CAUSAL = ("ifd", "length", "loss", "perplexity")


def refuse_unknown(names: Sequence[str]) -> None:
    """Raises `GradPrismError` for a metric that there is not, naming the nearest."""
    if not names:
        raise GradPrismError(f"--metric names none; expected some of {', '.join(METRICS)}.")
    for name in names:
        if name not in METRICS:
            if name.partition(":")[0] in MEASURES:
                raise GradPrismError(
                    f"{name} is a measure of the gradient: `gradprism spectra` gives it, there is nothing to score. "
                    f"With spectra in the run it is a metric like any other: gradprism select RUN --by {name}"
                )
            close = get_close_matches(name.lower(), METRICS, n=1)
            hint = f"Did you mean {close[0]!r}? " if close else ""
            raise GradPrismError(f"No metric {name!r}. {hint}Expected some of {', '.join(METRICS)}.")


def make_metric(
    name: str, recipe: ScoreRecipe, source: ModelSource | None, say: Say, *, will_score: bool = True
) -> Metric:
    """A metric, its models not yet loaded. `source` stands in for the recipe's causal language model.

    With `will_score` False it is only to be planned: no weights are prepared, and no key is looked for.

    The recipe's text is settled (see `jobs.text`). Raises `GradPrismError` where the model or judge that it needs is
    not named.
    """
    if name in CAUSAL:
        return _causal(name, recipe, source, say, will_score and name != "length")
    judged = next((known for known in _JUDGED if known == name), None)
    if judged:
        from gradprism.metrics.judge.metrics import make_judged

        parts = (recipe.judge, recipe.requests, recipe.execution, _answers(recipe), say)
        return make_judged(judged, *parts, will_ask=will_score)
    return make_reward(recipe, say)


def _answers(recipe: ScoreRecipe) -> Path:
    """Where a judge's answers are kept: in the run, of one in an object store in the user's cache folder."""
    run = place(recipe.out)
    return place(recipe.requests.cache or (cache_folder().parent if is_shared(run) else run) / "judge-cache.sqlite")


def _causal(name: str, recipe: ScoreRecipe, source: ModelSource | None, say: Say, weights: bool) -> Metric:
    from gradprism.metrics import likelihood

    if source is None and recipe.checkpoint is None:
        raise GradPrismError(
            f"--metric {name} needs a causal language model{' (its tokenizer)' * (name == 'length')}. "
            "Expected --model with a hub id, a folder, a .gguf file or a built-in name (see `gradprism models`)."
        )
    found = source or find_checkpoint(recipe.checkpoint, say, weights=weights)  # type: ignore[arg-type]
    config = found.load_config()
    tokenizer = found.load_tokenizer()
    encoder = make_encoder(tokenizer, recipe.text)
    identity = _causal_identity(recipe, found, config)
    if name == "length":
        return likelihood.Length(encoder, identity, f"tokenizer of {found.name}")

    def load() -> Any:
        say(f"Loading {found.name}")
        return found.load_model(*_place(found, recipe.execution))

    model = likelihood.LanguageModel(load, recipe.execution.batch_tokens)
    parts = (encoder, model, known_sums(place(recipe.out), identity), identity, found.name)
    if name != "ifd":
        return likelihood.Loss(name, *parts)  # type: ignore[arg-type]
    own = {f"likelihood.{key}": value for key, value in recipe.likelihood}
    alone = _alone(recipe.likelihood.style, encoder)
    about = f"{found.name}, {recipe.likelihood.style}"
    return likelihood.Ifd(alone, recipe.likelihood.ifd_value, *parts[:3], identity | own, about)


def _place(source: ModelSource, execution: ExecutionSettings) -> tuple[str, Spread | None]:
    """Where a model is to be loaded: on one device, or spread over several."""
    return source.device(find_device(execution.device)), find_spread(execution)


def _alone(style: str, encoder: Encoder) -> "Alone":
    from gradprism.metrics import likelihood

    text = encoder.settings
    if style == "matched":
        return likelihood.same_tokens_alone(encoder.tokenizer)
    if text.template != "paper":
        raise GradPrismError(
            f"--style superfiltering is a formula of `--template paper`; given --template {text.template}."
        )
    if text.response_tokens is not None or text.prompt_tokens is not None:
        raise GradPrismError(
            "--style superfiltering is a formula of whole prompts and responses; given --response-tokens or "
            "--prompt-tokens. Expected neither, or --style matched."
        )
    return likelihood.superfiltering_alone(encoder)


def _causal_identity(recipe: ScoreRecipe, source: ModelSource, config: Any) -> dict[str, Any]:
    """The settings of text and model, named as in the record of a run of spectra, so that they can be compared."""
    checkpoint = recipe.checkpoint or CheckpointSettings(model=source.name, dtype="auto")
    settings = {f"text.{name}": value for name, value in recipe.text}
    settings |= {f"checkpoint.{name}": value for name, value in resolved_checkpoint(checkpoint)}
    return settings | {"model fingerprint": source.fingerprint(config)} | text_identity(recipe.text)


def known_sums(run: Path, identity: Mapping[str, Any]) -> "Known":
    """Sums of the response's likelihood that the run already holds, from spectra or scores of the same model and text.

    Of spectra only where they are exact. Read at the first call, 20 bytes a row.
    """

    @cache
    def sums() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        tables = _tables_with_sums(run, identity) if (run / RUN_FILE).exists() else []
        usable = [
            table.filter(pl.col("status") == "ok", pl.col("nll").is_not_null()).select("row", "nll", "n")
            for table in tables
        ]
        empty = pl.LazyFrame(schema={"row": pl.Int64, "nll": pl.Float64, "n": pl.Int32})
        found = pl.concat([empty, *usable]).unique("row", keep="last").sort("row").collect()
        return found["row"].to_numpy(), found["nll"].to_numpy(), found["n"].to_numpy()

    def known(rows: Sequence[int]) -> Mapping[int, tuple[float, int]]:
        there, nll, n = sums()
        places = np.searchsorted(there, rows)
        matched = [(row, place) for row, place in zip(rows, places, strict=True) if place < len(there)]
        return {row: (float(nll[place]), int(n[place])) for row, place in matched if there[place] == row}

    return known


def _tables_with_sums(path: Path, identity: Mapping[str, Any]) -> list[pl.LazyFrame]:
    run = open_run(path)

    def agrees(made: Mapping[str, Any]) -> bool:
        return all(made.get(name) == value for name, value in identity.items())

    columns = {"loss": "nll_sum", "perplexity": "nll_sum", "ifd": "nll_conditioned"}
    tables = []
    for name in run.metrics:
        made = run.score_record(name)["identity"]
        column = columns.get(made["metric"])
        if column and agrees(made) and published_parts(path, score_table(name)):
            tables.append(run.scan_scores(name).with_columns(nll=column, n="n_tokens"))
    made = run.record.get("identity", {})
    if agrees(made) and made.get("prism.precision") == "exact":
        tables.append(run.scan("examples").with_columns(nll="nll_sum", n="n_response_tokens"))
    return tables


def make_reward(recipe: ScoreRecipe, say: Say, loaded: LoadedModel | None = None) -> Metric:
    """The reward metric of the recipe's reward model; `loaded` stands in for it."""
    from gradprism.metrics.reward import ConversationEncoder, Reward, RewardModel, chosen_output

    settings = recipe.reward
    found = loaded or _found_reward(settings, say)
    config = found.load_config()
    _refuse_language_model(found.name, config)
    chosen_output(config, settings.reward_output)  # before any weights
    tokenizer = found.load_tokenizer()
    limits = settings.reward_max_length, position_limit(config), tokenizer.model_max_length
    most = min(limit for limit in limits if limit is not None)
    given = read_template(settings.reward_template) if settings.reward_template else None
    template = given or own_template(tokenizer)
    day = settings.reward_date or recipe.text.date
    encoder = ConversationEncoder(tokenizer, template, most, day)
    settings = settings.model_copy(update={"reward_date": day if prints_date(str(template)) else None})
    identity = {f"reward.{name}": value for name, value in settings} | {"model fingerprint": found.fingerprint(config)}
    if given:
        identity["template digest"] = hashlib.sha256(given.encode()).hexdigest()[:16]

    def load() -> RewardModel:
        say(f"Loading {found.name}")
        model = found.load_classifier(*_place(found, recipe.execution))
        return RewardModel(model, settings.reward_output, recipe.execution.batch_tokens)

    return Reward(encoder, load, identity, found.name)


def _refuse_language_model(name: str, config: Any) -> None:
    architectures = config.architectures or []
    if architectures and all(architecture.endswith("ForCausalLM") for architecture in architectures):
        raise GradPrismError(
            f"{name!r} is no reward model: it was saved as {', '.join(architectures)}. "
            "Expected a sequence classifier, one that ends in a score."
        )


def _found_reward(settings: RewardSettings, say: Say) -> Checkpoint:
    if settings.reward_model is None:
        raise GradPrismError(
            "--metric reward needs a reward model. Expected --reward-model with the hub id or folder of a sequence "
            "classifier."
        )
    wanted = CheckpointSettings(
        model=settings.reward_model,
        revision=settings.reward_revision,
        dtype=settings.reward_dtype,
        trust_remote_code=settings.reward_trust_remote_code,
        allow_pickle=settings.reward_allow_pickle,
    )
    return find_checkpoint(wanted, say)
