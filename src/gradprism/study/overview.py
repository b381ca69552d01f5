"""All claims of a study in one table: the verdict of each, what it rests on, and by how much."""

from collections.abc import Iterator, Sequence

from gradprism.core.markdown import header_lines, inline, table_row, without_html
from gradprism.study.averages import Average, averages
from gradprism.study.claims import Count
from gradprism.study.result import CONTROLLED, RAW, JudgedClaim, StudyResult
from gradprism.study.sentences import predictor_sentence, verdict_sentence
from gradprism.study.settings import StudyText

_COLUMN_NOTES = """\
- Beside a claim: how many comparisons (of cosines, sets and projections) of all models show it; how many \
show the opposite, or *length* alone, or leave it *undecided*, also since their sets were not cut so. In \
brackets: too few are decided there, or the cut keeps too little, and the verdict does not rest on it.
- Beside a model: ratio of geometric means, first set over second, or without × the difference of means (in brackets, \
over how many contrasts); of separation, the difference of two AUC; of cosines, the largest median size of a set and \
pair, and the largest 95% point; of curves, the median correlation between models, and how far below that within one \
model; of changes from layer to layer, their means in both sets. All with 95% intervals.
- *length-controlled*: by overlap weights, in which a row counts as its lengths are found in the other set too, with \
what lengths explain besides regressed out; matched pairs of rows of like lengths stand beside them. The ratios are of \
sets with common support in length. Of separation, lengths are regressed out without weights.
- The end of the page defines these words."""


def overview(result: StudyResult) -> Iterator[str]:
    """Yield parts in Markdown: counts of verdicts, the findings, all claims in a table, and its columns explained."""
    said = [each.verdict for each in result.judged]
    verdicts = ", ".join(f"{said.count(verdict)} × *{verdict}*" for verdict in dict.fromkeys(said))
    models = " and ".join(result.recipe.models)
    order = ", in this order" if len(result.recipe.models) > 1 else ""
    yield f"{len(said)} claims on {inline(models)}: {verdicts}."
    windows = [
        f"in `{text}` every example is {cut_in_words(result.recipe.texts[text])}" for text in cuts(result.judged)
    ]
    yield (
        "A comparison is of two sets on one model, all layers and projections together. In parentheses are the numbers "
        f"of the models{order}, with 95% intervals; × is a ratio of geometric means, first set over second."
        f"{f' {_capitalised(windows)}' if windows else ''}"
    )
    yield "\n".join(f"- {inline(sentence)}" for sentence in _findings(result))
    if result.recipe.about:
        yield without_html(result.recipe.about.strip())
    yield "The same in a table:"
    yield _claims_table(result)
    yield _COLUMN_NOTES


def _capitalised(parts: Sequence[str]) -> str:
    said = "; ".join(parts)
    return f"{said[:1].upper()}{said[1:]}."


def _findings(result: StudyResult) -> Iterator[str]:
    yield from (verdict_sentence(each, result) for each in result.judged)
    if (table := result.tables.get("predictors")) is not None:
        text = next(iter(result.recipe.length_controls), result.recipe.first_text)
        yield from filter(None, [predictor_sentence(table, text)])


def _claims_table(result: StudyResult) -> str:
    """Yield the row of a claim with its counts, and a row for each model with its numbers."""
    whole, cut = result.recipe.first_text, cuts(result.judged)
    return "\n".join([
        *header_lines(["claim", "verdict", "raw", "length-controlled", *cut], 2),
        *(row for each in result.judged for row in _claim_rows(each, whole, [RAW, CONTROLLED, *cut])),
    ])  # fmt: skip


def _claim_rows(each: JudgedClaim, whole: str, columns: Sequence[str]) -> Iterator[str]:
    yield table_row([f"**{each.claim.says}**", f"**{each.verdict}**", *(_counted(each, column) for column in columns)])
    found = [*averages(each, whole)]
    for model in dict.fromkeys(average.model for average in found):
        own = [(average.column, _with_contrasts(average)) for average in found if average.model == model]
        cells = ("<br>".join(words for of, words in own if of == column) or "–" for column in columns)
        yield table_row([model, "", *cells])


def _with_contrasts(average: Average) -> str:
    return f"{average.value} ({average.contrasts})" if average.contrasts else average.value


def _counted(each: JudgedClaim, column: str) -> str:
    """Return the counts of a column; in brackets where the verdict does not rest on it."""
    found = each.counts.get(column, Count())
    if not found.all:
        return "–"
    others = {"the opposite": found.opposite, "length": found.length, "undecided": found.undecided}
    said = ", ".join([f"{found.shown} of {found.all}", *(f"{n} {name}" for name, n in others.items() if n)])
    return said if each.rests_on(column) else f"({said})"


def cuts(judged: Sequence[JudgedClaim]) -> tuple[str, ...]:
    """Return the texts that cut responses and have a count for some claim."""
    return tuple(dict.fromkeys(text for each in judged for text in each.cut))


def cut_in_words(how: StudyText) -> str:
    """Say which tokens of each example a text keeps."""
    n, before = how.response_tokens or 0, how.prompt_tokens
    prompt = f"the last {before} of the prompt and " if before else ""
    return f"cut to {prompt}the first {n} token{'s' * (n != 1)} of the response"
