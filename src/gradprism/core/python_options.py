"""Options of public Python functions: explicit in the signature, checked and described by settings classes."""

import ast
import functools
import inspect
import re
import textwrap
from collections.abc import Callable, Collection, Mapping
from typing import Any, ParamSpec, TypeVar

from gradprism.core.settings import Settings, option_groups, own_options, unknown_setting

P = ParamSpec("P")
R = TypeVar("R")
_INDENTED: Any = {"width": 100, "initial_indent": " " * 8, "subsequent_indent": " " * 8}


class _NotGiven:
    """The value, inside a function, of an option that its caller left out."""

    def __repr__(self) -> str:
        """Name it as a traceback shows it."""
        return "NOT_GIVEN"


NOT_GIVEN = _NotGiven()


class PythonOptions:
    """The options that a function has in common with a recipe: a decorator of it, and the reader of what was given.

    The defaults in the signature are for people and editors (a test compares them with the settings). Inside the
    function an option that was left out is `NOT_GIVEN`, so that the settings' own default counts, and so that what was
    left out is told from what was given at its default. `help` gets a line for each option, from the settings.
    """

    def __init__(
        self,
        recipe: type[Settings],
        groups: Collection[str] = (),
        *,
        but: Collection[str] = (),
        refuse: Callable[[Mapping[str, Any]], None] | None = None,
    ):
        """Take the options of a recipe, or of some of its groups alone, without those that the function handles itself.

        `refuse` may raise for further names, before they are refused as unknown.
        """
        groups_of_recipe = option_groups(recipe)
        chosen = [kind for name, kind in groups_of_recipe.items() if not groups or name in groups]
        found = {name: kind for kind in chosen for name in kind.model_fields}
        if not groups:
            found |= dict.fromkeys(own_options(recipe), recipe)
        self.settings = {name: kind for name, kind in found.items() if name not in but}
        """The class that holds each option."""
        self._refuse = refuse

    def given(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options among a function's arguments, its `locals()`, that its caller gave."""
        return {
            name: arguments[name]
            for name in self.settings
            if name in arguments and not isinstance(arguments[name], _NotGiven)
        }

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Return the function with its options described, and those left out made `NOT_GIVEN`."""
        parameters = inspect.signature(function).parameters
        open_names = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        left_out = {name: NOT_GIVEN for name in self.settings if name in parameters}

        @functools.wraps(function)
        def with_options(*args: P.args, **kwargs: P.kwargs) -> R:
            if unknown := [] if open_names else [name for name in kwargs if name not in parameters]:
                if self._refuse is not None:
                    self._refuse(kwargs)
                raise unknown_setting(unknown[0], parameters)
            return function(*args, **{**left_out, **kwargs})  # type: ignore[arg-type]

        with_options.__doc__ = f"{inspect.cleandoc(function.__doc__ or '')}\n\nOptions:\n{self._described(parameters)}"
        vars(with_options)["options"] = self
        return with_options

    def _described(self, parameters: Collection[str]) -> str:
        """Describe each option by the text below its field."""
        return "\n".join(
            f"    {name}\n{textwrap.fill(_text_below_field(kind, name), **_INDENTED)}"
            for name, kind in self.settings.items()
            if name in parameters
        )


def _text_below_field(settings: type[Settings], name: str) -> str:
    """Return the text below a field, with its options as Python has them: `match_length`, not --match-length."""
    text = _texts_below_fields(settings).get(name, "")
    return re.sub(r"--([a-z][a-z-]*)", lambda option: f"`{option[1].replace('-', '_')}`", text)


@functools.cache
def _texts_below_fields(settings: type[Settings]) -> Mapping[str, str]:
    """Return the text below each field of a class of settings, as its source has it; none where there is no source."""
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(settings))).body[0]
    except OSError:
        return {}
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            found[field.target.id] = " ".join(str(ast.literal_eval(text.value)).split())
    return found
