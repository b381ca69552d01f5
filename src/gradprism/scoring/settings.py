"""Settings of `gradprism score`."""

from typing import Any, Literal, Self

from pydantic import Field

from gradprism.core.settings import Settings, checked, grouped, one_or_several
from gradprism.data.settings import ReadSettings, TextSettings
from gradprism.engine.settings import EngineSettings
from gradprism.metrics.settings import JudgeSettings, LikelihoodSettings, RequestSettings, RewardSettings
from gradprism.models.settings import CheckpointSettings, ExecutionSettings


class ScoreRecipe(Settings):
    """All settings of `gradprism score`."""

    verb: Literal["score"] = "score"
    data: tuple[str, ...]
    metric: str
    name: str | None = None
    """Another name for the metric in the run, such as ifd_gpt2, to store the same metric by several models."""
    read: ReadSettings = ReadSettings()
    text: TextSettings = TextSettings()
    checkpoint: CheckpointSettings | None = None
    likelihood: LikelihoodSettings = LikelihoodSettings()
    judge: JudgeSettings = JudgeSettings()
    requests: RequestSettings = RequestSettings()
    reward: RewardSettings = RewardSettings()
    own: dict[str, Any] = Field(default_factory=dict)
    """Settings that only one metric has, by name."""
    execution: ExecutionSettings = ExecutionSettings()
    engine: EngineSettings = EngineSettings()
    part_rows: int = Field(default=128, ge=1)
    """Number of rows in one published part: the most that a kill can lose."""
    out: str

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics to score, without duplicates."""
        return tuple(dict.fromkeys(one_or_several(self.metric)))

    @classmethod
    def from_options(cls, data: tuple[str, ...], metric: str, out: str, **options: Any) -> Self:
        """Sort flat options, as a Python caller gives them, into their groups."""
        return checked(cls, {"data": data, "metric": metric, "out": out, **grouped(cls, options)})
