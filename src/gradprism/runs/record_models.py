"""Models of the records of runs and scores, run.json and score.json: what every reader relies on."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, NonNegativeFloat, NonNegativeInt

from gradprism.files.records import RecordModel, digest_of

Identity = dict[str, Any]


class SessionEntry(RecordModel):
    """The entry of one session."""

    seconds: NonNegativeFloat
    peak_memory_mib: NonNegativeInt | None = None
    retries: NonNegativeInt = 0
    workers: NonNegativeInt = 1


class DataEntry(RecordModel):
    """The entry on the data."""

    sources: list[str]
    rows: NonNegativeInt
    fingerprint: str
    of_schema: str = Field("", alias="schema")
    extended_from: list[NonNegativeInt] = Field(default_factory=list)  # numbers of rows that the run had before


class ModelEntry(RecordModel):
    """The entry on the model; null is what is not known of an imported run."""

    name: str
    of_class: str | None = Field(None, alias="class")
    layers: NonNegativeInt | None = None
    projections: list[str] = Field(default_factory=list)
    measured_layers: list[int] = Field(default_factory=list)
    skipped_layers: list[int] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    tokenizer: str | None = None  # digest of vocabulary and tokenization; None of an earlier version
    chat_template: str | None = None  # digest


class RunRecord(RecordModel):
    """The model of run.json."""

    identity: Identity = Field(default_factory=dict)
    data: DataEntry
    digest: str | None = None
    spectra_model: ModelEntry | None = Field(None, alias="model")
    sessions: list[SessionEntry] = Field(default_factory=list)
    versions: dict[str, str | None] = Field(default_factory=dict)
    hardware: dict[str, Any] = Field(default_factory=dict)


class ScoreRecord(RecordModel):
    """The model of score.json."""

    metric: str
    about: str = ""
    identity: Identity
    digest: str | None = None
    sessions: list[SessionEntry] = Field(default_factory=list)


def made_of(identity: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Return the digest of settings and data that every part of a run or of scores names."""
    return digest_of({"identity": dict(identity), "rows": data["rows"], "fingerprint": data["fingerprint"]})
