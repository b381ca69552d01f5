"""Options that several verbs share, as types of their parameters."""

from typing import Annotated

from cyclopts import Parameter

Data = Annotated[tuple[str, ...], Parameter(negative=())]


Several = Annotated[tuple[str, ...], Parameter(negative=())]


Flag = Annotated[bool, Parameter(negative=())]


Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative=())]


Json = Annotated[bool, Parameter(negative=())]
