"""All claims of a study in one table: the verdict of each, what it rests on, and by how much."""

from collections.abc import Iterator, Sequence

from gradprism.core.markdown import head, line
from gradprism.study.averages import Average, averages
from gradprism.study.claims import Count
from gradprism.study.outcome import HELD, RAW, Judged, Outcome
from gradprism.study.sentences import predictor_sentence, verdict_sentence
from gradprism.study.settings import StudyText


def overview(outcome: Outcome) -> Iterator[str]:
    """Markdown: how many claims have which verdict, what was found, all in a table, and what its columns are."""
    said = [each.verdict for each in outcome.judged]
    verdicts = ", ".join(f"{said.count(verdict)} × *{verdict}*" for verdict in dict.fromkeys(said))
    models = " and ".join(outcome.recipe.models)
    order = ", in this order" if len(outcome.recipe.models) > 1 else ""
    yield f"{len(said)} claims on {models}: {verdicts}."
    windows = [
        f"in `{text}` every example is {cut_in_words(outcome.recipe.texts[text])}" for text in cuts(outcome.judged)
    ]
    yield (
        "A comparison is of two sets on one model, all layers and projections together. In parentheses are the numbers "
        f"of the models{order}, with 95% intervals; × is a ratio of geometric means, first set over second."
        f"{f' {_sentence(windows)}' if windows else ''}"
    )
    yield "\n".join(f"- {sentence}" for sentence in _sentences(outcome))
    if outcome.recipe.about:
        yield outcome.recipe.about.strip()
    yield "The same in a table:"
    yield _table(outcome)
    yield "\n".join(_columns(outcome))


def _sentence(parts: Sequence[str]) -> str:
    said = "; ".join(parts)
    return f"{said[:1].upper()}{said[1:]}."


def _sentences(outcome: Outcome) -> Iterator[str]:
    yield from (verdict_sentence(each, outcome) for each in outcome.judged)
    if (table := outcome.tables.get("predictors")) is not None:
        exact = [text for text, how in outcome.recipe.texts.items() if how.equalises]
        yield from filter(
            None, (predictor_sentence(table, text) for text in exact[:1] or list(outcome.recipe.texts)[:1])
        )


def _table(outcome: Outcome) -> str:
    """A row a claim with its counts, and below it one for each model with the numbers."""
    whole, cut = next(iter(outcome.recipe.texts)), cuts(outcome.judged)
    return "\n".join([
        *head(["claim", "verdict", "as it is", "at equal length", *cut], 2),
        *(row for each in outcome.judged for row in _rows(each, whole, [RAW, HELD, *cut])),
    ])  # fmt: skip


def _rows(each: Judged, whole: str, columns: Sequence[str]) -> Iterator[str]:
    yield line([f"**{each.claim.says}**", f"**{each.verdict}**", *(_counted(each, column) for column in columns)])
    found = [*averages(each, whole)]
    for model in dict.fromkeys(average.model for average in found):
        own = [(average.column, _with_contrasts(average)) for average in found if average.model == model]
        cells = ("<br>".join(words for of, words in own if of == column) or "–" for column in columns)
        yield line([model, "", *cells])


def _with_contrasts(average: Average) -> str:
    return f"{average.value} ({average.contrasts})" if average.contrasts else average.value


def _counted(each: Judged, column: str) -> str:
    """The counts of a column; in brackets where the verdict does not rest on it."""
    found = each.counts.get(column, Count())
    if not found.all:
        return "–"
    others = {"the opposite": found.opposite, "length": found.length, "undecided": found.undecided}
    said = ", ".join([f"{found.shown} of {found.all}", *(f"{n} {name}" for name, n in others.items() if n)])
    return said if each.rests_on(column) else f"({said})"


def _columns(outcome: Outcome) -> Iterator[str]:
    yield (
        "- Beside a claim: how many comparisons (of cosines, sets and projections) of all models show it; how many "
        "show the opposite, or *length* alone, or leave it *undecided*, also since their sets were not cut so. In "
        "brackets: too few are decided there, or the cut keeps too little, and the verdict does not rest on it."
    )
    yield (
        "- Beside a model: ratio of geometric means, first set over second (in brackets, over how many contrasts); of "
        "separation, the difference of two AUC; of cosines, the largest median size of a set and pair, and the largest "
        "95% point; of curves, the median correlation between models, and how far below that within one model; of "
        "changes from layer to layer, their means in both sets. All with 95% intervals."
    )
    yield (
        "- *at equal length*: pairs of like response length, regression on lengths, partial rank correlation; the "
        "ratios are of sets that overlap in length."
    )
    yield "- How the words are chosen is said at the end."


def cuts(judged: Sequence[Judged]) -> tuple[str, ...]:
    """The texts that cut responses and have something to say."""
    return tuple(dict.fromkeys(text for each in judged for text in each.cut))


def cut_in_words(how: StudyText) -> str:
    """What is kept of each example."""
    n, before = how.response_tokens or 0, how.prompt_tokens
    prompt = f"the last {before} of the prompt and " if before else ""
    return f"cut to {prompt}the first {n} token{'s' * (n != 1)} of the response"
