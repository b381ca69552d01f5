"""Published gradient statistics imported into a run directory."""

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradprism.core.errors import GradPrismError
from gradprism.core.progress import NoProgress, Progress
from gradprism.core.python_options import PythonOptions
from gradprism.core.settings import recipe_text
from gradprism.data.encode import Encoder, make_encoder
from gradprism.data.example import Example, RowProblemError
from gradprism.data.example_set import ExampleSet, open_examples
from gradprism.data.record import Record
from gradprism.data.settings import ReadSettings
from gradprism.engine.session import session
from gradprism.engine.shards import n_parts, numbered_parts, rows_in
from gradprism.files.paths import absolute_path, given_or_temporary, names_path, to_path
from gradprism.files.records import short_digest
from gradprism.interop.line_reader import Layout, Line, layout_of, read_line
from gradprism.interop.naming import EXAMPLE_OF_A_WEIGHT, OWN_KEYS, SPECTRUM, SUMMARY, WeightKey, weight_key
from gradprism.interop.noise import NOISE_FLOOR
from gradprism.interop.settings import ImportRecipe
from gradprism.models.checkpoints import find_checkpoint
from gradprism.models.record import model_record, resolved_checkpoint
from gradprism.models.settings import CheckpointSettings
from gradprism.models.text import resolve_text, text_identity
from gradprism.prism.measures import MEASURES, measures_identity
from gradprism.runs.layout import RECIPE_FILE, identity_of
from gradprism.runs.record import data_record, examples_of, machine_record
from gradprism.runs.run import Run, open_run
from gradprism.runs.writer import RunWriter

if TYPE_CHECKING:
    from gradprism.interop.tables import ReadRow

UNNAMED = "unnamed model"
_HEAD = 16  # rows looked at before the whole file is read, so that a wrong file is refused at once
_STATISTICS = {"M_mean", "frobenius_norm", *SPECTRUM, *SUMMARY}


_OPTIONS = PythonOptions(ImportRecipe)


@_OPTIONS
def import_paper(
    data: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    observer: Progress | None = None,
    columns: str | Mapping[str, str] = "",
    split: str | None = None,
    config: str | None = None,
    rows: str | None = None,
    sample: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    max_row_bytes: int = 2**26,
    model: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    made_by: str | None = None,
    made_in: str | None = None,
    template: str | Path = "auto",
    system: str | None = None,
    date: str | None = None,
    turns: Literal["all", "last"] = "all",
    end_of_turn: bool = True,
    max_length: int = 2048,
    response_tokens: int | None = None,
    prompt_tokens: int | None = None,
    part_rows: int = 32,
) -> Run:
    """Read the gradient statistics that Li et al. published (JSON Lines) into a run and return it, opened.

    `data`: a file, or several of one model. `out`: the run directory, or its place in an object store, resumed if it is
    there; a new temporary one where None. The options are those of the command, e.g. `model="smollm2-135m"`, whose
    tokenizer gives the token counts.

    Raises `GradPrismError`; a bad line never does, it becomes a failed row with its reason.
    """
    options = _OPTIONS.given(locals())
    files = (data,) if names_path(data) else tuple(data)  # type: ignore[arg-type]
    with given_or_temporary(out) as folder:
        return run_recipe(ImportRecipe.from_options(tuple(map(str, files)), folder, **options), observer)


def run_recipe(recipe: ImportRecipe, observer: Progress | None = None) -> Run:
    """Import by a recipe, or resume; return the opened run. Raises `GradPrismError`."""
    watch = observer or NoProgress()
    recipe.refuse_contradictions()
    watch.say("Reading the data")
    first = _first_line(recipe)
    origin = _origin(recipe, first, watch)
    examples = examples_of(recipe)
    recipe = _resolved(recipe, origin)
    with RunWriter(to_path(recipe.out), _description(recipe, examples, first, origin), watch.say) as writer:
        writer.write_text(RECIPE_FILE, recipe_text(recipe))
        n_done = rows_in(writer.done, recipe.part_rows, len(examples))
        watch.start(len(examples), n_done, "Importing")
        if len(writer.done) < n_parts(len(examples), recipe.part_rows):
            _publish(_rows(examples, first.layout, origin, writer.done, recipe.part_rows), recipe, writer, watch)
        run = open_run(recipe.out)
        writer.update(complete=True, counts=asdict(run.counts))
        if run.counts.truncated:
            watch.say(
                f"{run.counts.truncated:,} texts are longer than --max-length {recipe.text.max_length:,}: their tokens "
                "are counted and their singular values cut there. Give the length that the file was made with."
            )
    return open_run(recipe.out)


def _publish(rows: "Iterator[ReadRow]", recipe: ImportRecipe, writer: RunWriter, watch: Progress) -> None:
    """Publish the missing parts, with no more than one in memory."""
    from gradprism.interop.tables import tables_of

    done = writer.done
    with session(writer.add_session) as account:
        account.device = "cpu"
        for index, part in numbered_parts(rows, recipe.part_rows):
            if index in done:
                continue
            writer.publish(index, tables_of(part))
            account.examples += len(part)
            watch.batch(len(part), None)


@dataclass(frozen=True)
class _First:
    """The first line that can be read: all others are verified against its layout."""

    where: str
    layout: Layout
    line: Line
    digest: str  # the data's fingerprint is of the texts alone, which the files of two models share


@dataclass(frozen=True)
class _Origin:
    """The model that made the file, as far as it is known."""

    model: dict[str, Any]  # as run.json has it
    encoder: Encoder | None
    shapes: dict[WeightKey, tuple[int, int]]


def _rows(
    examples: ExampleSet, layout: Layout, origin: _Origin, done: Collection[int], part_rows: int
) -> "Iterator[ReadRow]":
    """Yield every row; those of parts that are done are not parsed."""
    from gradprism.interop.tables import ReadRow

    for number, (example, found) in enumerate(examples.records()):
        yield ReadRow(example) if number // part_rows in done else _row(example, found, layout, origin)


def _row(example: Example, found: Record, layout: Layout, origin: _Origin) -> "ReadRow":
    from gradprism.interop.tables import ReadRow, measured

    example = replace(example, columns=_other_columns(example))
    try:
        line = read_line(_fields(example, found), layout)
        encoded = origin.encoder.encode(example) if origin.encoder else None
    except RowProblemError as problem:
        return ReadRow(example, problem=_located(str(problem), found))
    return measured(example, line, encoded, origin.shapes)


def _fields(example: Example, found: Record) -> dict[str, Any]:
    if example.problem or found.fields is None:
        raise RowProblemError(example.problem or "no known columns")
    return dict(found.fields)


def _other_columns(example: Example) -> dict[str, Any]:
    """Return the columns of the data itself, such as a reward, without numbers that JSON has no form for."""
    odd = {name for name, value in example.columns.items() if isinstance(value, float) and not isfinite(value)}
    return {name: value for name, value in example.columns.items() if name not in {*OWN_KEYS, *odd}}


def _located(problem: str, found: Record) -> str:
    return problem if not found.where or problem.startswith(found.where) else f"{found.where}: {problem}"


def _first_line(recipe: ImportRecipe) -> _First:
    """Return the first line with the layout of most of the first rows; if none of those can be read, of any row.

    Raises `GradPrismError`.
    """
    head = recipe.read.model_copy(update={"limit": _HEAD, "sample": None})
    problems = list[str]()
    for settings, most in ((head, _HEAD), (recipe.read, 1)):
        if readable := [*islice(_readable(recipe, settings, problems), most)]:
            [(layout, _)] = Counter(first.layout for first in readable).most_common(1)
            return next(first for first in readable if first.layout == layout)
    raise GradPrismError(
        f"No row of {', '.join(recipe.data)} can be imported. The first problem: {problems[0]}.\n"
        "Expected gradient statistics as Li et al. published them (arXiv 2504.10766): JSON Lines with instruction, "
        f"output, loss, and for each weight, such as {EXAMPLE_OF_A_WEIGHT}, {', '.join(sorted(_STATISTICS))}."
    )


def _readable(recipe: ImportRecipe, settings: ReadSettings, problems: list[str]) -> Iterator[_First]:
    """Yield lines that can be read, each by its own layout; the problems of the others go to `problems`."""
    for example, found in open_examples(recipe.data, settings).records():
        try:
            fields = _fields(example, found)
            _refuse_other_names(fields, found)
            layout = layout_of(fields)
            yield _First(found.where, layout, read_line(fields, layout), _digest(fields))
        except RowProblemError as problem:
            problems.append(_located(str(problem), found))


def _digest(fields: dict[str, Any]) -> str:
    return short_digest(json.dumps(fields, sort_keys=True, default=str))


def _refuse_other_names(fields: dict[str, Any], found: Record) -> None:
    """Raise `GradPrismError` where the first readable row has statistics, and none under a name that is known."""
    named = [name for name, value in fields.items() if isinstance(value, dict) and _STATISTICS & {*value}]
    if not named or any(map(weight_key, named)):
        return
    more = f" and {len(named) - 3:,} more" if len(named) > 3 else ""
    raise GradPrismError(
        f"The first readable row ({found.where or 'row 0'}) has the weights {', '.join(named[:3])}{more}.\n"
        f"Expected such names as {EXAMPLE_OF_A_WEIGHT} (q, k, v, o; gate, up, down in mlp), which Llama, Qwen, Gemma "
        "and Mistral share. Rename the keys where each of them is one such projection; a map that holds several in one "
        "cannot be taken apart from its statistics: measure that model itself, with gradprism spectra."
    )


def _origin(recipe: ImportRecipe, first: _First, watch: Progress) -> _Origin:
    layout, given = first.layout, recipe.origin
    found = {"projections": list(layout.projections), "measured_layers": list(layout.layers)}
    if recipe.checkpoint is None:
        unknown = dict.fromkeys(("class", "revision", "hidden_size"))
        named = {"name": given.made_by or UNNAMED, "dtype": given.made_in, "layers": len(layout.layers)}
        return _Origin({**named, **unknown, **found, "skipped_layers": [], "notes": []}, None, {})
    checkpoint = find_checkpoint(recipe.checkpoint, watch.say, weights=False)
    config = checkpoint.load_config()
    shapes = _shapes(checkpoint.load_skeleton(), first, checkpoint.name)
    model = model_record(checkpoint, config) | {"dtype": given.made_in} | found
    others = sorted({*range(model["layers"] or 0)} - {*layout.layers})
    text = resolve_text(recipe.text, checkpoint, config, 0, identity_of(to_path(recipe.out))).settings
    encoder = make_encoder(checkpoint.load_tokenizer(), text)
    return _Origin(model | {"skipped_layers": others, "notes": []}, encoder, shapes)


def _shapes(skeleton: Any, first: _First, name: str) -> dict[WeightKey, tuple[int, int]]:
    """Return (d_out, d_in) of each weight. Raises `GradPrismError` where the model cannot have made the file."""
    from gradprism.models.projections.discovery import find_projections

    found = find_projections(skeleton, first.layout.projections).projections
    shapes = {WeightKey(each.layer, each.name): (each.d_out, each.d_in) for each in found}
    problems = [f"it has no {each}" for each in first.layout.keys if each not in shapes]
    problems += [
        f"{each.key} has {len(each.values):,} singular values, and its matrix is {' x '.join(map(str, shape))}"
        for each in first.line.gradients
        if each.values is not None and (shape := shapes.get(each.key)) and len(each.values) > min(shape)
    ]
    if problems:
        raise GradPrismError(
            f"--model {name} did not make this file ({first.where or 'row 0'}): {problems[0]}. Expected the model "
            "whose gradients these are; leave the option out where you cannot name it."
        )
    return {each: shapes[each] for each in first.layout.keys}


def _resolved(recipe: ImportRecipe, origin: _Origin) -> ImportRecipe:
    """Return the recipe with absolute paths, so that it can be replayed from anywhere."""
    changes: dict[str, Any] = {
        "data": tuple(map(absolute_path, recipe.data)),
        "out": str(to_path(recipe.out).resolve()),
    }
    if recipe.origin.model and origin.encoder:
        named = resolved_checkpoint(CheckpointSettings(model=recipe.origin.model)).model
        changes["origin"] = recipe.origin.model_copy(update={"model": named})
        changes["text"] = origin.encoder.settings
    return recipe.model_copy(update=changes)


def _description(recipe: ImportRecipe, examples: ExampleSet, first: _First, origin: _Origin) -> dict[str, Any]:
    """Return the record of the run at its start."""
    identity = recipe.identity() | {
        "data fingerprint": examples.fingerprint,
        "first line": first.digest,
        "prism.projections": ",".join(first.layout.projections),
    }
    if measures := measures_identity(MEASURES):  # those of other packages are not stored
        identity["measures"] = measures
    if origin.encoder:
        identity |= {"model fingerprint": origin.model["revision"]} | text_identity(recipe.text)
    return {
        "verb": "import",
        "complete": False,
        "identity": identity,
        "data": data_record(examples),
        "imported": _imported(first.layout, origin),
        "model": origin.model,
        **machine_record(),
        "sessions": [],
    }


def _imported(layout: Layout, origin: _Origin) -> dict[str, Any]:
    """Return what was done to the file's singular values."""
    tokenizer = f"tokenizer of {origin.model['name']}" if origin.encoder else None
    if not layout.has_spectra:
        words = "sums of singular values as the file has them, noise included; no effective rank"
    elif tokenizer:
        words = f"singular values cut at tokens - 1 ({tokenizer}), and at 4 float32 epsilon of the largest"
    else:
        words = "singular values cut at 4 float32 epsilon of the largest; token counts are not known without --model"
    return {
        "format": "paper",
        "statistics": list(layout.statistics),
        "noise_floor": NOISE_FLOOR if layout.has_spectra else None,
        "tokens_by": tokenizer,
        "in_words": words,
    }
