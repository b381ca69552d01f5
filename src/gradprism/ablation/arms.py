"""Choose the rows of each arm and seed, and lay them out in steps of equal tokens."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from gradprism.ablation.pool import Pool
from gradprism.ablation.settings import Arm, TrainSettings
from gradprism.core.errors import GradPrismError
from gradprism.data.encode import Encoded
from gradprism.files.paths import to_path
from gradprism.selection.exclusions import Candidates
from gradprism.selection.resolver import Resolver, columns_named
from gradprism.selection.settings import SelectSettings
from gradprism.selection.subsets import rows_in_order
from gradprism.selection.survey import survey_of, texts_of


@dataclass(frozen=True)
class TrainRow:
    """One row in one step of a training."""

    row: int
    example_id: str
    encoded: Encoded
    cut: bool = False
    """Whether its response was cut, so that the arm has as many tokens as the others."""


Steps = tuple[tuple[TrainRow, ...], ...]


@dataclass(frozen=True)
class Training:
    """One arm with one seed: the item that an engine runs."""

    row: int
    """Its number among all trainings."""
    arm: str
    seed: int
    steps: Steps

    @property
    def digest(self) -> str:
        """Digest of the rows in their order."""
        names = [[(each.row, each.example_id, each.encoded.ids[-1:], each.encoded.n_response_tokens) for each in step]
                 for step in self.steps]  # fmt: skip
        return hashlib.sha256(repr(names).encode()).hexdigest()[:16]


def steps_of_arm(name: str, arm: Arm, pool: Pool, train: TrainSettings, seed: int) -> tuple[Steps, tuple[str, ...]]:
    """Return the rows that an arm trains on, step by step, and notes on how they were ranked.

    Raises `GradPrismError` where the arm cannot be had: an unknown metric, or fewer tokens than the budget.
    """
    order, notes = _order(arm, pool, train, seed)
    epochs = 1 if arm.whole else train.epochs
    chosen = _within(name, [row for row in order if row in pool.encoded], pool, train.tokens, epochs)
    rng = np.random.default_rng([seed, *hashlib.sha256(b"order of rows").digest()[:4]])
    walk: list[TrainRow] = []
    for budget, rows in chosen:
        shuffled = [rows[index] for index in rng.permutation(len(rows))]
        walk += _cut_to(shuffled, budget)
    return _in_steps(walk, train), notes


def _order(arm: Arm, pool: Pool, train: TrainSettings, seed: int) -> tuple[Sequence[int], tuple[str, ...]]:
    """Return the rows of the pool in the order in which an arm takes them."""
    longest = max(each.n_response_tokens for each in pool.encoded.values())
    settings = arm.within(train.tokens + longest)
    if not arm.is_ranked:
        settings = settings.model_copy(update={"by": ("length",)})  # any ranking: they are drawn
    candidates = _candidates(settings, pool)
    rows, notes = rows_in_order(candidates, settings, seed, texts_of(pool.examples))
    order = [int(row) for row in rows]
    if arm.ids:
        wanted = _listed(arm.ids)
        order = [row for row in order if pool.ids[row] in wanted]
        if missing := wanted - set(pool.ids.values()):
            raise GradPrismError(
                f"{arm.ids} lists {len(missing):,} ids that the pool has not, such as {min(missing)!r}"
            )
    if not arm.is_ranked:
        drawn = np.random.default_rng([seed, *hashlib.sha256(b"random rows").digest()[:4]])
        order = [sorted(order)[index] for index in drawn.permutation(len(order))]
    return order, notes


def _candidates(settings: SelectSettings, pool: Pool) -> Candidates:
    """Gather what the settings name; lengths are those of the encoded rows, in tokens."""
    survey = survey_of(pool.examples, columns_named(settings))
    found = Resolver(pool.run, survey).candidates(settings)
    rows = survey.rows["row"].to_list()
    response, prompt = (
        pl.Series(name, [of(pool.encoded[row]) if row in pool.encoded else None for row in rows], dtype=pl.Float64)
        for name, of in (("length", _n_response), ("prompt_length", _n_prompt))
    )
    values, reasons = found.values, found.reasons
    if "length" in values.columns:
        values = values.with_columns(response)
        reasons = reasons.with_columns(pl.when(response.is_null()).then(pl.lit("not in the pool")).alias("length"))
    return replace(found, values=values, reasons=reasons, length=response, prompt_length=prompt, length_unit="tokens")


def _n_response(encoded: Encoded) -> float:
    return float(encoded.n_response_tokens)


def _n_prompt(encoded: Encoded) -> float:
    return float(encoded.n_tokens - encoded.n_response_tokens)


def _listed(file: str) -> set[str]:
    """Read the ids of a file, one in each line. Raises `GradPrismError` where it has none."""
    try:
        names = {line.strip() for line in Path(to_path(file)).read_text(encoding="utf-8").splitlines() if line.strip()}
    except (OSError, ValueError) as error:
        raise GradPrismError(f"Cannot read the ids of {file}: {error}.") from error
    if not names:
        raise GradPrismError(f"{file} lists no ids. Expected an example_id in each line.")
    return names


def _within(
    name: str, order: Sequence[int], pool: Pool, tokens: int, epochs: int
) -> Iterator[tuple[int, list[TrainRow]]]:
    """Yield for each epoch its budget of tokens and the rows to fill it, the first ones in order.

    Raises `GradPrismError` where the rows have fewer tokens than an epoch needs.
    """
    budget = -(-tokens // epochs)
    taken, total = list[TrainRow](), 0
    for row in order:
        if total >= budget:
            break
        encoded = pool.encoded[row]
        taken.append(TrainRow(row, pool.ids[row], encoded))
        total += encoded.n_response_tokens
    if total < budget:
        raise GradPrismError(
            f"The arm {name} has {total:,} response tokens in {len(taken):,} rows, and {budget:,} are asked for. "
            f"Expected --tokens {total * epochs:,} at most, more --epochs, or more rows."
        )
    fitting = _cut_last(taken, total - budget)
    for epoch in range(epochs):
        yield min(budget, tokens - epoch * budget), fitting


def _cut_last(rows: list[TrainRow], surplus: int) -> list[TrainRow]:
    """Cut the response of the last row by so many tokens."""
    last = rows[-1]
    keep = last.encoded.n_response_tokens - surplus
    return [*rows[:-1], _shortened(last, keep)] if surplus else rows


def _cut_to(rows: Sequence[TrainRow], budget: int) -> Iterator[TrainRow]:
    """Yield rows until they have so many response tokens; the last is cut to fit."""
    for each in rows:
        if budget <= 0:
            return
        yield _shortened(each, budget) if each.encoded.n_response_tokens > budget else each
        budget -= each.encoded.n_response_tokens


def _shortened(row: TrainRow, keep: int) -> TrainRow:
    """Return a row with its first `keep` response tokens alone."""
    scored = [place for place, is_scored in enumerate(row.encoded.response_mask) if is_scored]
    stop = scored[keep - 1] + 1
    short = replace(row.encoded, ids=row.encoded.ids[:stop], response_mask=row.encoded.response_mask[:stop])
    return replace(row, encoded=short, cut=True)


def _in_steps(walk: Sequence[TrainRow], train: TrainSettings) -> Steps:
    """Lay rows out in steps of as equally many response tokens as whole rows allow, each of one row or more.

    Raises `GradPrismError` where there are fewer rows than steps.
    """
    if len(walk) < train.steps:
        raise GradPrismError(
            f"{len(walk):,} rows cannot be laid out in {train.steps:,} steps: rows have more tokens than a step. "
            f"Expected --step-tokens {-(-train.tokens // len(walk)):,} or more."
        )
    ends = np.cumsum([each.encoded.n_response_tokens for each in walk])
    middles = ends - np.diff(ends, prepend=0) / 2
    wanted = np.minimum((middles * train.steps / train.tokens).astype(int), train.steps - 1)
    places = _without_gaps(wanted.tolist(), train.steps)
    steps: list[list[TrainRow]] = [[] for _ in range(train.steps)]
    for place, each in zip(places, walk, strict=True):
        steps[place].append(each)
    return tuple(map(tuple, steps))


def _without_gaps(wanted: Sequence[int], steps: int) -> list[int]:
    """Return ascending places as near to the wanted ones as leaves no step empty."""
    places, n = list[int](), len(wanted)
    for index, place in enumerate(wanted):
        before = places[-1] if places else -1
        place = min(max(place, before), before + 1)
        places.append(max(place, steps - (n - index), 0))
    return places
