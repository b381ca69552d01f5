"""Pairs of rows of two runs: the same text, as the same tokens with the same loss mask, measured through two models.

A wrong pair is the worst fault of a paired comparison, so a pair needs proof. The text is the same where the content
hashes are. The tokens are the same where both runs store token ids and these are equal (`spectra --tokens`); otherwise
where tokenizer, template and the other settings of the text are the same and so are the token counts of the row.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from gradprism.core.errors import GradPrismError
from gradprism.runs.run import Run

_CUTS = ("text.max_length", "text.response_tokens", "text.prompt_tokens")  # what they change, token counts show
_KEPT = ("row", "example_id", "content_hash", "status", "n_tokens", "n_prompt_tokens", "n_response_tokens")
_COUNTS = _KEPT[4:]


@dataclass(frozen=True)
class RowPairs:
    """Rows of two runs that are the same text and tokens: `example_id`, `row_first`, `row_second`; by `row_second`."""

    table: pl.DataFrame
    notes: tuple[str, ...]  # rows that are left out and why, and how far the tokens are known to be the same

    def __len__(self) -> int:
        """Return the number of pairs."""
        return self.table.height


def pair_rows(first: Run, second: Run, names: tuple[str, str]) -> RowPairs:
    """Pair the measured rows of two runs, each named for messages.

    Raises `GradPrismError` where the runs have no text in common, where their rows became tokens in different ways, and
    where fewer than two pairs are left.
    """
    tables = [run.scan("examples").select(_KEPT).collect() for run in (first, second)]
    same_text, notes = _same_text(tables[0], tables[1], names)
    measured = same_text.filter(pl.col("status") == "ok", pl.col("status_second") == "ok")
    if lost := same_text.height - measured.height:
        notes.append(f"{_rows(lost)} could not be measured in {names[0]} or {names[1]}: left out of both.")
    if first.has_tokens and second.has_tokens:
        kept, how = _with_equal_tokens(measured, first, second), "have other token ids or another loss mask"
    else:
        doubt = [*_other_texts(first, second, names)]
        kept, how = measured.filter(_equal_counts()), "have other token counts"
        if kept.height < measured.height and not _tokenizers_known(first, second):
            raise _other_tokens(names, f"{_rows(measured.height - kept.height)} {how}")
        notes += doubt
    if lost := measured.height - kept.height:
        notes.append(f"{_rows(lost)} {how} in {names[0]} than in {names[1]}: left out.")
    if kept.height < 2:
        raise GradPrismError(
            f"{names[0]} and {names[1]} have {_rows(kept.height)} in common that can be paired. Expected at "
            f"least 2: the same texts, cut into the same tokens.\n{' '.join(notes)}"
        )
    table = kept.select("example_id", row_first="row", row_second="row_second").sort("row_second")
    return RowPairs(table, tuple(notes))


def _same_text(first: pl.DataFrame, second: pl.DataFrame, names: tuple[str, str]) -> tuple[pl.DataFrame, list[str]]:
    """Join rows of the same content; of texts that a run has more than once, those of the same id too.

    Columns of the second run end in `_second`.
    """
    for name, table in zip(names, (first, second), strict=True):
        if table["content_hash"].null_count():
            raise GradPrismError(
                f"{name}: the run does not know the texts of its rows, as of an import, so that none can be paired. "
                "Expected runs that `gradprism spectra` measured."
            )
    several = pl.col("content_hash").is_duplicated()
    doubled = pl.concat([table.filter(several)["content_hash"] for table in (first, second)]).unique().implode()
    once = pl.col("content_hash").is_in(doubled).not_()
    found = [
        each.join(other, on=on, how="inner", suffix="_second")
        for each, other, on in (
            (first.filter(once), second.filter(once), ["content_hash"]),
            (first.filter(~once), second.filter(~once), ["content_hash", "example_id"]),
        )
    ]
    joined = pl.concat([part.select(*_KEPT, *(f"{c}_second" for c in _KEPT if c not in ("content_hash", "example_id")))
                        for part in found])  # fmt: skip
    return joined, [*_notes_on_texts(first, second, joined, names)]


def _notes_on_texts(
    first: pl.DataFrame, second: pl.DataFrame, joined: pl.DataFrame, names: tuple[str, str]
) -> Iterator[str]:
    """Note rows of one run alone, and rows whose text has changed under the same id."""
    alone = [table.filter(~pl.col("content_hash").is_in(other["content_hash"].implode()))
             for table, other in ((first, second), (second, first))]  # fmt: skip
    changed = alone[0].join(alone[1], on="example_id", how="inner").height
    if changed:
        yield f"{_rows(changed)} of the same id have another text in {names[0]} than in {names[1]}: left out."
    for name, table in zip(names, alone, strict=True):
        if left := table.height - changed:
            yield f"{_rows(left)} of {name} alone: left out."
    doubled = max(first.height - alone[0].height, second.height - alone[1].height) - joined.height
    if doubled > 0:
        yield (f"{_rows(doubled)} of texts that a run has more than once, which their ids do not tell apart: left out.")


def _with_equal_tokens(pairs: pl.DataFrame, first: Run, second: Run) -> pl.DataFrame:
    """Keep the pairs whose stored token ids are equal one by one, and whose tokens with a loss are the same ones."""
    mask = pl.col("loss").list.eval(pl.element().is_not_null()).alias("mask")
    one, other = (run.scan("tokens").select("row", "token_ids", mask).collect() for run in (first, second))
    both = pairs.join(one, on="row").join(other, left_on="row_second", right_on="row", suffix="_second")
    return both.filter(pl.col(name) == pl.col(f"{name}_second") for name in ("token_ids", "mask"))


def _equal_counts() -> pl.Expr:
    return pl.all_horizontal(pl.col(name) == pl.col(f"{name}_second") for name in _COUNTS)


def _other_texts(first: Run, second: Run, names: tuple[str, str]) -> Iterator[str]:
    """Note that tokenizers are not known. Raises `GradPrismError` where rows became tokens in different ways."""
    identities = [run.record["identity"] for run in (first, second)]
    settings = sorted({name for each in identities for name in each if name.startswith("text.")} - {*_CUTS})
    for name in (*settings, "template digest", "method"):
        one, other = (each.get(name) for each in identities)
        if one != other:
            raise _other_tokens(names, f"they differ in {name}: {one!r} and {other!r}")
    models = [run.record["model"] for run in (first, second)]
    known = [("tokenizer", "their tokenizers are different ones")]
    if identities[0].get("text.template") == "chat":
        known.append(("chat_template", "the chat templates of their tokenizers are different ones"))
    for name, said in known:
        if _tokenizers_known(first, second) and models[0].get(name) != models[1].get(name):
            raise _other_tokens(names, said)
    if not _tokenizers_known(first, second):
        yield (
            "One of the runs is of an earlier version, which did not record its tokenizer: that the tokens are the "
            "same is concluded from equal token counts in every row."
        )


def _tokenizers_known(first: Run, second: Run) -> bool:
    return all(run.record["model"].get("tokenizer") for run in (first, second))


def _other_tokens(names: tuple[str, str], why: str) -> GradPrismError:
    return GradPrismError(
        f"The rows of {names[0]} and {names[1]} became tokens in different ways, and cannot be paired: {why}.\n"
        "Expected the same tokenizer, template and text settings. Measure one of them again with those of the other; "
        "or measure both with --tokens, which stores token ids: then the rows whose ids are equal are paired."
    )


def _rows(n: int) -> str:
    return f"{n:,} row" if n == 1 else f"{n:,} rows"
