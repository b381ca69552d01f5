"""Show the plan of a study in a terminal."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from gradprism.core.numbers import duration, with_letter
from gradprism.core.terminal_tables import plain_table, spaced, summary_table
from gradprism.study.plan import Basis, Plan, Total, total

_MARKS: dict[Basis, str] = {"counted": "", "estimated": "~ ", "at most": "≤ "}
_MOST_NAMES = 40


def plan_of(plan: Plan) -> RenderableType:
    """Lay out the steps by folder with their total, how numbers are known, and what is missing here."""
    return Group(*spaced(_plan_parts(plan)))


def _plan_parts(plan: Plan) -> Iterator[RenderableType]:
    yield summary_table([("study", plan.title), ("into", plan.out)])
    table = plain_table("Steps", ["", "steps", "done", "rows", "tokens", "time left"])
    rows = [*plan.groups.items(), ("total", total(plan.steps))]
    for name, each in rows:
        table.add_row(Text(name, "bold" if name == "total" else ""), *_cells(each), end_section=name == rows[-2][0])
    yield table
    yield Text("\n".join(_notes(plan)), style="dim")
    reasons = dict.fromkeys(item.reason for item in plan.missing)
    named = {reason: [f"{item.name}  {item.given}" for item in plan.missing if item.reason == reason]
             for reason in reasons}  # fmt: skip
    for reason, names in named.items():
        more = [f"({len(names) - _MOST_NAMES} more)"] if len(names) > _MOST_NAMES else []
        yield Text("\n  ".join([f"{reason}:", *names[:_MOST_NAMES], *more]), style="yellow")


def _cells(each: Total) -> Iterator[str]:
    yield f"{each.steps:,}"
    yield f"{each.steps_done:,}"
    if not each.rows and not each.unknown_rows:
        yield from "–––"
        return
    mark = _MARKS[each.basis]
    yield _with_unknown(f"{mark.replace('~ ', '')}{each.rows:,}", each.rows, each.unknown_rows)
    yield _with_unknown(f"{mark}{with_letter(each.tokens)}", each.tokens, each.unknown_rows)
    yield _with_unknown(f"{mark}{duration(each.seconds)}", each.seconds, each.unknown_seconds)


def _with_unknown(text: str, value: float, unknown: int) -> str:
    """Return the text of a sum; with a question mark where it leaves something out."""
    return f"{text} + ?" if unknown and value else "?" if unknown else text


def _notes(plan: Plan) -> Iterator[str]:
    bases = {step.basis for step in plan.steps}
    if "estimated" in bases:
        yield "~ from up to 200 rows of each set; UTF-8 bytes / 4 where the model's tokenizer is not here"
    if "at most" in bases:
        yield "≤ data that are not here, or yet to be selected: all that there may be"
    if plan.rate:
        how = "as measured in the runs of this study" if plan.rate.measured else "estimated from a matrix product here"
        yield f"Time: {plan.rate.seconds:,.3g} s for 1,000 tokens and 10^9 parameters, {how}; a judge's is unknown"
