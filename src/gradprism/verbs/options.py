"""The options that verbs share: each a group of settings, flattened into the command line."""

from typing import Annotated

from cyclopts import Parameter

from gradprism.recipe import (
    CheckpointSettings,
    EngineSettings,
    ExecutionSettings,
    JudgeSettings,
    LikelihoodSettings,
    PrismSettings,
    ReadSettings,
    RequestSettings,
    RewardSettings,
    TextSettings,
)
from gradprism.select_recipe import SelectSettings

DEFAULT_READ, DEFAULT_TEXT = ReadSettings(), TextSettings()
DEFAULT_PRISM, DEFAULT_EXECUTION = PrismSettings(), ExecutionSettings()
DEFAULT_ENGINE = EngineSettings()
DEFAULT_LIKELIHOOD, DEFAULT_REWARD = LikelihoodSettings(), RewardSettings()
DEFAULT_JUDGE, DEFAULT_REQUESTS = JudgeSettings(), RequestSettings()
DEFAULT_SELECT = SelectSettings()

Read = Annotated[ReadSettings, Parameter(name="*", group="Which rows")]
Text = Annotated[TextSettings, Parameter(name="*", group="Text to tokens")]
Checkpoint = Annotated[CheckpointSettings, Parameter(name="*", group="Model")]
Prism = Annotated[PrismSettings, Parameter(name="*", group="What is measured")]
Execution = Annotated[ExecutionSettings, Parameter(name="*", group="How it runs")]
Engine = Annotated[EngineSettings, Parameter(name="*", group="Where it runs")]
Model = Annotated[CheckpointSettings | None, Parameter(name="*", group="Model")]
Likelihood = Annotated[LikelihoodSettings, Parameter(name="*", group="IFD")]
Judge = Annotated[JudgeSettings, Parameter(name="*", group="Judge (instag, difficulty)")]
Requests = Annotated[RequestSettings, Parameter(name="*", group="Requests to the judge")]
Reward = Annotated[RewardSettings, Parameter(name="*", group="Reward model")]
Select = Annotated[SelectSettings, Parameter(name="*", group="What is selected")]
