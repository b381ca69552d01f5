"""Write tables as CSV, which a spreadsheet opens without computing what stands in it."""

import polars as pl

_FORMULA = r"^[=+\-@\t\r]"


def csv_bytes(table: pl.DataFrame) -> bytes:
    """Return a table as CSV in UTF-8; lists are text, their elements with spaces between them.

    Text and names of columns that begin with =, +, -, @, a tab or a carriage return get a ' in front: a spreadsheet
    would take them for formulas. Numbers stay numbers.
    """
    texts = [name for name, kind in table.schema.items() if kind in (pl.String, pl.Categorical, pl.Enum)]
    lists = [name for name, kind in table.schema.items() if isinstance(kind, pl.List)]
    of_texts = [name for name in lists if table.schema[name] == pl.List(pl.String)]
    flat = table.with_columns(pl.col(name).cast(pl.List(pl.String)).list.join(" ") for name in lists)
    return flat.with_columns(map(_as_text, [*texts, *of_texts])).rename(_name_as_text).write_csv().encode()


def _as_text(name: str) -> pl.Expr:
    text = pl.col(name).cast(pl.String)
    return pl.when(text.str.contains(_FORMULA)).then("'" + text).otherwise(text).alias(name)


def _name_as_text(name: str) -> str:
    return f"'{name}" if name.startswith(tuple("=+-@\t\r")) else name
