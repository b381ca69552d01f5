"""What a study would do, in a terminal."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from gradprism.core.terminal_tables import facts, plain_table, spaced
from gradprism.study.plan import Basis, Line, Plan, PlannedRun, PlannedScore, line

_MARKS: dict[Basis, str] = {"counted": "", "scaled": "~", "characters": "≈", "bound": "≤ ", "unknown": ""}
_LEGEND: dict[Basis, str] = {
    "scaled": "~ counted on up to 200 rows of each set, spread over it, and scaled",
    "characters": "≈ UTF-8 bytes / 4: the model's tokenizer is not here",
    "bound": (
        "≤ at most: max_length or a whole window a row of data that cannot be seen here; all that a set is yet to be "
        "selected from"
    ),
}
_KINDS = {"model": "models", "score": "scores", "data": "data", "run": "runs"}
_MOST_NAMES = 40
_COUNTS = ["rows", "skipped", "done", "tokens", "time left"]


def plan_of(plan: Plan) -> RenderableType:
    """Runs by model and text, scores, what follows from them, the total, and what could not be seen."""
    return Group(*spaced(_parts(plan)))


def _parts(plan: Plan) -> Iterator[RenderableType]:
    yield facts([("study", plan.title), ("into", plan.out)])
    if plan.scores:
        yield _scores(plan)
    yield _runs(plan)
    yield facts(_sums(plan))
    notes = list(_notes(plan))
    if notes:
        yield Text("\n".join(notes), style="dim")
    if plan.unseen:
        yield _unseen(plan)


def _scores(plan: Plan) -> RenderableType:
    table = plain_table("Scores", ["pool, score", "by", "rows", *_COUNTS[2:]], left=2)
    for pool in dict.fromkeys(score.pool for score in plan.scores):
        table.add_row(Text(pool, "bold"))
        scores = [score for score in plan.scores if score.pool == pool]
        for score in scores:
            rows, _, *cells = _cells(line([score]), asked=score.is_asked)
            table.add_row(f"  {score.score}", Text(_short(score.by)), rows, *cells, end_section=score is scores[-1])
    return table


def _runs(plan: Plan) -> RenderableType:
    table = plain_table("Gradients", ["model, text", "sets", *_COUNTS])
    lines = plan.lines
    for model in dict.fromkeys(model for model, _ in lines):
        table.add_row(Text(model, "bold"))
        texts = [text for name, text in lines if name == model]
        for text in texts:
            each = lines[model, text]
            table.add_row(f"  {text}", f"{each.sets:,}", *_cells(each), end_section=text == texts[-1])
    return table


def _cells(each: Line, asked: bool = False) -> Iterator[str]:
    bound = "≤ " if each.basis == "bound" else ""
    yield _with_untold(f"{bound}{each.rows:,}", each.rows, each.untold_rows)
    yield f"{each.skipped:,}" if each.basis not in ("bound", "unknown") else "?"
    yield f"{each.done:,}"
    yield _with_untold(f"{_MARKS[each.basis]}{_compact(each.tokens)}", each.tokens, each.untold_tokens)
    yield "a judge's" if asked and each.untold_time else _time(each)


def _time(each: Line) -> str:
    bound, about = "≤ " if each.basis == "bound" else "", "~ " if each.estimated else ""
    mark = bound + about if each.seconds else ""
    return _with_untold(f"{mark}{duration(each.seconds)}", each.seconds, each.untold_time)


def _with_untold(text: str, value: float, untold: int) -> str:
    if not untold:
        return text
    return f"{text} + ?" if value else "?"


def _sums(plan: Plan) -> Iterator[tuple[str, str]]:
    for name, (steps, finished) in (("selections", plan.selections), ("comparisons", plan.comparisons)):
        if steps:
            yield name, f"{steps:,}, {finished:,} of them done"
    computed = sum(not score.is_asked for score in plan.scores)
    runs = f"{len(plan.runs):,} runs" + (f" and {computed:,} score{'s' * (computed > 1)}" if computed else "")
    rows, _, done, tokens, time = _cells(plan.total)
    yield "total", f"{runs}: {rows} rows, {done} of them done; {tokens} tokens; {time} left"
    if plan.requests:
        yield "requests", f"{plan.requests:,} to judges, whose time is not in the total"


def _notes(plan: Plan) -> Iterator[str]:
    parts: tuple[PlannedRun | PlannedScore, ...] = (*plan.runs, *plan.scores)
    bases = {part.reading.basis for part in parts}
    yield from (text for basis, text in _LEGEND.items() if basis in bases)
    paces = [part.pace for part in parts if part.pace and part.seconds]
    if any(pace.measured for pace in paces):
        yield "Time: from what the runs of this study have taken so far."
    if plan.rates:
        rates = ", ".join(f"{rate / 1e9:,.0f} GFLOP/s in {kind}" for kind, rate in plan.rates.items())
        there = f", for each of {plan.workers} workers" if plan.workers > 1 else ""
        yield f"Time ~: from parameters x tokens and the rate of a matrix product here ({plan.device}: {rates}){there}."


def _unseen(plan: Plan) -> RenderableType:
    """Everything of one reason together."""
    parts: list[RenderableType] = [Text("Cannot be looked at here, or would be refused", style="bold")]
    for reason in dict.fromkeys(item.reason for item in plan.unseen):
        parts.append(Text(f"  {reason}:", style="yellow"))
        alike = [item for item in plan.unseen if item.reason == reason]
        kinds = [kind for kind in _KINDS if any(item.kind == kind for item in alike)]
        named = {kind: [f"{item.name}  {item.given}" for item in alike if item.kind == kind] for kind in kinds}
        parts.append(facts((f"    {_KINDS[kind]}", _listed(names)) for kind, names in named.items()))
    return Group(*parts)


def _listed(names: list[str]) -> str:
    rest = len(names) - _MOST_NAMES
    return "\n".join([*names[:_MOST_NAMES], *([f"({rest} more)"] if rest > 0 else [])])


def _short(name: str) -> str:
    return name.rpartition("/")[2]


def _compact(number: float) -> str:
    """Three digits and a letter."""
    size, letter = next(((s, a) for s, a in ((1e9, " G"), (1e6, " M"), (1e3, " k")) if number >= s), (1, ""))
    return f"{number / size:,.3g}{letter}"


def duration(seconds: float) -> str:
    """As coarse as such a number is known: 45 s, 12 min, 3 h 20 min, 5 days."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes / (24 * 60):,.0f} days"
