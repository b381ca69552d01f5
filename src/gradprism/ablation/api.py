"""Train a model on several selections at equal tokens, and compare each with rows drawn at random."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradprism.ablation.arms import Training, steps_of_arm
from gradprism.ablation.harness import HarnessTasks, open_tasks
from gradprism.ablation.opening import ABLATION_FILE, read_ablation, read_ablation_record
from gradprism.ablation.pool import EvalRows, Pool, encoded_evals, make_pool, open_evals, open_pool, other_settings
from gradprism.ablation.result import Ablation
from gradprism.ablation.settings import RANDOM, AblateRecipe
from gradprism.ablation.tables import TrainedArms
from gradprism.ablation.task import AblationTask
from gradprism.core.errors import GradPrismError
from gradprism.core.optional import need
from gradprism.core.progress import NoProgress, Progress
from gradprism.core.python_options import PythonOptions
from gradprism.core.settings import recipe_text
from gradprism.data.encode import make_encoder
from gradprism.data.settings import IN_MEMORY
from gradprism.engine.run import refuse_engine, run_task
from gradprism.files.atomic import write_errors, write_whole
from gradprism.files.folder import FolderKind, locked_folder, refuse_other_files
from gradprism.files.paths import absolute_path, is_remote, names_path, to_path
from gradprism.files.records import digest_of, record_bytes
from gradprism.models.checkpoints import Checkpoint, find_checkpoint
from gradprism.models.device import find_spread
from gradprism.models.record import model_record, resolved_checkpoint
from gradprism.models.text import resolve_text, text_identity
from gradprism.runs.layout import RECIPE_FILE
from gradprism.runs.record import machine_record
from gradprism.runs.resume_checks import refuse_differences
from gradprism.runs.run import Run

if TYPE_CHECKING:
    from gradprism.ablation.plan import AblationPlan

KIND = FolderKind("folder of an ablation", (ABLATION_FILE,))
_OPTIONS = PythonOptions(AblateRecipe, but=("model", "tokens", "device_map", "max_memory", "offload_folder"))


@_OPTIONS
def ablate(
    data_or_run: Any,
    model: str = "smollm2-135m",
    *,
    arms: str | Sequence[str] | Mapping[str, Any],
    evals: str | Sequence[str] | Mapping[str, Any] = (),
    tokens: int,
    out: str | Path,
    observer: Progress | None = None,
    retry_failed: bool = False,
    seeds: int = 3,
    epochs: int = 1,
    step_tokens: int = 1024,
    learning_rate: float | None = None,
    schedule: Literal["cosine", "linear", "constant"] = "cosine",
    warmup: float = 0.1,
    weight_decay: float = 0.0,
    lora_rank: int = 0,
    amp: Literal["no", "bf16", "fp16"] = "no",
    gradient_checkpointing: bool = False,
    eval_points: int = 5,
    keep_models: bool = False,
    tasks: str | Sequence[str] = (),
    task_limit: int | None = None,
    task_fewshot: int | None = None,
    task_chat: bool = False,
    task_batch: int = 8,
    task_folder: str | None = None,
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
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    cpus_per_worker: float | None = None,
) -> Ablation:
    """Train a model on each arm's rows at equal tokens, and return how each compares with rows drawn at random.

    `data_or_run`: a run, opened or its path, whose metrics arms may name, or data as `gradprism.spectra` takes them.
    `arms`: as the command has them, `["longest", "ifd+given-length"]`, or a mapping of names to settings of
    `gradprism.select`, `{"rank": {"by": "effective_rank:mean", "given": "length"}}`; `random` is always there.
    `evals`: `{"gsm": "gsm.jsonl"}`, rows to evaluate on. Rows of the pool that are near them are left out.
    `tasks`: of lm-evaluation-harness, `["gsm8k"]`, beside `evals` or alone; items of theirs are kept apart likewise.
    `tokens`: response tokens that each arm trains on.
    The same call goes on where it was stopped, and with more arms or seeds trains those alone. Raises `GradPrismError`,
    but not for an arm that cannot be had or diverges: it is among `problems`.
    """
    options = _OPTIONS.given(locals())
    if isinstance(data_or_run, Run):
        data_or_run = (str(data_or_run.path),)
    if names_path(data_or_run):
        data_or_run = (data_or_run,)
    are_paths = isinstance(data_or_run, list | tuple) and all(map(names_path, data_or_run))
    recipe = AblateRecipe.from_options(
        tuple(map(str, data_or_run)) if are_paths else IN_MEMORY,
        str(out),
        arms=arms,
        evals=evals,
        model=model,
        tokens=tokens,
        **options,
    )
    return run_recipe(recipe, observer, data=None if are_paths else data_or_run, retry_failed=retry_failed)


def run_recipe(
    recipe: AblateRecipe, observer: Progress | None = None, *, data: Any = None, retry_failed: bool = False
) -> Ablation:
    """Train and compare as a recipe says; `data` replaces the recipe's where they are Python objects."""
    for module in ("scipy", "matplotlib"):
        need(module, "report")
    if recipe.train.lora_rank:
        need("peft", "adapters")
    if recipe.harness.tasks:
        need("lm_eval", "evals")
    refuse_engine(recipe, None)
    progress = observer or NoProgress()
    _refuse_place(to_path(recipe.out))
    recipe = _absolute(recipe)
    prepared = prepare(recipe, progress, data)
    with locked_folder(to_path(recipe.out), KIND, wait=0):
        return _train(prepared, progress, retry_failed)


def _refuse_place(out: Path) -> None:
    """Raise `GradPrismError` for a folder of something else, and for an object store, where models cannot be kept."""
    if is_remote(out):
        raise GradPrismError(f"--out {out}: an ablation is written on a disk. Expected a folder; copy it afterwards.")
    refuse_other_files(out, KIND)


class Prepared:
    """Rows, evaluation rows and trainings of an ablation, before anything is trained."""

    def __init__(
        self,
        recipe: AblateRecipe,
        source: Checkpoint,
        pool: Pool,
        evals: tuple[EvalRows, ...],
        harness: HarnessTasks | None,
        config: Any,
    ):
        """Lay out every training; an arm that cannot be had is among `refused`, with its reason."""
        self.recipe, self.source, self.pool, self.evals, self.config = recipe, source, pool, evals, config
        self.harness = harness
        self.refused: dict[str, str] = {}
        self.notes: dict[str, tuple[str, ...]] = {"all arms": other_settings(pool.run, recipe)}
        self.trainings: list[Training] = []
        for seed in range(recipe.train.seeds):  # seed by seed, so that a stopped ablation compares what it has
            for name, arm in recipe.arms.items():
                if name in self.refused:
                    continue
                try:
                    steps, self.notes[name] = steps_of_arm(name, arm, pool, recipe.train, seed)
                except GradPrismError as problem:
                    if name == RANDOM:
                        raise
                    self.refused[name] = str(problem)
                    continue
                self.trainings.append(Training(len(self.trainings), name, seed, steps))

    @property
    def identity(self) -> dict[str, Any]:
        """Return what must be equal for trainings to be compared: all but arms, seeds and what the engine decides."""
        train = self.recipe.train.model_dump(exclude={"seeds", "keep_models"})
        model = model_record(self.source, self.config)
        return {
            **{f"train.{name}": value for name, value in train.items()},
            **{f"text.{name}": value for name, value in self.recipe.text},
            **{f"checkpoint.{name}": value for name, value in self.recipe.checkpoint},
            "data fingerprint": self.pool.examples.fingerprint,
            "model fingerprint": model["revision"],
            "evals": {each.name: each.fingerprint for each in self.evals},
            **self._tasks,
            **text_identity(self.recipe.text),
        }

    @property
    def _tasks(self) -> dict[str, Any]:
        if not self.harness:
            return {}
        how = self.recipe.harness.model_dump(exclude={"tasks", "task_batch", "task_folder"})
        return {**{f"harness.{name}": value for name, value in how.items()}, "tasks": self.harness.identity}


def prepare(recipe: AblateRecipe, progress: Progress, data: Any = None) -> Prepared:
    """Open data and tokenizer, and lay out every training. No weights are loaded."""
    progress.say("Reading the data")
    run, examples = open_pool(recipe, data)
    opened, harness = open_evals(recipe), open_tasks(recipe.harness)
    source = find_checkpoint(recipe.checkpoint, progress.say)
    config = source.load_config()
    if find_spread(recipe.execution):
        raise GradPrismError(
            "Given a spread over devices (--device-map, --max-memory, --offload-folder). A training has one device: "
            "expected --device, or --engine ray for several trainings at once."
        )
    if not recipe.train.lora_rank and (how := source.quantization(config)):
        raise GradPrismError(
            f"The model {source.name} is quantised ({how}), and quantised weights cannot be trained. Expected "
            "--lora-rank 16 or so, or the unquantised model."
        )
    n_conversations = examples.n_conversations + sum(each.n_conversations for each in opened.values())
    recorded = _identity_of(to_path(recipe.out))
    text = resolve_text(recipe.text, source, config, n_conversations, recorded)
    recipe = recipe.model_copy(update={"text": text.settings, "checkpoint": resolved_checkpoint(recipe.checkpoint)})
    encoder = make_encoder(source.load_tokenizer(), text.settings)
    evals = encoded_evals(opened, encoder)
    items = harness.examples if harness else {}
    pool = make_pool(run, examples, {**opened, **items}, encoder)
    for name, n in pool.overlap.items():
        if n:
            progress.say(f"{n:,} rows of the pool are near rows of {name}, and left out")
    return Prepared(recipe, source, pool, evals, harness, config)


def plan_ablation(recipe: AblateRecipe, observer: Progress | None = None) -> "AblationPlan":
    """Plan an ablation: what each arm would train on, steps, time and disk. Nothing is written."""
    from gradprism.ablation.plan import make_plan

    progress = observer or NoProgress()
    return make_plan(prepare(_absolute(recipe), progress), progress)


def open_ablation(path: str | Path) -> Ablation:
    """Open a finished or stopped ablation, as far as it goes. Raises `GradPrismError` where there is none."""
    return read_ablation(to_path(path))


def _train(prepared: Prepared, progress: Progress, retry_failed: bool) -> Ablation:
    from gradprism.ablation.files import publish

    recipe, out = prepared.recipe, to_path(prepared.recipe.out)
    identity = prepared.identity
    if recorded := _identity_of(out):
        refuse_differences(out, recorded, identity)
    sink = TrainedArms(out, digest_of(identity)[:16], prepared.trainings, recipe.train.keep_models)
    record = {
        "format_version": 1,
        "verb": "ablate",
        "complete": False,
        "identity": identity,
        "pool": {"rows": len(prepared.pool.encoded), "unreadable": prepared.pool.n_unreadable,
                 "near": dict(prepared.pool.overlap)},
        "evals": {each.name: {"rows": len(each.rows), "tokens": each.tokens} for each in prepared.evals},
        "trainings": sink.digests,
        "refused": prepared.refused,
        "notes": {name: list(notes) for name, notes in prepared.notes.items()},
        **machine_record(),
        "sessions": read_ablation_record(out).get("sessions", []),
    }  # fmt: skip
    with write_errors(out, "the ablation"):
        write_whole(out / ABLATION_FILE, record_bytes(record))
        write_whole(out / RECIPE_FILE, recipe_text(recipe).encode())
    task = AblationTask(
        recipe,
        str(identity["model fingerprint"]),
        prepared.evals,
        prepared.source if recipe.engine.engine == "local" else None,
        prepared.harness,
    )
    ended = False
    try:
        run_task(
            task, sink, prepared.trainings, recipe, progress, "Training", unit="trainings", retry_failed=retry_failed
        )
        ended = True
    finally:
        record |= {"sessions": [*record["sessions"], *sink.sessions], "complete": ended}
        with write_errors(out, "the ablation"):
            write_whole(out / ABLATION_FILE, record_bytes(record))
    found = read_ablation(out)
    if RANDOM not in found.arms:
        raise GradPrismError("No training of the arm `random` ended:\n" + "\n".join(found.problems[:5]))
    publish(found, progress)
    return found


def _identity_of(out: Path) -> dict[str, Any]:
    identity = read_ablation_record(out).get("identity", {})
    assert isinstance(identity, dict)
    return identity


def _absolute(recipe: AblateRecipe) -> AblateRecipe:
    """Return the recipe with absolute paths, so that it can be replayed from anywhere."""
    evals = {
        name: found.model_copy(update={"data": tuple(map(absolute_path, found.sources))})
        for name, found in recipe.evals.items()
    }
    arms = {
        name: arm.model_copy(update={"ids": absolute_path(arm.ids)}) if arm.ids else arm
        for name, arm in recipe.arms.items()
    }
    out = str(to_path(recipe.out).resolve())
    folder = recipe.harness.task_folder
    harness = recipe.harness.model_copy(update={"task_folder": folder and absolute_path(folder)})
    data = tuple(map(absolute_path, recipe.data)) if recipe.data != IN_MEMORY else recipe.data
    return recipe.model_copy(update={"data": data, "evals": evals, "harness": harness, "arms": arms, "out": out})
