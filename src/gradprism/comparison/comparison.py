"""`Comparison`: groups of examples of one model side by side, and everything that is said about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.core.facts import as_html, as_text, text_in_words
from gradprism.core.numbers import number


@dataclass(frozen=True)
class Group:
    """Some examples of one run under a name."""

    name: str
    run: str  # absolute path of the run
    rule: str  # which of its rows, in words: "all rows", "kind = careful", "ifd: highest 25%"
    n: int  # measured rows, those that are compared
    skipped: int = 0
    failed: int = 0
    pending: int = 0  # of a run that is not complete yet
    truncated: int | None = 0  # None where it is not known, of imported rows
    reasons: Mapping[str, int] = field(default_factory=dict)  # of the skipped and failed rows
    median_prompt_tokens: float | None = None
    median_response_tokens: float | None = None


@dataclass(frozen=True)
class Finding:
    """What is to be said of the layer mean of one measure in one contrast."""

    first: str
    second: str
    measure: str
    projection: str  # `mean` over projections, or one
    kind: str  # survives | partly | length | mixed | reversed | hidden | unclear | none | missing: `analysis.findings`
    sentence: str
    details: str = ""  # the figures of the three length controls, in words


@dataclass(frozen=True)
class Comparison:
    """The tables of `gradprism.comparison.comparison_tables`, and what they are of.

    One group alone has levels, curves, decay and correlations, and no effects.
    """

    groups: tuple[Group, ...]
    contrasts: tuple[tuple[str, str], ...]  # first, second: every difference is first - second
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]  # what a reader must know: incomplete runs, rows in both groups, sampling
    about: Mapping[str, Any]  # created, versions, model, text, data, runs, projections, layers, measures, settings
    levels: pl.DataFrame
    effects: pl.DataFrame
    mad: pl.DataFrame
    rd: pl.DataFrame
    examples: pl.DataFrame
    decay: pl.DataFrame
    correlations: pl.DataFrame

    @property
    def projections(self) -> tuple[str, ...]:
        """The projections that were measured, without `mean`."""
        return tuple(self.about["projections"])

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that were measured."""
        return tuple(self.about["layers"])

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures of spectra that were compared; cosines and metrics are not among them."""
        return tuple(self.about["measures"])

    @property
    def model(self) -> str:
        """Its name."""
        return str(self.about["model"]["name"])

    def group(self, name: str) -> Group:
        """One of the groups. Raises `GradPrismError` for a name that is none."""
        for group in self.groups:
            if group.name == name:
                return group
        raise GradPrismError(f"No group {name!r}; there are {', '.join(group.name for group in self.groups)}.")

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What is compared, in a few named lines."""
        text, kind = self.about["text"], self.about["model"]["class"]  # neither is known of some imported runs
        return [
            ("model", f"{self.model}  {f'{kind}, ' if kind else ''}{len(self.layers)} layers"),
            *([("text", text_in_words(text))] if text else []),
            *((group.name, _described(group)) for group in self.groups),
            *(("note", note) for note in self.notes),
        ]

    def __repr__(self) -> str:
        """Say what is compared, and what was found."""
        return "\n".join([as_text(self.facts), *(finding.sentence for finding in self.findings)])

    def _repr_html_(self) -> str:
        return as_html([*self.facts, *((finding.measure, finding.sentence) for finding in self.findings)])


def _described(group: Group) -> str:
    tokens = (
        ""
        if group.median_response_tokens is None
        else f", median response {number(group.median_response_tokens)} tokens"
    )
    return f"{group.n:,} rows of {Path(group.run).name} ({group.rule}){tokens}"
