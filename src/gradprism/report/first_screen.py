"""The first screen of a page: a sentence a contrast and main measure, or what a run without contrasts holds."""

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import polars as pl

from gradprism.comparison.comparison import Comparison, Finding, Group
from gradprism.comparison.findings import KINDS, by_importance
from gradprism.comparison.length_controls import Row, controls, deciding_control, is_paired
from gradprism.core.numbers import number
from gradprism.metrics.titles import headed
from gradprism.prism.measures import MAIN_MEASURES, MEAN
from gradprism.stats.layer_curves import THIRDS, thirds_of

READING = (
    "A larger gradient asks for a larger change, not for a better one. Li et al. found lower nuclear norms and higher "
    "effective ranks in better data; most of that was length."
)
MOST_CONTRASTS = 5
MOST_WORDS = 150  # of the sentences on the first screen
UNDECIDED = ("unclear", "none")  # kinds of findings


def main_measures(measures: Sequence[str]) -> list[str]:
    """Return the measures of the first screen: the main ones, or the first two where a comparison has neither."""
    return [name for name in MAIN_MEASURES if name in measures] or list(measures[:2])


def findings_data(comparison: Comparison) -> list[dict[str, str]]:
    """Return the findings, those of contrasts that are decided first, each with its headline in three parts.

    `figures` are the ratios, `tag` what they come to, and `more` what the tag leaves out: of an open question why it is
    one, and which data would decide. All are empty for findings of an earlier version, which have no headline.
    """
    return _with_parts(by_importance(comparison.findings), comparison.effects)


def interactions_data(comparison: Comparison) -> list[dict[str, str]]:
    """Return the findings on interactions of a paired comparison as `findings_data` does those on contrasts."""
    paired = comparison.paired
    return [] if paired is None else _with_parts(by_importance(paired.findings), paired.interactions)


def _with_parts(found: Sequence[Finding], effects: pl.DataFrame) -> list[dict[str, str]]:
    means = effects.filter(pl.col("layer").is_null(), projection=MEAN)
    rows = {(row["first"], row["second"], row["measure"]): row for row in means.iter_rows(named=True)}
    return [{**vars(each), **headline_parts(each, rows.get((each.first, each.second, each.measure)))} for each in found]


def headline_parts(finding: Finding, row: Row | None) -> dict[str, str]:
    """Return `figures`, `tag` and `more` of a finding; see `findings_data`."""
    if not finding.headline:
        return {"figures": "", "tag": "", "more": ""}
    figures, colon, verdict = finding.headline.partition(": ")
    if not colon:
        figures, verdict = headed(finding.measure), figures
    name = KINDS[finding.kind].name if finding.kind in KINDS else finding.kind
    if finding.kind in UNDECIDED:
        why = re.search(r"\((.+)\)$", verdict)
        more = "; ".join(filter(None, [why[1] if why else "", would_decide(finding, row)]))
        return {"figures": figures, "tag": name, "more": more}
    told = verdict.startswith(name)
    return {"figures": figures, "tag": verdict if told else name, "more": "" if told else verdict}


def first_contrasts(found: Sequence[Mapping[str, str]], measures: Sequence[str]) -> int:
    """Return how many contrasts the first screen shows, the others being folded: as many as its words allow."""
    said: dict[tuple[str, str], list[str]] = {}
    for each in found:
        if each["measure"] in measures:
            words = said.setdefault((each["first"], each["second"]), [each["first"], each["second"]])
            words += [each["figures"] or each["sentence"], each["tag"], *({each["more"]} - {*words})]
    total = accumulate(len(" ".join(words).split()) for words in said.values())
    return max(1, min(MOST_CONTRASTS, sum(n <= MOST_WORDS for n in total)))


def would_decide(finding: Finding, row: Row | None) -> str:
    """Say in a few words which data would decide a finding that decides nothing; empty for any other."""
    if finding.kind not in UNDECIDED or row is None:
        return ""
    if finding.kind == "none":
        return "more rows could decide"
    if finding.advice:
        return finding.advice.partition(": ")[0].removeprefix("compare ")
    if is_paired(row):
        return "more rows could decide"
    if row["weighted_n_first"] is None:
        return "token counts could decide"
    supported = deciding_control(controls(row)).has_support
    return "more rows could decide" if supported else "rows of both at the same lengths could decide"


def overview(comparison: Comparison) -> list[dict[str, Any]]:
    """Return for each group what was measured, and how large its main measures are and where in depth.

    A line is [name, text].
    """
    return [{"group": group.name, "lines": _group_lines(comparison, group)} for group in comparison.groups]


def _group_lines(comparison: Comparison, group: Group) -> list[list[str]]:
    sizes = {name: _size(comparison, group, name) for name in main_measures(comparison.measures)}
    return [["Measured", _measured(comparison, group)], *([headed(name), text] for name, text in sizes.items() if text)]


def _measured(comparison: Comparison, group: Group) -> str:
    missing = {"not measured yet": group.pending, "skipped": group.skipped, "failed": group.failed}
    counts = [f"{group.n:,} examples", *(f"{n:,} {why}" for why, n in missing.items() if n)]
    tokens = group.median_response_tokens
    length = f"; median response {tokens:,.0f} tokens" if tokens is not None else ""
    return f"{', '.join(counts)}; {', '.join(comparison.projections)} in {len(comparison.layers)} layers{length}"


def _size(comparison: Comparison, group: Group, measure: str) -> str:
    levels = comparison.levels.filter(group=group.name, measure=measure, projection=MEAN)
    whole = levels.filter(pl.col("layer").is_null()).to_dicts()
    if not whole or whole[0]["mean"] is None:
        return ""
    level = whole[0]
    text = f"mean {number(level['mean'])}"
    if None not in (level["median"], level["q25"], level["q75"]):
        text = f"median {number(level['median'])} (middle half {number(level['q25'])} to {number(level['q75'])})"
    by_layer = levels.drop_nulls(["layer", "mean"]).sort("layer")
    curve = dict(zip(by_layer["layer"], by_layer["mean"], strict=True))
    return text + _depth(curve)


def _depth(curve: Mapping[int, float]) -> str:
    """Say how large a mean curve is by thirds of depth, and in which layer it is largest."""
    if len(curve) < len(THIRDS):
        return ""
    values = [*curve.values()]
    means = [sum(values[third]) / len(values[third]) for third in thirds_of(len(values))]
    thirds = ", ".join(f"{number(mean)} {name}" for name, mean in zip(THIRDS, means, strict=True))
    return f"; by depth {thirds}, largest in layer {max(curve, key=curve.__getitem__)}"
