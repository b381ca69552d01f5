"""Settings of `gradprism select`: metrics to rank by, cuts, exclusions, and further files to write."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from gradprism.core.errors import GradPrismError
from gradprism.core.settings import Settings, checked, grouped
from gradprism.data.settings import ReadSettings

DEFAULT_CALIPER = 0.05
DEFAULT_QUALITY = 10.0


@dataclass(frozen=True)
class Amount:
    """Number of rows, or share of them in percent."""

    rows: int | None = None
    percent: Decimal | None = None

    def of(self, n: int) -> int:
        """Convert to rows out of `n`: a share rounds down, though never to none."""
        if self.percent is None:
            return min(self.rows or 0, n)
        return min(n, max(1, int(self.percent * n / 100)))


class SelectSettings(Settings):
    """Options for choosing the rows of a subset, and for the files beside it."""

    by: tuple[str, ...] = ()
    """Metric to rank by, highest first; --by=-METRIC where lower is better. Repeat it for several. A metric of the run
    (ifd, reward, length, ...), a column of one (ifd.ppl), a spectral measure averaged over layers (effective_rank:q,
    nuclear_norm:mean@10-19), or the data's own column (column:NAME)."""
    top: str | None = None
    """Take the best N rows, or the best N%."""
    bottom: str | None = None
    """Take the worst N rows, or N%. Together with --top: two groups, `high` and `low`, a file each."""
    quantile: str | None = None
    """Take the rows between two quantiles A:B of the ranking, 0 the worst and 1 the best: 0.9:1 is the best tenth."""
    where: str | None = None
    """Take only rows for which this SQL expression over metrics and columns holds; N and quantiles count among these.
    Names with a colon or a dot go in double quotes, texts in single ones: "effective_rank:q" > 40 AND kind = 'math'."""
    tokens: int | None = Field(default=None, ge=1)
    """Take rows in order of rank while they fit into this many response tokens; best first, or as --top and --bottom
    say (--bottom 100% --tokens N fills from the worst)."""
    combine: Literal["rank", "and", "or"] = "rank"
    """Several --by: cut once by the mean of the ranks, or by each and take the rows in all (and) or any (or) cuts."""
    round_robin: bool = False
    """Several --by: take the best of each in turn, each row once, up to --top or --tokens."""
    diverse: bool = False
    """Take rows whose gradients differ, up to --top or --tokens: chosen one by one for the largest log-determinant of
    their cosines, weighed by --by where it is given (--quality). Needs a run with sketches (spectra --sketch)."""
    quality: float = Field(default=DEFAULT_QUALITY, ge=1)
    """--diverse with --by: how many times the best row weighs the worst: q² of the kernel diag(q) K diag(q) runs from
    1/N at the worst rank to 1 at the best. At 1 rank decides only among equal gains."""
    per_cluster: int | None = Field(default=None, ge=1)
    """Take the best by --by of each of --clusters in turn, at most N of each, up to --top or --tokens. Needs a run with
    sketches."""
    clusters: int | None = Field(default=None, ge=2)
    """--per-cluster: number of k-means clusters of the gradients; by itself as many as --top N needs, else the square
    root of the rows."""
    stratify: str | None = None
    """Take the same share of each value of this column of the data (equal counts with --stratify-equal)."""
    stratify_equal: bool = False
    """Take equally many rows (or tokens) of each value; one that has fewer gives all, the others make up for it."""
    match_length: bool = False
    """Of --top and --bottom keep the pairs of rows whose response lengths agree within --caliper."""
    caliper: float = Field(default=DEFAULT_CALIPER, gt=0, le=1)
    """--match-length: the most by which the response lengths of a pair differ, as a part of the shorter."""
    given: Literal["length"] | None = None
    """Rank by what is left of each --by metric once the lengths of response and prompt are taken out of it, by
    regression over the rows that can be ranked. The data card says how."""
    random: bool = False
    """Also write a baseline, NAME.random: as many rows (or tokens) drawn at random from those that could be taken."""
    dedup: float | None = Field(default=None, gt=0, le=1)
    """First drop near-duplicates: rows that share at least this part of their five-word sequences (Jaccard index)
    with one that ranks better. 0.8 is usual."""
    keep_ifd_above_1: bool = False
    """Keep rows whose IFD is above 1 (the prompt misleads), which are left out otherwise, as in the paper."""
    max_perplexity: float | None = Field(default=None, ge=1)
    """Leave out rows whose perplexity, the exponential of the response's mean loss, is above this; off by default. Of a
    run that holds losses: its spectra, or the metric loss or perplexity. Rows without a loss are left out too."""

    @field_validator("by", mode="before")
    @classmethod
    def _one_or_several(cls, by: object) -> object:
        return (by,) if isinstance(by, str) else by

    @field_validator("top", "bottom", mode="before")
    @classmethod
    def _as_text(cls, amount: object) -> object:
        return str(amount) if isinstance(amount, int) else amount

    @model_serializer(mode="wrap")
    def _without_later_settings(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out later settings at their defaults: studies know done steps by a digest of these."""
        values: dict[str, Any] = serialize(self)
        defaults = {name: type(self).model_fields[name].default for name in _LATER}
        return {name: value for name, value in values.items() if name not in _LATER or value != defaults[name]}

    def check(self) -> None:
        """Raise `GradPrismError` where the settings take no rows, contradict each other, or cannot be read."""
        for wrong, problem in self._problems():
            if wrong:
                raise GradPrismError(problem)
        _ = self.top_amount, self.bottom_amount, self.quantiles

    def _problems(self) -> tuple[tuple[bool, str], ...]:
        """List the contradictions: whether each is there, and its message."""
        counted = any((self.top, self.bottom, self.tokens, self.per_cluster))
        ranked = counted or bool(self.quantile)
        blank = any(not name.lstrip("-").strip() for name in self.by)
        return (
            (not ranked and not self.where, f"Nothing says what to take. Expected one of {_CUTS}."),
            (
                ranked and not self.by and not self.diverse,
                "Expected --by METRIC, to rank by, with --top, --bottom, --quantile or --tokens.",
            ),
            (blank, "--by: expected the name of a metric."),
            (len(set(self.metrics)) < len(self.by), "--by names one metric twice."),
            (bool(self.quantile) and counted, "--quantile goes with none of --top, --bottom and --tokens."),
            (bool(self.tokens) and self.combine != "rank", "--tokens fills in one order: expected --combine rank."),
            (self.match_length and not self.is_two_groups, "--match-length needs two groups: --top N --bottom N."),
            (
                not self.match_length and self.caliper != DEFAULT_CALIPER,
                "--caliper is of the pairs of --match-length.",
            ),
            (self.given is not None and not ranked, f"--given {self.given} ranks: expected --by METRIC and --top N."),
            (bool(self.stratify) and not ranked, "--stratify shares out --top, --bottom, --quantile or --tokens."),
            (self.stratify_equal and not self.stratify, "--stratify-equal needs --stratify COLUMN."),
            (self.stratify_equal and not counted, "--stratify-equal needs --top, --bottom or --tokens."),
            *self._problems_of_ways(),
        )

    def _problems_of_ways(self) -> tuple[tuple[bool, str], ...]:
        """List what contradicts the ways to choose that look at more than one ranking."""
        ways, others = " and ".join(self.ways), bool(self.bottom or self.quantile or self.match_length)
        return (
            (len(self.ways) > 1, f"{ways} are different ways to choose. Expected one of them."),
            (bool(self.ways) and others, f"{ways} goes with none of --bottom, --quantile and --match-length."),
            (bool(self.ways) and self.combine != "rank", f"{ways} cuts once: expected --combine rank."),
            (self.round_robin and len(self.by) < 2, "--round-robin takes turns: expected two --by METRIC or more."),
            (bool(self.ways) and not self.per_cluster and not (self.top or self.tokens),
             f"{ways}: expected --top N or --tokens BUDGET."),
            (self.quality != DEFAULT_QUALITY and not (self.diverse and self.by),
             "--quality weighs --by against differences: expected --diverse and --by METRIC."),
            (bool(self.clusters) and not self.per_cluster, "--clusters are those of --per-cluster N."),
        )  # fmt: skip

    @property
    def ways(self) -> tuple[str, ...]:
        """Options that choose by more than one ranking: at most one."""
        given = {"--round-robin": self.round_robin, "--diverse": self.diverse, "--per-cluster": self.per_cluster}
        return tuple(option for option, value in given.items() if value)

    @property
    def needs_sketches(self) -> bool:
        """True where rows are chosen by their gradients."""
        return self.diverse or bool(self.per_cluster)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics to rank by, without their directions."""
        return tuple(name.removeprefix("-") for name in self.by)

    @property
    def is_two_groups(self) -> bool:
        """True where both ends of the ranking are taken, as groups high and low."""
        return bool(self.top and self.bottom)

    @property
    def top_amount(self) -> Amount | None:
        """Amount of best rows to take."""
        return _parse_amount("--top", self.top)

    @property
    def bottom_amount(self) -> Amount | None:
        """Amount of worst rows to take."""
        return _parse_amount("--bottom", self.bottom)

    @property
    def quantiles(self) -> tuple[Decimal, Decimal] | None:
        """The two quantiles, exactly as written."""
        return _parse_quantiles(self.quantile) if self.quantile else None


_LATER = (
    "max_perplexity",
    "caliper",
    "given",
    "round_robin",
    "diverse",
    "quality",
    "per_cluster",
    "clusters",
)  # fmt: skip; settings that came after the first studies
_NO_METRIC = "Expected --by METRIC, to rank by, with --top, --bottom, --quantile or --tokens."
_CUTS = "--top N, --bottom N, --quantile A:B, --where EXPR, --tokens BUDGET, --per-cluster N"


def _parse_amount(option: str, text: str | None) -> Amount | None:
    if text is None:
        return None
    number = _parse_decimal(text.strip().removesuffix("%"))
    if number is not None and text.strip().endswith("%") and 0 < number <= 100:
        return Amount(percent=number)
    if number is not None and text.strip().isdecimal() and number > 0:
        return Amount(rows=int(number))
    raise GradPrismError(f"{option} {text!r}: expected a number of rows such as 200, or a share such as 10%.")


def _parse_quantiles(text: str) -> tuple[Decimal, Decimal]:
    first, _, last = text.partition(":")
    low, high = _parse_decimal(first), _parse_decimal(last)
    if low is None or high is None or not 0 <= low < high <= 1:
        raise GradPrismError(f"--quantile {text!r}: expected A:B with 0 <= A < B <= 1, for example 0.9:1.")
    return low, high


def _parse_decimal(text: str) -> Decimal | None:
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


TrainerName = Literal["trl", "llama-factory", "axolotl", "open-instruct"]


class SelectRecipe(Settings):
    """Settings of one `gradprism select`. `read` is for data files; for a run it gives only the seed."""

    verb: Literal["select"] = "select"
    data: tuple[str, ...]
    read: ReadSettings = ReadSettings()
    select: SelectSettings
    out: str | None = None
    trainer: TrainerName | None = None
    """Write the groups in the form that a trainer reads, and beside them what registers them there."""

    @model_validator(mode="after")
    def _check_trainer(self) -> Self:
        if self.trainer and not (self.out or "").endswith(".jsonl"):
            raise ValueError(f"--for {self.trainer} writes JSON Lines: expected --out with a name that ends in .jsonl")
        return self

    @model_serializer(mode="wrap")
    def _without_no_trainer(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out `trainer` where there is none: studies know done steps by a digest of these."""
        values: dict[str, Any] = serialize(self)
        return values if self.trainer else {name: value for name, value in values.items() if name != "trainer"}

    @model_validator(mode="after")
    def _check_select(self) -> Self:
        """Refuse settings that contradict each other before any data is read."""
        self.select.check()
        return self

    @classmethod
    def from_options(
        cls,
        data: tuple[str, ...],
        out: str | None,
        by: str | Sequence[str] = (),
        trainer: TrainerName | None = None,
        **options: Any,
    ) -> Self:
        """Make a recipe of flat options, as a Python caller gives them."""
        values = grouped(cls, options)
        values["select"] = {"by": by, **values.get("select", {})}
        return checked(cls, {"data": data, "out": out, "trainer": trainer, **values})
