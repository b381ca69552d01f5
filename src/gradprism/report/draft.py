"""A report before it is known how much fits: what runs and data give is read once, and rendered at any fidelity."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from typing import Any

import polars as pl

from gradprism.comparison.comparison import Comparison
from gradprism.comparison.decay import MOST_EXAMPLES
from gradprism.comparison.evidence import ALPHA
from gradprism.metrics.titles import titles
from gradprism.report.embedded import script_json
from gradprism.report.looks import looks
from gradprism.report.measured import Measured, read_measured
from gradprism.report.model_data import examples_data, model_data
from gradprism.report.page import page, page_title
from gradprism.report.room import Fidelity, most_examples, sample
from gradprism.report.texts import Texts, read_texts


@dataclass(frozen=True)
class Rendered:
    """A page and what it shows."""

    content: bytes
    n_shown: int
    notes: tuple[str, ...]


@dataclass
class Draft:
    """Comparisons, and for each a table of the examples that could fit at all (the candidates)."""

    comparisons: Sequence[Comparison]
    seed: int
    with_texts: bool
    say: Callable[[str], None]
    most_bytes: int
    _measured_json: dict[tuple[int, int, bool], str] = field(default_factory=dict)

    @cached_property
    def models(self) -> list[dict[str, Any]]:
        """All but the examples."""
        return [model_data(comparison) for comparison in self.comparisons]

    @property
    def n_examples(self) -> int:
        """In all comparisons together."""
        return sum(comparison.examples.height for comparison in self.comparisons)

    @cached_property
    def share(self) -> float:
        """The share of every group's examples that is read."""
        return most_examples(self.comparisons, self.most_bytes)

    @cached_property
    def tables(self) -> list[pl.DataFrame]:
        """The candidates' rows of each comparison."""
        return [comparison.examples[sample(comparison, self.share, self.seed)] for comparison in self.comparisons]

    @cached_property
    def measured(self) -> list[Measured]:
        """Curves and singular values of the candidates."""
        pairs = zip(self.comparisons, self.tables, strict=True)
        return [read_measured(comparison, table, self.say) for comparison, table in pairs]

    @cached_property
    def texts(self) -> Texts:
        """Texts of the candidates."""
        return read_texts(self.comparisons, self.tables, self.say) if self.with_texts else Texts()

    def render(self, share: float, fidelity: Fidelity) -> Rendered:
        """The page that shows `share` of every group's examples."""
        chosen = [self._chosen(place, share) for place in range(len(self.comparisons))]
        n_shown = sum(map(len, chosen))
        notes = [*self._sampling_notes(n_shown), *fidelity.notes]
        used = _Used(self.texts, fidelity.characters)
        models = [self._model(place, rows, used) for place, rows in enumerate(chosen)]
        data = {**_shared(), "notes": notes, "models": models}
        content = page(
            page_title(models),
            script_json(data),
            script_json(used.json()),
            [self._measured(place, rows, fidelity.spectra_by_layer) for place, rows in enumerate(chosen)],
        )
        return Rendered(content.encode("utf-8"), n_shown, tuple(notes))

    def _chosen(self, place: int, share: float) -> list[int]:
        """Places in the table of candidates."""
        height = self.tables[place].height
        if share >= self.share:
            return list(range(height))
        at = {(group, row): index for index, (group, row) in enumerate(self.tables[place]["group", "row"].iter_rows())}
        comparison = self.comparisons[place]
        rows = comparison.examples[sample(comparison, share, self.seed)]["group", "row"]
        return [at[row] for row in rows.iter_rows()]

    def _model(self, place: int, rows: list[int], used: "_Used") -> dict[str, Any]:
        comparison, table = self.comparisons[place], self.tables[place][rows]
        runs = {group.name: group.run for group in comparison.groups}
        texts = [used.place(runs[group], row) for group, row in table["group", "row"].iter_rows()]
        missing = {name: self._no_text(run) for name, run in runs.items() if self._no_text(run)}
        return {
            **self.models[place],
            "n_examples": comparison.examples.height,
            "examples": {**examples_data(comparison, table), "text": texts},
            "no_texts": missing,
            "measured_missing": self.measured[place].missing,
        }

    def _no_text(self, run: str) -> str:
        return self.texts.missing.get(run, "") if self.with_texts else "The report was made without texts."

    def _measured(self, place: int, rows: list[int], by_layer: bool) -> str:
        key = place, len(rows), by_layer
        if key not in self._measured_json:
            self._measured_json[key] = script_json(self.measured[place].json(rows, by_layer))
        return self._measured_json[key]

    def _sampling_notes(self, n_shown: int) -> Iterator[str]:
        if n_shown < self.n_examples:
            yield (
                f"{n_shown:,} of {self.n_examples:,} examples are listed and drawn one by one: a random sample of "
                f"every group (seed {self.seed}), so that the file stays within {self.most_bytes / 1e6:g} MB. "
                "All statistics, curves and bands are of all examples."
            )


def _shared() -> dict[str, Any]:
    """What pages take from the package, so that it stands in one place."""
    return {
        "version": version("gradprism"),
        "alpha": ALPHA,
        "titles": titles(),
        "decay_examples": MOST_EXAMPLES,
        "looks": looks(),
    }


@dataclass
class _Used:
    """The texts that the shown examples need, each once."""

    texts: Texts
    characters: int
    _places: dict[int, int] = field(default_factory=dict)

    def place(self, run: str, row: int) -> int | None:
        """Where the text of a row stands on the page; None where it has none."""
        found = self.texts.place(run, row)
        return None if found is None else self._places.setdefault(found, len(self._places))

    def json(self) -> list[list[list[Any]]]:
        """All texts in the order of their places."""
        return [self.texts.json(place, self.characters) for place in self._places]
