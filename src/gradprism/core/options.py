"""Options that several verbs share, as types of their parameters."""

from typing import Annotated

from cyclopts import Group, Parameter

Several = Annotated[tuple[str, ...], Parameter(negative=())]
Data = Several

Flag = Annotated[bool, Parameter(negative=())]
Json = Flag

Quiet = Flag


def of_group(title: str, order: int) -> Parameter:
    """Return the parameter of a group of settings, whose fields are options; groups of lower order come first."""
    return Parameter(name="*", group=Group(title, sort_key=order))
