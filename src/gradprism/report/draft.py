"""Pages of the same comparisons with more or fewer examples: runs and data are read once."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from gradprism.ablation.result import Ablation
from gradprism.comparison.comparison import Comparison
from gradprism.core.progress import Say
from gradprism.report.ablations import ablation_data
from gradprism.report.directions import Directions, read_directions
from gradprism.report.example_curves import ExampleCurves, read_example_curves
from gradprism.report.influence import TargetInfluence, read_influences
from gradprism.report.listed_rows import ListedRow
from gradprism.report.model_data import examples_data, model_data
from gradprism.report.page import page, page_labels, page_title
from gradprism.report.page_json import script_json
from gradprism.report.shared_data import shared_data
from gradprism.report.step_data import step_data
from gradprism.report.texts import Texts, TurnText, read_texts
from gradprism.report.token_shading import ExampleTokens, read_tokens

_SAMPLED_FROM = "sampled_from"


@dataclass(frozen=True)
class Rendered:
    """A page, the number of examples on it, and the notes at its top."""

    content: bytes
    n_shown: int
    notes: tuple[str, ...]


@dataclass
class Draft:
    """Comparisons and the examples of theirs that a page of `most_bytes` could hold (the candidates)."""

    comparisons: Sequence[Comparison]
    seed: int
    with_texts: bool
    say: Say
    most_bytes: int
    ablations: Sequence[Ablation] = ()

    @cached_property
    def models(self) -> list[dict[str, Any]]:
        """The data of each comparison without its examples."""
        models = [model_data(comparison) for comparison in self.comparisons]
        return [{**model, **labels} for model, labels in zip(models, page_labels(models), strict=True)]

    @property
    def n_examples(self) -> int:
        """The number of examples in all comparisons together."""
        return sum(comparison.examples.height for comparison in self.comparisons)

    @cached_property
    def share(self) -> float:
        """The share of each group's examples beyond which no page fits, whatever is in them: others are never read."""
        least_bytes = sum(c.examples.height * (4 * len(c.examples.columns) + 30) for c in self.comparisons)
        return min(1.0, self.most_bytes / max(least_bytes, 1))

    @cached_property
    def tables(self) -> list[pl.DataFrame]:
        """The candidates of each comparison, with the share from which on each is in the sample."""
        tables = [with_sampling_order(comparison.examples, self.seed) for comparison in self.comparisons]
        return [table.filter(pl.col(_SAMPLED_FROM) <= self.share) for table in tables]

    @cached_property
    def curves(self) -> list[ExampleCurves]:
        """Curves and singular values of the candidates."""
        pairs = zip(self.comparisons, self.tables, strict=True)
        return [read_example_curves(comparison, table, self.say) for comparison, table in pairs]

    @cached_property
    def directions(self) -> list[Directions | None]:
        """Directions of the gradients of all examples, where a comparison has sketches of them."""
        return [read_directions(comparison, self.seed, self.say) for comparison in self.comparisons]

    @cached_property
    def influences(self) -> list[list[TargetInfluence]]:
        """The influence of all examples on the targets of each comparison."""
        return [read_influences(comparison) for comparison in self.comparisons]

    @cached_property
    def texts(self) -> Texts:
        """Texts of the candidates, and of the rows that are listed by name."""
        if not self.with_texts:
            return Texts()
        return read_texts(self.comparisons, [*map(self._with_texts, range(len(self.tables)))], self.say)

    def _with_texts(self, index: int) -> pl.DataFrame:
        directions, influences = self.directions[index], self.influences[index]
        listed = [*(directions.listed if directions else ()), *(row for each in influences for row in each.listed)]
        candidates = self.tables[index].select("group", "row")
        named = pl.DataFrame([row[:2] for row in listed], schema=candidates.schema, orient="row")
        return pl.concat([candidates, named])

    @cached_property
    def tokens(self) -> list[ExampleTokens]:
        """Tokens of the candidates with their losses and gradient sizes, in at most a third of the page."""
        if not self.with_texts:
            return [ExampleTokens() for _ in self.comparisons]
        most = self.most_bytes / 3 / len(self.comparisons)
        pairs = zip(self.comparisons, self.tables, strict=True)
        return [read_tokens(comparison, table, _SAMPLED_FROM, most, self.say) for comparison, table in pairs]

    def render(self, share: float) -> Rendered:
        """Return the page that shows `share` of each group's examples, at least one of each group."""
        chosen = [(table[_SAMPLED_FROM] <= share).arg_true().to_list() for table in self.tables]
        n_shown = sum(map(len, chosen))
        notes = [*self._sampling_notes(n_shown)]
        texts: dict[tuple[TurnText, ...], int] = {}
        models = [self._model(index, rows, texts) for index, rows in enumerate(chosen)]
        shared = {**shared_data(self.comparisons), "ablations": [*map(ablation_data, self.ablations)],
                  "steps": step_data(self.comparisons)}  # fmt: skip
        data = {**shared, "notes": notes, "models": models}
        measured = [
            {**curves.json(rows), "tokens": tokens.json(rows)}
            for curves, tokens, rows in zip(self.curves, self.tokens, chosen, strict=True)
        ]
        content = page(page_title(models), script_json(data), script_json([*texts]), [*map(script_json, measured)])
        return Rendered(content.encode("utf-8"), n_shown, tuple(notes))

    def _model(self, index: int, rows: list[int], texts: dict[tuple[TurnText, ...], int]) -> dict[str, Any]:
        """Return the data of one comparison; `texts` numbers each different text of the page."""
        comparison, table = self.comparisons[index], self.tables[index][rows].drop(_SAMPLED_FROM)
        runs = {group.name: group.run for group in comparison.groups}
        turns = [self.texts.turns.get((runs[group], row)) for group, row in table["group", "row"].iter_rows()]
        directions, groups = self.directions[index], [*runs]

        def listed(row: ListedRow) -> dict[str, Any]:
            return row.json(groups.index(row.group), self.texts.turns.get((runs[row.group], row.row)))

        return {
            **self.models[index],
            "n_examples": comparison.examples.height,
            "directions": directions and directions.json(listed),
            "targets": [each.json(listed) for each in self.influences[index]],
            "examples": {
                **examples_data(comparison, table),
                "map": directions and directions.coordinates_of(table),
                "text": [None if each is None else texts.setdefault(each, len(texts)) for each in turns],
            },
            "no_texts": {name: why for name, run in runs.items() if (why := self._no_text(run))},
            "measured_missing": self.curves[index].missing,
        }

    def _no_text(self, run: str) -> str:
        return self.texts.missing.get(run, "") if self.with_texts else "The report was made without texts."

    def _sampling_notes(self, n_shown: int) -> Iterator[str]:
        if n_shown < self.n_examples:
            yield (
                f"{n_shown:,} of {self.n_examples:,} examples are listed and drawn one by one: a random sample of "
                f"every group (seed {self.seed}), so that the file stays within {self.most_bytes / 1e6:g} MB. "
                "All statistics, curves and bands are of all examples."
            )


def with_sampling_order(examples: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return `Comparison.examples` with a column that says from which share of its group on each row is sampled.

    The first row of each group is in every sample. The order depends on seed, group and row alone: it is the same for
    every model, and a smaller sample is part of a larger one.
    """
    keys = [_sampling_key(seed, group, row) for group, row in examples["group", "row"].iter_rows()]
    keyed = examples.with_columns(pl.Series(_SAMPLED_FROM, keys, dtype=pl.UInt64))
    number = pl.col(_SAMPLED_FROM).rank("ordinal").over("group")
    share = pl.when(number == 1).then(0.0).otherwise(number / pl.len().over("group"))
    return keyed.with_columns(share.alias(_SAMPLED_FROM))


def _sampling_key(seed: int, group: str, row: int) -> int:
    text = f"report\0{seed}\0{group}\0{row}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
