"""Settings of `gradprism score`."""

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from gradprism.core.settings import Settings, checked, grouped, one_or_several
from gradprism.data.settings import ReadSettings, TextSettings
from gradprism.engine.settings import EngineSettings
from gradprism.metrics.settings import JudgeSettings, LikelihoodSettings, RequestSettings, RewardSettings
from gradprism.models.settings import CheckpointSettings, ExecutionSettings


class JoinSettings(Settings):
    """Scores that something else has computed, in a file."""

    from_file: str | None = None
    """File of scores made elsewhere, which are joined to the rows: .parquet, .jsonl, .json, .csv."""
    on: str = "id"
    """Key of the file: id, row, or COLUMN=id and COLUMN=row where its column has another name."""
    column: tuple[str, ...] = ()
    """Columns of the file that are scores, A.B for a field of A; by itself the only one that holds numbers."""

    @field_validator("column", mode="before")
    @classmethod
    def _several(cls, column: object) -> object:
        """Read `"quality,scores.depth"`."""
        given = (column,) if isinstance(column, str) else column
        return one_or_several(",".join(map(str, given))) if isinstance(given, list | tuple) and given else given


class ScoreRecipe(Settings):
    """All settings of `gradprism score`."""

    verb: Literal["score"] = "score"
    data: tuple[str, ...]
    metric: str = ""
    name: str | None = None
    """Another name for the metric in the run, such as ifd_gpt2, to store the same metric by several models."""
    read: ReadSettings = ReadSettings()
    text: TextSettings = TextSettings()
    checkpoint: CheckpointSettings | None = None
    likelihood: LikelihoodSettings = LikelihoodSettings()
    judge: JudgeSettings = JudgeSettings()
    requests: RequestSettings = RequestSettings()
    reward: RewardSettings = RewardSettings()
    joined: JoinSettings = JoinSettings()
    own: dict[str, Any] = Field(default_factory=dict)
    """Settings that only one metric has, by name."""
    execution: ExecutionSettings = ExecutionSettings()
    engine: EngineSettings = EngineSettings()
    part_rows: int = Field(default=128, ge=1)
    """Number of rows in one published part: the most that a kill can lose."""
    out: str

    @model_validator(mode="after")
    def _says_what_to_score(self) -> Self:
        if bool(self.metric) == bool(self.joined.from_file):
            raise ValueError("expected --metric, or --from FILE, and not both")
        if not self.joined.from_file and self.joined != JoinSettings():
            raise ValueError("--on and --column are of --from FILE, which is not given")
        return self

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics to score, without duplicates; none where scores of a file are joined."""
        return tuple(dict.fromkeys(one_or_several(self.metric)))

    @classmethod
    def from_options(cls, data: tuple[str, ...], metric: str, out: str, **options: Any) -> Self:
        """Sort flat options, as a Python caller gives them, into their groups."""
        return checked(cls, {"data": data, "metric": metric, "out": out, **grouped(cls, options)})
