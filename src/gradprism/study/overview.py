"""All claims of a study in one table: the verdict of each, what it rests on, and by how much."""

from collections.abc import Iterator, Sequence

from gradprism.markdown import head, line
from gradprism.study.averages import HELD, RAW, averages
from gradprism.study.claims import Count
from gradprism.study.outcome import Judged, Outcome
from gradprism.study_recipe import StudyText


def overview(outcome: Outcome) -> Iterator[str]:
    """Markdown: how many claims have which verdict, the table, and what its columns are."""
    said = [each.verdict for each in outcome.judged]
    counted = ", ".join(f"{said.count(verdict)} × *{verdict}*" for verdict in dict.fromkeys(said))
    yield f"{len(said)} claims on {' and '.join(outcome.recipe.models)}: {counted}."
    yield table_of(outcome.judged, outcome)
    yield "\n".join(_columns(outcome))


def table_of(judged: Sequence[Judged], outcome: Outcome) -> str:
    """A row a claim with its counts, and below it one for each model with the numbers."""
    whole, cut = next(iter(outcome.recipe.texts)), cuts(judged)
    return "\n".join([
        *head(["claim", "verdict", "as it is", "at equal length", *cut], 2),
        *(row for each in judged for row in _rows(each, whole, [RAW, HELD, *cut])),
    ])  # fmt: skip


def _rows(each: Judged, whole: str, columns: Sequence[str]) -> Iterator[str]:
    counts = {RAW: each.raw, HELD: each.held, **each.cut}
    yield line([f"**{each.claim.says}**", f"**{each.verdict}**",
                *(_counted(counts.get(column, Count())) for column in columns)])  # fmt: skip
    found = [*averages(each, whole)]
    for model in dict.fromkeys(average.model for average in found):
        cells = ["<br>".join(average.value for average in found if (average.model, average.column) == (model, column))
                 or "–" for column in columns]  # fmt: skip
        yield line([model, "", *cells])


def _counted(found: Count) -> str:
    if not found.all:
        return "–"
    if not found.decided:
        return f"none of {found.all} decides"
    others = {"the opposite": found.opposite, "length": found.length, "undecided": found.undecided}
    return ", ".join([f"{found.shown} of {found.all}", *(f"{n} {name}" for name, n in others.items() if n)])


def _columns(outcome: Outcome) -> Iterator[str]:
    yield (
        "- Beside a claim: how many comparisons show it, of all; how many show the opposite, or *length* alone, or "
        "leave it *undecided*. Where sets are compared, the columns behind *as it is* count those comparisons alone "
        "that show there what most of them show."
    )
    yield (
        "- Beside a model: ratio of geometric means, first set over second (in brackets, over how many contrasts); of "
        "separation, the difference of two AUC; of cosines, the set and pair whose median size is largest; of curves, "
        "the median correlation between models, and how far below that within one model; of changes from layer to "
        "layer, their means in both sets. All with 95% intervals."
    )
    yield "- *at equal length*: pairs of like response length, regression on lengths, partial rank correlation."
    for text in cuts(outcome.judged):
        yield f"- `{text}`: every example {cut_in_words(outcome.recipe.texts[text])}."
    yield "- How the words are chosen is said at the end."


def cuts(judged: Sequence[Judged]) -> tuple[str, ...]:
    """The texts that cut responses and have something to say."""
    return tuple(dict.fromkeys(text for each in judged for text in each.cut))


def cut_in_words(how: StudyText) -> str:
    """What is kept of each example."""
    n, before = how.response_tokens or 0, how.prompt_tokens
    prompt = f"the last {before} of the prompt and " if before else ""
    return f"cut to {prompt}the first {n} token{'s' * (n != 1)} of the response"
