"""Render the templates of users for a judge within limits of time, memory and length."""

import traceback
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from gradprism.core.limited_process import MEMORY, Answers, limited_process

SECONDS = 1.0
"""The most processor time for one prompt."""
CHARACTERS = 10_000_000
"""The longest prompt."""
RENDERER = f"{__name__}:make_renderer"


class TemplateError(Exception):
    """A template that cannot be rendered; `line` is where, if it is known."""

    def __init__(self, problem: str, line: int | str | None):
        """Make the error."""
        super().__init__(problem)
        self.line = line


class BoundedTemplate:
    """A template that is rendered in a process with limits."""

    def __init__(self, text: str, variables: Sequence[str]):
        """Check the template. Raises `TemplateError` where it is not valid, or uses other variables."""
        self._text = text
        for name, line in self._ask(variables=[*variables])["unknown"]:
            raise TemplateError(f"{name!r} is not defined. Expected some of {', '.join(variables)}.", line)

    def render(self, **variables: Any) -> str:
        """Return the text for these variables. Raises `TemplateError`."""
        return str(self._ask(given=variables)["text"])

    def _ask(self, **request: Any) -> dict[str, Any]:
        answer = limited_process(RENDERER, SECONDS).ask({"template": self._text, **request})
        if answer is None:
            raise TemplateError(f"takes more than {SECONDS:g} s, or ends its process", None)
        if "problem" in answer:
            raise TemplateError(answer["problem"], answer["line"])
        return answer


def make_environment() -> Any:
    """Make a sandboxed environment, since templates may come from untrusted sources."""
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)


def make_renderer() -> Answers:
    """Return the function that checks and renders templates, in the process that is limited."""
    environment = make_environment()
    compiled = cache(environment.from_string)

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        try:
            if "variables" in request:
                return {"unknown": _unknown_names(environment, request["template"], request["variables"])}
            return _rendered(compiled, request["template"], request["given"])
        except MemoryError as error:
            return {"problem": f"needs more than {MEMORY // 2**30} GB of memory", "line": _line(error)}
        except Exception as error:  # a template is a program and raises what it likes
            return {"problem": str(error)[:1000], "line": _line(error)}

    return answer


def _unknown_names(environment: Any, text: str, variables: Sequence[str]) -> list[tuple[str, int]]:
    """Return undefined variables with their lines, also in branches that the sample conversation does not reach."""
    from jinja2 import meta, nodes

    tree = environment.parse(text)
    unknown = meta.find_undeclared_variables(tree) - {*variables, *environment.globals}
    return [(name.name, name.lineno) for name in tree.find_all(nodes.Name) if name.name in unknown]


def _rendered(compiled: Callable[[str], Any], text: str, variables: dict[str, Any]) -> dict[str, Any]:
    prompt = compiled(text).render(**variables)
    if len(prompt) <= CHARACTERS:
        return {"text": prompt}
    return {"problem": f"makes {len(prompt):,} characters, and at most {CHARACTERS:,} are sent", "line": None}


def _line(error: BaseException) -> Any:
    """Return the line of the template at which it failed, or "unknown"."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
    return lines[-1] if lines else getattr(error, "lineno", "unknown")
