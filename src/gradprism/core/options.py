"""Options that several verbs share, as types of their parameters."""

from typing import Annotated

from cyclopts import Parameter

Several = Annotated[tuple[str, ...], Parameter(negative=())]
Data = Several

Flag = Annotated[bool, Parameter(negative=())]
Json = Flag

Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative=())]
