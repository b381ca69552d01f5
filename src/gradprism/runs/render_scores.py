"""Show the scores of a run in a terminal."""

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from gradprism.core.numbers import count, number
from gradprism.core.terminal_tables import plain_table, spaced, summary_table
from gradprism.runs.run import Run
from gradprism.runs.score_summary import ScoreSummary

_MOST_REASONS = 8


def scores_of(run: Run, summaries: Sequence[ScoreSummary]) -> RenderableType:
    """Lay out the run, a line for each metric, and the reasons for missing values."""
    data = run.record["data"]
    about = [("run", str(run.path)), ("data", f"{', '.join(data['sources'])}  {data['schema']}")]
    about += [(item.metric, item.about) for item in summaries]
    return Group(*spaced([summary_table(about), *score_tables(summaries)]))


def score_tables(summaries: Sequence[ScoreSummary]) -> Iterator[RenderableType]:
    """Yield the table of counts and quantiles, a line for each metric; then notes, and reasons for missing values."""
    table = plain_table("Scores", ["metric", "rows", "ok", "mean", *summaries[0].quantiles])
    for item in summaries:
        quantiles = ((count if item.is_count else number)(value) for value in item.quantiles.values())
        table.add_row(Text(item.metric), f"{item.rows:,}", f"{item.ok:,}", number(item.mean), *quantiles)
    yield table
    notes = [(item.metric, note) for item in summaries for note in _score_notes(item)]
    if notes:
        yield summary_table(notes)
    if any(item.reasons for item in summaries):
        yield _missing_value_table(summaries)


def _score_notes(item: ScoreSummary) -> Iterator[str]:
    if item.own_settings:
        yield f"settings of its own: {item.own_settings}"
    if item.truncated:
        yield f"{item.truncated:,} of {item.ok:,} rows were truncated"
    if item.retries:
        yield f"{item.retries:,} {'retry of a shard' if item.retries == 1 else 'retries of shards'}"
    if item.parsed:
        yield "answers read as " + ", ".join(f"{way} {n:,}" for way, n in item.parsed.items())
    if item.different_tags is not None:
        frequent = ", ".join(f"{tag} {n:,}" for tag, n in item.frequent_tags.items())
        yield f"{item.different_tags:,} different tags in the set, {item.different_tags / max(item.ok, 1):.2f} a row"
        yield f"most frequent: {frequent}"


def _missing_value_table(summaries: Sequence[ScoreSummary]) -> RenderableType:
    table = plain_table("Rows without a value", ["metric", "reason", "rows"], left=2)
    for item in summaries:
        for reason, n in first_reasons(item.reasons, _MOST_REASONS, "the scores"):
            table.add_row(item.metric, reason, n)
    return table


def first_reasons(reasons: Mapping[str, int], most: int, table: str) -> Iterator[tuple[Text, str]]:
    """Yield the first reasons with their numbers of rows; all others in one line, which names the table with them."""
    listed = list(reasons.items())
    for reason, n in listed[:most]:
        yield Text(reason), f"{n:,}"
    if rest := listed[most:]:
        yield Text(f"({len(rest)} other reasons; see {table})"), f"{sum(n for _, n in rest):,}"
