"""Write an ablation as one Markdown page: what beats random rows, by how much, and what could not have been seen."""

from collections.abc import Iterator

import polars as pl

from gradprism.ablation.figures import ablation_plots
from gradprism.ablation.result import Ablation
from gradprism.core.markdown import header_lines, inline, table_row
from gradprism.core.numbers import number, probability, share
from gradprism.files.paths import base_name


def page(ablation: Ablation) -> str:
    """Return the page in Markdown."""
    return "\n\n".join(part for part in _parts(ablation) if part) + "\n"


def _parts(ablation: Ablation) -> Iterator[str]:
    recipe = ablation.recipe
    train = recipe.train
    yield "# Does the chosen set train a better model?"
    yield "\n".join(f"- On **{inline(name)}**: {inline(said)}" for name, said in ablation.sentences)
    yield (
        f"{inline(base_name(recipe.checkpoint.model))}, {_what_is_trained(ablation)}, trained on {train.tokens:,} "
        f"response tokens of each arm's rows in {train.steps:,} steps, {train.seeds} seed{'s' * (train.seeds > 1)} "
        "each. A difference is that from rows drawn at random: of the loss on held-out rows, in nats a response token "
        "(below 0 is better), or of the score on a task."
    )
    yield from (f"![{inline(plot.caption)}](figures/{plot.name}.png)" for plot in ablation_plots(ablation))
    if not ablation.effects.is_empty():
        yield "\n".join(_effects(ablation.effects))
    if not ablation.score_effects.is_empty():
        yield "\n".join(_score_effects(ablation.score_effects))
    if ablation.problems:
        yield "## Not trained\n\n" + "\n".join(f"- {inline(problem)}" for problem in ablation.problems)
    yield "## What each arm trained on\n\n" + "\n".join(_budgets(ablation.budgets))
    yield _near(ablation)
    notes = ablation.record.get("notes", {})
    told = [f"- {inline(arm)}: {inline('; '.join(said))}" for arm, said in notes.items() if said]
    if told:
        yield "## How arms were ranked\n\n" + "\n".join(told)
    yield _HOW


def _what_is_trained(ablation: Ablation) -> str:
    train = ablation.recipe.train
    weights = f"LoRA of rank {train.lora_rank}" if train.lora_rank else "all weights"
    return f"{weights}, learning rate {train.rate:g}"


def _effects(effects: pl.DataFrame) -> Iterator[str]:
    """Yield the table of effects."""
    heads = ["on", "arm", "verdict", "loss", "less random", "p (Holm)", "tokens to match", "visible"]
    yield from header_lines(heads, 3)
    for row in effects.iter_rows(named=True):
        interval = f" [{row['low']:+.3f}, {row['high']:+.3f}]" if row["low"] is not None else ""
        matched = row["tokens_to_match"]
        yield table_row([
            row["eval"], row["arm"], row["verdict"], f"{row['loss']:.3f}", f"{row['difference']:+.3f}{interval}",
            probability(row["p_holm"]), "–" if matched is None else share(matched / row["tokens"]),
            number(row["visible"]),
        ])  # fmt: skip


def _score_effects(effects: pl.DataFrame) -> Iterator[str]:
    """Yield the table of scores on tasks."""
    heads = ["task", "metric", "arm", "verdict", "before", "score", "less random", "p (Holm)", "visible"]
    yield from header_lines(heads, 4)
    for row in effects.iter_rows(named=True):
        interval = f" [{row['low']:+.3f}, {row['high']:+.3f}]" if row["low"] is not None else ""
        yield table_row([
            row["task"], row["metric"], row["arm"], row["verdict"], f"{row['score_before']:.3f}", f"{row['score']:.3f}",
            f"{row['difference']:+.3f}{interval}", probability(row["p_holm"]), number(row["visible"]),
        ])  # fmt: skip


def _budgets(budgets: pl.DataFrame) -> Iterator[str]:
    yield from header_lines(["arm", "rows", "response tokens", "prompt tokens", "median response"], 1)
    for row in budgets.iter_rows(named=True):
        counts = (f"{row[name]:,.0f}" for name in ("rows", "response_tokens", "prompt_tokens", "median_response"))
        yield table_row([row["arm"], *counts])


def _near(ablation: Ablation) -> str:
    """Say how many rows of the pool were near evaluation rows."""
    pool, evals = ablation.record["pool"], ablation.record["evals"]
    sets = "; ".join(
        f"{inline(name)}: {found['rows']:,} rows, {found['tokens']:,} response tokens" for name, found in evals.items()
    )
    near = ", ".join(f"{n:,} near {inline(name)}" for name, n in pool["near"].items() if n)
    left_out = f" Left out of it: {near}." if near else " None of its rows is near one of them."
    rows = f"Evaluation rows: {sets}. " if sets else ""
    return f"{rows}The pool has {pool['rows']:,} rows.{left_out}"


_HOW = """## How to read this

Every arm trains from the same weights on exactly as many response tokens, in as many steps with the same schedule; the
last row that an arm takes is cut to fit. Seeds decide the rows of `random`, the order of every arm's rows, and ties.
Intervals are 95%, over evaluation rows (the same for both sides) and seeds (of each side its own), with Welch and
Satterthwaite's degrees of freedom; p is Holm's over the arms of an evaluation set. *tokens to match*: after what part
of its tokens the arm's mean loss is as low as that of random rows at the end (– for never). *visible*: the smallest
difference that 80 of 100 such ablations would find; more seeds and more evaluation rows make it smaller.

A lower loss on held-out rows is no benchmark score (`--tasks` has those), and all of this holds for this model, budget
and schedule.

Tables: `tables/` (as Parquet and CSV); of every training in `arms/ARM/seed-N/`: `losses` of every evaluation row,
`steps` of the optimiser, `rows` in their order, `scores` of every item of a task, `job`. The same again:
`gradprism run recipe.yaml`."""
