"""Render a prompt template in a process of its own, which ends where the template takes too much time or memory.

A sandboxed template can still loop 10**10 times or make 1 GB of text in one operation, which nothing within the same
process can stop. The process reads requests as lines of JSON, and answers each by a line.
"""

import json
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

SECONDS = 1.0
"""Most seconds of computing for one prompt."""
MOST_CHARACTERS = 10_000_000
"""The longest prompt."""
_MOST_BYTES = 2**30  # of memory


def make_environment() -> Any:
    """Make a sandboxed environment, since templates may come from untrusted sources."""
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined)


def main() -> None:
    """Answer requests until the input ends: the first line has the template, each further one its variables."""
    is_limited = _limit_memory()

    def answer(work: Callable[[], dict[str, Any]]) -> None:
        if is_limited:
            signal.setitimer(signal.ITIMER_PROF, SECONDS)  # ends the process, also within one long operation
        reply = _answered(work)
        if is_limited:
            signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(json.dumps(reply) + "\n")
        sys.stdout.flush()

    environment, given = make_environment(), json.loads(sys.stdin.readline())
    answer(lambda: {"unknown": _unknown_names(environment, given["template"], given["variables"])})
    compiled = cache(environment.from_string)
    for line in sys.stdin:
        answer(partial(_rendered, compiled, given["template"], line))


def _limit_memory() -> bool:
    """Limit the memory of this process, where the system can; return whether it can."""
    try:
        import resource
    except ImportError:  # Windows
        return False
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    most = _MOST_BYTES if hard == resource.RLIM_INFINITY else min(_MOST_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    return True


def _unknown_names(environment: Any, text: str, variables: Sequence[str]) -> list[tuple[str, int]]:
    """Return undefined variables with their lines, also in branches that the sample conversation does not reach."""
    from jinja2 import meta, nodes

    tree = environment.parse(text)
    unknown = meta.find_undeclared_variables(tree) - {*variables, *environment.globals}
    return [(name.name, name.lineno) for name in tree.find_all(nodes.Name) if name.name in unknown]


def _rendered(compiled: Callable[[str], Any], text: str, variables: str) -> dict[str, Any]:
    prompt = compiled(text).render(**json.loads(variables))
    if len(prompt) <= MOST_CHARACTERS:
        return {"text": prompt}
    return {"problem": f"makes {len(prompt):,} characters, and at most {MOST_CHARACTERS:,} are sent", "line": None}


def _answered(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return work()
    except MemoryError as error:
        return {"problem": f"needs more than {_MOST_BYTES // 2**30} GB of memory", "line": _line(error)}
    except Exception as error:  # a template is a program and raises what it likes
        return {"problem": str(error)[:1000], "line": _line(error)}


def _line(error: BaseException) -> Any:
    """Return the line of the template at which it failed, or "unknown"."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
    return lines[-1] if lines else getattr(error, "lineno", "unknown")


if __name__ == "__main__":
    main()
