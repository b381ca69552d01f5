"""Show an ablation, or the plan of one, in a terminal."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from gradprism.ablation.plan import AblationPlan
from gradprism.ablation.result import BETTER, WORSE, Ablation
from gradprism.core.numbers import count, duration, probability, share
from gradprism.core.terminal_tables import plain_table, spaced, summary_table

_STYLES = {BETTER: "green", WORSE: "red"}


def ablation_of(ablation: Ablation) -> RenderableType:
    """Lay out the findings, a table of every arm beside random rows, and what failed."""
    return Group(*spaced(_parts(ablation)))


def _parts(ablation: Ablation) -> Iterator[RenderableType]:
    for name, said in ablation.sentences:
        yield Text.assemble((f"On {name}: ", "bold"), said)
    if not ablation.effects.is_empty():
        yield _losses(ablation)
    if not ablation.score_effects.is_empty():
        yield _scores(ablation)
    if ablation.problems:
        yield Text("\n".join(ablation.problems), style="yellow")
    said = (
        "p: Holm's over all arms on a set; to match: part of the tokens after which an arm is as good as random rows "
        f"at the end.\nThe page is {ablation.path / 'README.md'}"
    )
    yield Text(said, style="dim")


def _losses(ablation: Ablation) -> RenderableType:
    table = plain_table(
        "Loss less that of random rows, nats a token", ["on", "arm", "difference", "95%", "p", "to match"]
    )
    for row in ablation.effects.iter_rows(named=True):
        interval = "–" if row["low"] is None else f"{row['low']:+.3f} {row['high']:+.3f}"
        matched = row["tokens_to_match"]
        table.add_row(
            row["eval"], Text(row["arm"], _STYLES.get(row["verdict"], "")), f"{row['difference']:+.3f}", interval,
            probability(row["p_holm"]), "–" if matched is None else share(matched / row["tokens"]),
        )  # fmt: skip
    return table


def _scores(ablation: Ablation) -> RenderableType:
    table = plain_table("Score less that of random rows", ["task", "metric", "arm", "difference", "95%", "p"])
    for row in ablation.score_effects.iter_rows(named=True):
        interval = "–" if row["low"] is None else f"{row['low']:+.3f} {row['high']:+.3f}"
        table.add_row(
            row["task"], row["metric"], Text(row["arm"], _STYLES.get(row["verdict"], "")), f"{row['difference']:+.3f}",
            interval, probability(row["p_holm"]),
        )  # fmt: skip
    return table


def plan_of(plan: AblationPlan) -> RenderableType:
    """Lay out what each arm would train on, and the steps, time and disk of what is left."""
    return Group(*spaced(_plan_parts(plan)))


def _plan_parts(plan: AblationPlan) -> Iterator[RenderableType]:
    near = sum(plan.overlap.values())
    evals = "; ".join(
        f"{name}: {rows:,} rows, {tokens:,} response tokens" for name, (rows, tokens) in plan.evals.items()
    )
    yield summary_table([
        ("trainings", f"{plan.trainings:,}, of them {plan.done:,} done; {plan.steps:,} steps each"),
        ("evaluation", "; ".join([*([evals] if evals else []), *plan.tasks])),
        ("left out", f"{near:,} rows of the pool that are near evaluation rows"),
        ("tokens", f"{plan.train_tokens:,} to train on, {plan.eval_tokens:,} to evaluate on, prompts among them"),
        ("time left", f"about {duration(plan.seconds)} on {plan.device}, from a matrix product here"),
        ("disk", f"about {count(plan.bytes / 2**20)} MiB"),
    ])  # fmt: skip
    table = plain_table("Arms", ["arm", "rows", "response", "prompt", "median response"])
    for row in plan.arms.iter_rows(named=True):
        counts = (f"{row[name]:,.0f}" for name in ("rows", "response_tokens", "prompt_tokens", "median_response"))
        table.add_row(row["arm"], *counts)
    yield table
    if plan.refused:
        yield Text("\n".join(f"{arm}: {reason}" for arm, reason in plan.refused.items()), style="yellow")
