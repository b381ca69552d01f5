"""Score a data set by quality metrics, into the run that holds its spectra or a new one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import NoProgress, Progress, Say, say_nothing
from gradprism.core.python_options import PythonOptions
from gradprism.core.settings import recipe_text
from gradprism.data.example_set import ExampleSet
from gradprism.data.settings import IN_MEMORY, ReadSettings
from gradprism.engine.run import refuse_engine, run_task
from gradprism.engine.shards import cut
from gradprism.files.paths import absolute_path, given_or_temporary, is_remote, names_path, to_path
from gradprism.metrics.metric import Metric, Plan
from gradprism.metrics.registry import RESERVED_NAMES, known_metrics
from gradprism.metrics.settings import JudgeSettings, RequestSettings
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.record import resolved_checkpoint
from gradprism.models.settings import refuse_loading_options
from gradprism.models.sources import LoadedModel, ModelSource
from gradprism.models.text import resolve_text
from gradprism.prism.measures import known_measures
from gradprism.runs.layout import RECIPE_FILE, identity_of, published_parts, score_table
from gradprism.runs.record import data_record, examples_of, machine_record
from gradprism.runs.recorded_recipe import read_recorded_recipe, recipe_paths
from gradprism.runs.resume_checks import differences
from gradprism.runs.run import Run, open_run
from gradprism.runs.scores import ScoreWriter, locked_run, score_identities
from gradprism.scoring.joined import JoinedColumn, joined_columns
from gradprism.scoring.metrics import make_metric, reads_text, refuse_unknown
from gradprism.scoring.settings import ScoreRecipe
from gradprism.scoring.task import ScoreTask

_OF_SPECTRA = (
    "text.",
    "checkpoint.",
    "model fingerprint",
    "template digest",
)  # settings that a model's metric shares with the spectra


_OPTIONS = PythonOptions(ScoreRecipe, but=("model",))


@_OPTIONS
def score(
    data: Any = None,
    metric: str | Sequence[str] | None = None,
    *,
    model: Any = None,
    tokenizer: Any = None,
    out: str | Path | None = None,
    observer: Progress | None = None,
    retry_failed: bool = False,
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
    judge: str | None = None,
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
    reward_model: str | None = None,
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
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    cpus_per_worker: float | None = None,
    part_rows: int = 128,
    name: str | None = None,
    from_file: str | Path | None = None,
    on: str = "id",
    column: str | Sequence[str] = (),
    own: Mapping[str, Any] = MappingProxyType({}),
) -> Run:
    """Score every example by some metrics, and return the opened run, with the scores at `run.scores(METRIC)`.

    `data`: as for `gradprism.spectra`; where None, the data of the run at `out`.
    `metric`: some of ifd, instag, difficulty, reward, length, loss, perplexity; ifd where None. In its place
    `from_file`: scores that something else has computed, one for every row.
    `model`: causal language model (ifd, length, loss, perplexity), by name, or loaded together with its `tokenizer`.
    `out`: the run directory, or its URL in an object store; a new temporary one where None.
    The options are those of the command, e.g. `style="superfiltering"`, `judge="gpt-4o-mini"`, `reward_model="..."`.
    Raises `GradPrismError`, but not for an example that cannot be scored: it becomes a row with its reason.
    """
    options = _OPTIONS.given(locals())
    with given_or_temporary(out) as folder:
        recipe, source = score_recipe(data, metric, model, tokenizer, folder, options)
        return run_scores(
            recipe, observer, data=None if _are_paths(data) else data, model=source, retry_failed=retry_failed
        )


def score_recipe(
    data: Any, metric: str | Sequence[str] | None, model: Any, tokenizer: Any, out: str | Path, options: dict[str, Any]
) -> tuple[ScoreRecipe, ModelSource | None]:
    """Return the recipe for the arguments of a Python call, and the model if it was given loaded."""
    source: ModelSource | None = None
    if model is not None and not isinstance(model, str | Path):
        source = LoadedModel(model, tokenizer)
        refuse_loading_options(options)
        options |= {"model": source.name, "dtype": "auto"}
    elif tokenizer is not None:
        raise GradPrismError("Given a tokenizer, and no loaded model that it belongs to. Expected both, or neither.")
    elif model is not None:
        options["model"] = str(model)
    if not isinstance(options.get("reward_model", ""), str | Path):
        raise GradPrismError(
            "Given a loaded reward model; expected its name or folder, so that the run can be made again. "
            "gradprism.reward(data, model, tokenizer=tokenizer) scores with a loaded one."
        )
    named = (str(data),) if names_path(data) else tuple(map(str, data or ())) if _are_paths(data) else IN_MEMORY
    if metric is None:
        metric = "" if options.get("from_file") else "ifd"
    names = metric if isinstance(metric, str) else ",".join(metric)
    return ScoreRecipe.from_options(named, names, str(out), **options), source


def _are_paths(data: Any) -> bool:
    if data is None or names_path(data):
        return True
    return isinstance(data, list | tuple) and len(data) > 0 and all(map(names_path, data))


def run_scores(
    recipe: ScoreRecipe,
    observer: Progress | None = None,
    *,
    data: Any = None,
    model: ModelSource | None = None,
    retry_failed: bool = False,
) -> Run:
    """Score as a recipe says, and return the opened run.

    `data` and `model` replace the recipe's where they are Python objects. `retry_failed` also scores again the rows
    that failed before.
    """
    progress = observer or NoProgress()
    refuse_engine(recipe, model)
    recipe, examples = _opened(recipe, data, model, progress)
    description = {"verb": "score", "data": data_record(examples), **machine_record()}
    metrics = _metrics_of(recipe, examples, model, progress.say)  # refuses what is missing before any work
    if not recipe.name or recipe.name in recipe.metrics:  # not stored under another name
        _refuse_other_settings(metrics, to_path(recipe.out))
    with locked_run(to_path(recipe.out), description, progress.say) as run:
        writers = [
            _make_writer(run, metric, recipe, progress.say) for metric in metrics
        ]  # refuses settings that differ
        for metric, writer in zip(metrics, writers, strict=True):
            _score(metric, writer, recipe, examples, progress, retry_failed)
    return open_run(recipe.out)


def _metrics_of(recipe: ScoreRecipe, examples: ExampleSet, model: ModelSource | None, say: Say) -> Sequence[Metric]:
    if recipe.joined.from_file:
        return joined_columns(recipe, examples)
    return [make_metric(name, recipe, model, say) for name in recipe.metrics]


def plan_scores(recipe: ScoreRecipe, observer: Progress | None = None) -> dict[str, Plan]:
    """Return the work that each metric of a recipe would take; nothing is sent, loaded or written."""
    recipe, examples = _opened(recipe, None, None, observer or NoProgress())
    if recipe.joined.from_file:
        return {metric.name: metric.plan([*examples]) for metric in joined_columns(recipe, examples)}
    return {name: _plan_metric(name, recipe, examples) for name in recipe.metrics}


def _plan_metric(name: str, recipe: ScoreRecipe, examples: ExampleSet) -> Plan:
    """Count the work of a metric on the parts that are not scored yet."""
    metric = make_metric(name, recipe, None, say_nothing, will_score=False)
    done = published_parts(to_path(recipe.out), score_table(recipe.name or name))
    plans = [metric.plan(shard.examples) for shard in cut(examples, recipe.part_rows, done)]
    counts = {
        field.name: sum(getattr(plan, field.name) for plan in plans) for field in fields(Plan) if field.name != "exact"
    }
    return Plan(**counts, exact=all(plan.exact for plan in plans))


def _opened(
    recipe: ScoreRecipe, data: Any, source: ModelSource | None, progress: Progress
) -> tuple[ScoreRecipe, ExampleSet]:
    """Return the recipe with absolute paths and all settings chosen, and its examples."""
    if not recipe.joined.from_file:
        refuse_unknown(recipe.metrics)
    if recipe.name and len(recipe.metrics) > 1:
        raise GradPrismError(
            f"--name {recipe.name} with {len(recipe.metrics)} metrics; expected one metric to be named."
        )
    if recipe.name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", recipe.name):
        raise GradPrismError(f"--name {recipe.name!r}: expected letters and digits, and _ - between them.")
    if recipe.name in {*known_metrics(), *RESERVED_NAMES, *known_measures()} - {*recipe.metrics}:
        raise GradPrismError(
            f"--name {recipe.name} is the name of another metric or measure. Expected a name that is not in use."
        )
    if recipe.judge.judge_template and {"instag", "difficulty"} <= {*recipe.metrics}:
        raise GradPrismError(
            "--judge-template replaces one prompt, and instag and difficulty have one each. Expected one of the two "
            "metrics at a time."
        )
    progress.say("Reading the data")
    if not recipe.data:
        recipe = _with_data_of_run(recipe)
    recipe = _resolved(_with_settings_of_run(_with_reward_date(recipe), source))
    examples = examples_of(recipe, data)
    return with_resolved_text(recipe, source, examples.n_conversations), examples


def _with_settings_of_run(recipe: ScoreRecipe, source: ModelSource | None) -> ScoreRecipe:
    """Return the recipe with the model and text of the existing run's spectra, where it does not name its own."""
    path = to_path(recipe.out) / RECIPE_FILE
    made = read_recorded_recipe(path) if reads_text(recipe.metrics) and path.is_file() else None
    if made is None or made.verb == "score" or made.checkpoint is None:
        return recipe
    given = {name: getattr(recipe.text, name) for name in recipe.text.model_fields_set}
    text = made.text.model_copy(update=given)
    checkpoint = recipe.checkpoint or (None if source else made.checkpoint)
    return recipe.model_copy(update={"text": text, "checkpoint": checkpoint})


def _refuse_other_settings(metrics: Sequence[Metric], run: Path) -> None:
    """Refuse metrics with other model or text settings than the run's spectra; scores under another name may."""
    made = identity_of(run)
    for metric in metrics:
        shared = [name for name in metric.identity if name in made and name.startswith(_OF_SPECTRA)]
        different = [name for name in sorted(shared) if metric.identity[name] != made[name]]
        if different and reads_text([metric.name]):
            lines = differences(*({name: each[name] for name in different} for each in (made, metric.identity)))
            raise GradPrismError(
                f"--metric {metric.name}: the spectra in {run} were made with other settings:\n{lines}\n"
                f"Leave these options out to use the settings of the run; or store the scores under another name, such "
                f"as --name {metric.name}_other."
            )


def with_resolved_text(recipe: ScoreRecipe, source: ModelSource | None, n_conversations: int) -> ScoreRecipe:
    """Return the recipe with template, date and lengths of the text chosen, where a metric reads text."""
    if not reads_text(recipe.metrics) or (source is None and recipe.checkpoint is None):
        return recipe  # a metric without its model is refused later
    found = source or find_checkpoint(recipe.checkpoint, weights=False)  # type: ignore[arg-type]
    given = recipe.text
    if "ifd" in recipe.metrics and recipe.likelihood.style == "superfiltering" and given.template == "auto":
        given = given.model_copy(update={"template": "paper"})  # the formula is defined for that template
    text = resolve_text(given, found, found.load_config(), n_conversations, _identity_with(recipe, "text.date"))
    return recipe.model_copy(update={"text": text.settings})


def _with_data_of_run(recipe: ScoreRecipe) -> ScoreRecipe:
    """Return the recipe with the data and the choice of rows of the existing run."""
    if recipe.read != ReadSettings():
        raise GradPrismError(
            "Given options that choose rows (--rows, --sample, --limit, ...) and no data. The rows of a run are chosen "
            "when it is made: leave these options out, or name data files too."
        )
    recipes = [read_recorded_recipe(path) for path in recipe_paths(to_path(recipe.out))]
    made = next((item for item in recipes if item.data != IN_MEMORY), None) or next(iter(recipes), None)
    if made is None:
        raise GradPrismError(
            f"No data is given, and {recipe.out} is no run that names its data. Expected data files or a hub id."
        )
    return recipe.model_copy(update={"data": made.data, "read": made.read})


def _resolved(recipe: ScoreRecipe) -> ScoreRecipe:
    """Return the recipe with absolute paths, so that it can be replayed from anywhere."""

    def full(group: Any, *names: str) -> Any:
        given = {name: getattr(group, name) for name in names}
        return group.model_copy(update={name: absolute_path(text) for name, text in given.items() if text})

    changes = {
        "data": tuple(map(absolute_path, recipe.data)),
        "checkpoint": recipe.checkpoint and resolved_checkpoint(recipe.checkpoint),
        "text": full(recipe.text, *(["template"] if Path(recipe.text.template).suffix else [])),
        "requests": _with_full_cache(recipe.requests),
        "judge": _local_judge(full(recipe.judge, "judge_template")),
        "reward": full(recipe.reward, "reward_model", "reward_template"),
        "joined": full(recipe.joined, "from_file"),
        "out": str(to_path(recipe.out).resolve()),
    }
    return recipe.model_copy(update=changes)


def _with_full_cache(requests: RequestSettings) -> RequestSettings:
    if requests.cache is None:
        return requests
    cache = to_path(requests.cache)
    if is_remote(cache):
        raise GradPrismError(f"--cache {cache}: expected a local file; answers are looked up in it one by one.")
    return requests.model_copy(update={"cache": str(cache.resolve())})


def _local_judge(judge: JudgeSettings) -> JudgeSettings:
    kind, colon, model = (judge.judge or "").partition(":")
    return judge.model_copy(update={"judge": f"local:{absolute_path(model)}"}) if colon and kind == "local" else judge


def _make_writer(run: Path, metric: Metric, recipe: ScoreRecipe, say: Say) -> ScoreWriter:
    description = {
        "complete": False,
        "about": metric.about,
        "identity": {**metric.identity, "metric": metric.name, "part_rows": recipe.part_rows},
        **machine_record(),
        "sessions": [],
    }
    own = recipe.model_copy(update={"metric": metric.name})
    if isinstance(metric, JoinedColumn):
        joined = recipe.joined.model_copy(update={"column": (metric.column,)})
        own = recipe.model_copy(update={"joined": joined})
    return ScoreWriter(run, recipe.name or metric.name, description, recipe_text(own), say)


def _score(
    metric: Metric,
    writer: ScoreWriter,
    recipe: ScoreRecipe,
    examples: ExampleSet,
    progress: Progress,
    retry_failed: bool,
) -> None:
    """Score the parts of one metric that are not published yet."""
    task = ScoreTask(recipe, metric.name, dict(metric.identity), metric)
    run_task(
        task, writer, examples, recipe, progress, writer.folder.name,
        retry_failed=retry_failed, always_local=metric.waits,
    )  # fmt: skip
    writer.update(complete=True)


def _with_reward_date(recipe: ScoreRecipe) -> ScoreRecipe:
    """Return the recipe with the day that the template of a reward model prints, the same on every machine."""
    if "reward" not in recipe.metrics:
        return recipe
    recorded = _identity_with(recipe, "reward.reward_date").get("reward.reward_date")
    day = recipe.reward.reward_date or recipe.text.date or recorded or date.today().isoformat()
    return recipe.model_copy(update={"reward": recipe.reward.model_copy(update={"reward_date": day})})


def _identity_with(recipe: ScoreRecipe, setting: str) -> Mapping[str, Any]:
    """Return the first identity in the run that has a setting: of the recipe's scores, the spectra, or other scores."""
    run = to_path(recipe.out)
    own = [recipe.name] if recipe.name else recipe.metrics
    scores = score_identities(run)
    ordered = [*(scores.pop(name) for name in own if name in scores), identity_of(run), *scores.values()]
    return next((identity for identity in ordered if identity.get(setting)), {})
