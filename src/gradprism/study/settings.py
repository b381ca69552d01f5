"""The settings of a whole study: models, sets of examples, ways to read them, contrasts between sets, and claims."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, Field, model_validator

from gradprism.comparison.settings import CompareSettings
from gradprism.core.settings import Settings
from gradprism.data.settings import ReadSettings, TextSettings
from gradprism.engine.settings import EngineSettings
from gradprism.metrics.settings import JudgeSettings, LikelihoodSettings, RequestSettings, RewardSettings
from gradprism.models.settings import CheckpointSettings, ExecutionSettings
from gradprism.prism.measures import NULL_COLUMNS, Measure, known_measures
from gradprism.prism.settings import PrismSettings
from gradprism.selection.settings import SelectSettings

Value = TypeVar("Value")
FEWEST_TOKENS = 4
"""Of a response; how the first one or two tokens compare says how answers begin."""
_OTHER_MEASURES = ("adjacent_cosine", "same_layer_cosine", "separation", "families")
"""Of claims that expect no direction."""
NEAR = 0.1
"""Cosines are near 0 where the whole interval of the median of their sizes lies within this."""


def _file_name(name: str) -> str:
    if not name or not all(letter.isalnum() or letter in "-_." for letter in name) or name.startswith("."):
        raise ValueError(f"{name!r} is no name of a part of a study: expected letters, digits, '-', '_' and '.'")
    return name


Name = Annotated[str, AfterValidator(_file_name)]


class StudyModel(CheckpointSettings):
    """A model of a study."""

    parameters: float | None = Field(default=None, gt=0)
    """Number of parameters, from which --dry-run estimates times where the model is not on this machine."""
    family: str | None = None
    """Name that models of one family share."""


class StudySet(ReadSettings):
    """Examples of one kind: files, URLs or a hub id, and which rows of them."""

    data: str | tuple[str, ...]
    select: SelectSettings | None = None
    """Choose among them as `gradprism select` does: one group."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Files, URLs or hub ids."""
        return (self.data,) if isinstance(self.data, str) else self.data

    @model_validator(mode="after")
    def _one_group(self) -> Self:
        if self.select is not None:
            self.select.check()
            if self.select.is_two_groups:
                raise ValueError("select: --top and --bottom are two groups, and a set is one")
        return self


class StudyText(TextSettings):
    """A way to read the sets."""

    rows: int | None = Field(default=None, ge=1)
    """Most rows of each set, the first ones."""
    sample: int | None = Field(default=None, ge=1)
    """Rows of each set drawn at random, the same ones for every model; a set that has fewer fails."""
    sets: tuple[str, ...] = ("*",)
    """Only sets of these names, also with * for any letters."""

    @property
    def has_equal_lengths(self) -> bool:
        """True where every gradient has equally many tokens."""
        return self.prompt_tokens is not None and self.response_tokens is not None

    @property
    def is_length_control(self) -> bool:
        """True where every gradient has equally many tokens, and not so few that a phrase decides."""
        return self.has_equal_lengths and (self.response_tokens or 0) >= FEWEST_TOKENS

    def takes(self, name: str) -> bool:
        """Return whether a set is read this way."""
        return any(fnmatchcase(name, pattern) for pattern in self.sets)


class StudyScore(Settings):
    """A metric by which every pool is scored."""

    metric: str
    text: TextSettings = TextSettings()
    checkpoint: CheckpointSettings | None = None
    likelihood: LikelihoodSettings = LikelihoodSettings()
    judge: JudgeSettings = JudgeSettings()
    requests: RequestSettings = RequestSettings()
    reward: RewardSettings = RewardSettings()
    own: dict[str, Any] = Field(default_factory=dict)
    """Settings that one metric alone has, by name."""


class Contrast(Settings):
    """Two sets side by side: every difference is first - second."""

    first: str
    second: str
    metric: str | None = None
    """The metric of whose values the sets are the ends (column:NAME of the data)."""


class Claim(Settings):
    """A sentence to be tested, and the difference that would show it."""

    says: str
    measure: str
    """Any measure of gradients, its change from layer to layer (mad:MEASURE), a cosine (expected near 0), `separation`
    (whether effective rank tells the sets apart better than nuclear norm), or `families` (whether models agree)."""
    expect: Literal["lower", "higher", "near 0"] | None = None
    """Of the first set against the second."""
    contrasts: tuple[str, ...] = ("*",)
    """Names of contrasts, also with * for any letters."""
    source: str = ""

    @property
    def of_gradients(self) -> Measure | None:
        """The measure of gradients that the claim is on, or on whose change from layer to layer it is."""
        return known_measures().get(self.measure.removeprefix("mad:"))

    @model_validator(mode="after")
    def _expects(self) -> Self:
        directed = self.of_gradients is not None
        if not directed and self.measure not in _OTHER_MEASURES:
            known = ", ".join((*known_measures(), "mad:MEASURE of each", *_OTHER_MEASURES))
            raise ValueError(f"no measure {self.measure!r}; there are {known}")
        if directed and self.expect not in ("lower", "higher"):
            raise ValueError(f"a claim on {self.measure} expects `lower` or `higher`")
        if not directed and self.expect in ("lower", "higher"):
            raise ValueError(f"a claim on {self.measure} has no `expect: {self.expect}`; leave it out")
        if self.measure == "families" and self.contrasts != ("*",):
            raise ValueError("a claim on families is of the curves of all sets; leave `contrasts` out")
        return self


class StudyRecipe(Settings):
    """The settings of a study. Relative paths of data are below `root`, that below the recipe's folder."""

    verb: Literal["study"] = "study"
    title: str
    about: str = ""
    """Description of the sets for readers of the page, in Markdown."""
    out: str
    root: str = "."
    models: dict[Name, StudyModel] = Field(min_length=1)
    texts: dict[Name, StudyText] = Field(default_factory=lambda: {"whole": StudyText()})
    sets: dict[Name, StudySet] = Field(default_factory=dict)
    contrasts: dict[Name, Contrast] = Field(default_factory=dict)
    pools: dict[Name, StudySet] = Field(default_factory=dict)
    """Data that are scored, and of which the highest and lowest rows by each score become sets and a contrast."""
    scores: dict[Name, StudyScore] = Field(default_factory=dict)
    ends: int = Field(default=200, ge=2)
    """Number of highest rows of a pool, and of its lowest."""
    prism: PrismSettings = PrismSettings()
    execution: ExecutionSettings = ExecutionSettings()
    engine: EngineSettings = EngineSettings()
    part_rows: int = Field(default=32, ge=1)
    compare: CompareSettings = CompareSettings()
    claims: dict[Name, Claim] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _refers_to_what_there_is(self) -> Self:
        sets, contrasts = self.all_sets, self.all_contrasts
        for name, contrast in contrasts.items():
            for each in (contrast.first, contrast.second):
                if each not in sets:
                    raise ValueError(f"contrasts.{name}: there is no set {each!r}; there are {', '.join(sets)}")
        for name, claim in self.claims.items():
            for pattern in claim.contrasts:
                if not [*matching(contrasts, (pattern,))]:
                    raise ValueError(f"claims.{name}: no contrast {pattern!r}; there are {', '.join(contrasts)}")
        if taken := {"raw", "held"} & {*self.texts}:
            raise ValueError(f"texts: {', '.join(taken)} is a word of the tables; expected another name")
        if dotted := [name for name in self.scores if "." in name]:
            raise ValueError(f"scores: {', '.join(dotted)} has a dot; expected letters, digits, '-' and '_'")
        if self.compare.by or self.compare.against:
            raise ValueError("compare: `by` and `against` are of a single comparison; a study names its contrasts")
        if any(pool.select for pool in self.pools.values()):
            raise ValueError("pools: a pool is scored whole; `select` is of sets")
        if bool(self.pools) != bool(self.scores):
            raise ValueError("pools and scores belong together: each pool is scored by each")
        return self

    @model_validator(mode="after")
    def _measures_what_claims_are_on(self) -> Self:
        named = self.compare.measures
        for name, claim in self.claims.items():
            measure = claim.of_gradients
            if measure is None:
                continue
            if {*measure.needs} & {*NULL_COLUMNS} and not self.prism.null_draws:
                raise ValueError(
                    f"claims.{name}: {measure.name} is relative to a null, which is not drawn; expected "
                    "`prism: {null_draws: N}` with N above 0"
                )
            is_compared = measure.name in named if named else measure.compared
            if named != ("all",) and not is_compared:
                raise ValueError(
                    f"claims.{name}: the comparisons leave {measure.name} out; expected it in "
                    "`compare: {measures: [...]}`, or `all` there"
                )
        return self

    @property
    def first_text(self) -> str:
        """Name of the text that controls no length."""
        return next(iter(self.texts))

    @property
    def length_controls(self) -> tuple[str, ...]:
        """Names of the texts in which every gradient has equally many tokens."""
        return tuple(name for name, text in self.texts.items() if text.is_length_control)

    @property
    def chosen_sets(self) -> dict[str, tuple[str, str, str]]:
        """Pool, score and end of each set that is chosen out of a pool, by the name of the set."""
        ends = ("high", "low")
        return {f"{p}-{s}-{end}": (p, s, end) for p in self.pools for s in self.scores for end in ends}

    @property
    def all_sets(self) -> tuple[str, ...]:
        """Names of the given sets, then of those chosen out of pools."""
        return (*self.sets, *self.chosen_sets)

    @property
    def all_contrasts(self) -> dict[str, Contrast]:
        """The given contrasts, then the two ends of each pool by each score."""
        ends = {
            f"{p}-{s}": Contrast(first=f"{p}-{s}-high", second=f"{p}-{s}-low", metric=f"column:gradprism.{s}")
            for p in self.pools
            for s in self.scores
        }
        return self.contrasts | ends


def matching(named: dict[str, Value], patterns: Sequence[str]) -> Iterator[tuple[str, Value]]:
    """Yield the names that match a pattern, with their values, in their own order."""
    for name, value in named.items():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            yield name, value
