"""A `Comparison`: groups of examples of one model side by side, with every table and finding about them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.core.numbers import count
from gradprism.core.summary_lines import describe_text, lines_as_html, lines_as_text


@dataclass(frozen=True)
class Group:
    """A named group of examples of one run, with its counts."""

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
    """A verdict on the layer mean of one measure in one contrast."""

    first: str
    second: str
    measure: str
    projection: str  # `mean` over projections, or one
    kind: str  # a key of `gradprism.comparison.findings.KINDS`
    sentence: str
    details: str = ""  # the figures of the raw effect and its length controls, in words
    headline: str = ""  # both factors and what they come to, without names; empty in comparisons of an earlier version
    advice: str = ""  # what would decide, of an unclear finding: the window to measure, and how many rows remain


@dataclass(frozen=True)
class Paired:
    """Tables of a paired comparison beside those of every comparison, and findings on its interactions."""

    pairs: pl.DataFrame  # comparison_tables.PAIRS: a row each pair of rows
    interactions: pl.DataFrame  # comparison_tables.INTERACTIONS: did one group of rows change more than another?
    mad_changes: pl.DataFrame  # comparison_tables.MAD_CHANGES
    findings: tuple[Finding, ...] = ()  # on the interactions; `first` and `second` are groups of rows


@dataclass(frozen=True)
class Comparison:
    """The tables of `gradprism.comparison.comparison_tables`, with the groups, contrasts and findings they are of.

    One group alone has levels, curves, decay and correlations, and no effects.
    """

    groups: tuple[Group, ...]
    contrasts: tuple[tuple[str, str], ...]  # first, second: every difference is first - second
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]  # caveats: incomplete runs, rows in both groups, sampling
    about: Mapping[str, Any]  # created, versions, model, text, data, runs, projections, layers, measures, settings
    levels: pl.DataFrame
    effects: pl.DataFrame
    mad: pl.DataFrame
    rd: pl.DataFrame
    examples: pl.DataFrame
    decay: pl.DataFrame
    correlations: pl.DataFrame
    paired: Paired | None = None  # of the same rows through two models alone

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
        """Name of the model."""
        return str(self.about["model"]["name"])

    def group(self, name: str) -> Group:
        """Return a group by its name. Raises `GradPrismError` for an unknown one."""
        for group in self.groups:
            if group.name == name:
                return group
        raise GradPrismError(f"No group {name!r}; there are {', '.join(group.name for group in self.groups)}.")

    @property
    def summary_lines(self) -> list[tuple[str, str]]:
        """Model, text, groups and notes, each a name and a line of text."""
        text = self.about["text"]  # not known of some imported runs
        return [
            *self._model_lines,
            *([("text", describe_text(text))] if text else []),
            *((group.name, _group_in_words(group)) for group in (self.groups[:2] if self.paired else self.groups)),
            *(("note", note) for note in self.notes),
        ]

    @property
    def _model_lines(self) -> list[tuple[str, str]]:
        """The model, or both models of a paired comparison, and the cosine of their gradients."""
        if models := self.about.get("models"):
            cosine = self.about["cosine"]["in_words"]
            return [*((name, model["in_words"]) for name, model in models.items()), ("cosine", cosine)]
        kind = self.about["model"]["class"]  # not known of some imported runs
        return [("model", f"{self.model}  {f'{kind}, ' if kind else ''}{len(self.layers)} layers")]

    def __repr__(self) -> str:
        """Return model, groups and findings as text."""
        return "\n".join([lines_as_text(self.summary_lines), *(finding.sentence for finding in self.findings)])

    def _repr_html_(self) -> str:
        return lines_as_html([*self.summary_lines, *((finding.measure, finding.sentence) for finding in self.findings)])


def _group_in_words(group: Group) -> str:
    tokens = ""
    if group.median_response_tokens is not None:
        tokens = f", median response {count(group.median_response_tokens)} tokens"
    return f"{group.n:,} rows of {Path(group.run).name} ({group.rule}){tokens}"
