"""Open the rows to train on and those to evaluate on, as tokens; and take out of the first what is in the second."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gradprism.ablation.settings import AblateRecipe
from gradprism.core.errors import GradPrismError
from gradprism.data.encode import Encoded, Encoder
from gradprism.data.example import Example, RowProblemError
from gradprism.data.example_set import ExampleSet, open_examples
from gradprism.data.settings import IN_MEMORY, ReadSettings
from gradprism.files.paths import to_path
from gradprism.runs.layout import RUN_FILE
from gradprism.runs.run import Run, open_run
from gradprism.runs.source_data import open_source_data
from gradprism.selection.near_duplicates import near_duplicates

SIMILAR = 0.8  # Jaccard index of five-word sequences, from which a row counts as a near-duplicate
_WORDS = 10  # a prompt of fewer is a phrase that many rows may share


@dataclass(frozen=True)
class Pool:
    """The rows that arms choose from."""

    examples: ExampleSet
    run: Run | None
    encoded: Mapping[int, Encoded]  # by row; without those that cannot be read, or are near an evaluation row
    ids: Mapping[int, str]
    n_unreadable: int
    overlap: Mapping[str, int]
    """Number of rows taken out since they are near a row of each evaluation set."""


@dataclass(frozen=True)
class EvalRows:
    """One evaluation set, as tokens."""

    name: str
    rows: tuple[tuple[int, Encoded], ...]
    fingerprint: str

    @property
    def tokens(self) -> int:
        """Response tokens."""
        return sum(encoded.n_response_tokens for _, encoded in self.rows)


def open_pool(recipe: AblateRecipe, objects: Any = None) -> tuple[Run | None, ExampleSet]:
    """Open the pool: a run with its data, or data. Raises `GradPrismError` for several runs, or options of reading."""
    runs = [name for name in recipe.data if (to_path(name) / RUN_FILE).is_file()]
    if not runs:
        if recipe.data == IN_MEMORY and objects is None:
            raise GradPrismError("The recipe was made of Python objects, which it does not hold. Expected files.")
        return None, open_examples(recipe.data if objects is None else objects, recipe.read)
    if len(recipe.data) > 1 or recipe.read != ReadSettings():
        raise GradPrismError(
            f"Given the run {runs[0]} beside other data, or with options that choose rows. Expected the run alone: its "
            "rows were chosen when it was made."
        )
    run = open_run(runs[0])
    return run, open_source_data(run)


def other_settings(run: Run | None, recipe: AblateRecipe) -> tuple[str, ...]:
    """Say in what the rows were measured otherwise than they are trained on; the recipe's text is resolved."""
    if run is None or not run.has_spectra:
        return ()
    made = run.record["identity"]
    now = {f"text.{name}": value for name, value in recipe.text} | {"checkpoint.model": recipe.checkpoint.model}
    others = [f"{name.partition('.')[2]} {made[name]} (here {value})"
              for name, value in now.items() if name in made and made[name] != value]  # fmt: skip
    return (f"the run was measured with another {', another '.join(others)}",) if others else ()


def open_evals(recipe: AblateRecipe) -> dict[str, ExampleSet]:
    """Open every evaluation set. Raises `GradPrismError` where one has no rows."""
    return {
        name: open_examples(
            found.sources, ReadSettings(**{key: getattr(found, key) for key in ReadSettings.model_fields})
        )
        for name, found in recipe.evals.items()
    }


def encoded_evals(evals: Mapping[str, ExampleSet], encoder: Encoder) -> tuple[EvalRows, ...]:
    """Turn evaluation rows into tokens. Raises `GradPrismError` where no row of a set can be used."""
    found = []
    for name, examples in evals.items():
        rows = [(example.row, encoded) for example in examples if (encoded := _encoded(example, encoder))]
        if not rows:
            raise GradPrismError(f"--eval {name}: none of its {len(examples):,} rows has a response to evaluate on.")
        found.append(EvalRows(name, tuple(rows), examples.fingerprint))
    return tuple(found)


def make_pool(run: Run | None, examples: ExampleSet, apart: Mapping[str, Iterable[Example]], encoder: Encoder) -> Pool:
    """Turn the pool into tokens, without rows that are near one of those that are kept apart for evaluation.

    Raises `GradPrismError` where none is left.
    """
    all_rows = [*examples]
    overlap = {name: _near(all_rows, [*rows]) for name, rows in apart.items()}
    out = set[int]().union(*overlap.values())
    found = {each.row: _encoded(each, encoder) for each in all_rows if each.row not in out}
    encoded = {row: value for row, value in found.items() if value is not None}
    if not encoded:
        counts = ", ".join(f"{len(rows):,} near {name}" for name, rows in overlap.items() if rows)
        raise GradPrismError(
            f"None of the {len(all_rows):,} rows of the pool can be trained on"
            f"{f' ({counts})' if counts else ''}. Expected evaluation rows that are kept apart from the pool."
        )
    ids = {each.row: each.example_id for each in all_rows}
    counts_of = {name: len(rows) for name, rows in overlap.items()}
    return Pool(examples, run, encoded, ids, sum(value is None for value in found.values()), counts_of)


def _encoded(example: Example, encoder: Encoder) -> Encoded | None:
    try:
        return encoder.encode(example)
    except RowProblemError:
        return None


def _near(pool: Iterable[Example], evaluation: Iterable[Example]) -> set[int]:
    """Return the rows of a pool that, or whose prompts, are near-duplicates of an evaluation row."""
    pool, evaluation = list(pool), list(evaluation)
    found = set[int]()
    for text in (_whole_text, _prompt):
        references = {-1 - index: text(example) for index, example in enumerate(evaluation)}
        texts = [*references.items(), *((example.row, text(example)) for example in pool)]
        found |= near_duplicates(texts, [row for row, _ in texts], SIMILAR, references).keys() - references.keys()
    return found


def _whole_text(example: Example) -> str:
    return "\n".join(turn.text for turn in example.turns)


def _prompt(example: Example) -> str:
    """Return the text before the first answer; nothing where it is too short to tell rows apart."""
    turns = []
    for turn in example.turns:
        if turn.role == "assistant":
            break
        turns.append(turn.text)
    text = "\n".join(turns)
    return text if len(text.split()) >= _WORDS else ""
