"""The command `gradprism`. A verb is imported when it is called, so that `--help` answers at once."""

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError
from rich.text import Text

from gradprism import __version__
from gradprism.cli.verbs import find_verbs
from gradprism.core.errors import GradPrismError


def _format_usage_error(error: CycloptsError) -> Text:
    """Format an error of use like every other error: the message alone, with each setting that is wrong."""
    from gradprism.core.console import escaped

    problems = getattr(error.__cause__, "errors", None)  # pydantic's; the library itself is not loaded for it
    if problems is None:
        return Text(escaped(f"gradprism: {error}"))
    from gradprism.core.settings import quote_given

    lines = [
        f"--{'.'.join(map(str, problem['loc'])).replace('_', '-')}: {problem['msg']}{quote_given(problem)}"
        for problem in problems()
    ]
    return Text(escaped(f"gradprism: {'; '.join(lines)}"))


app = App(
    name="gradprism",
    error_formatter=_format_usage_error,
    help="What each training example does to a language model, read from its layer-wise gradients.",
    version=__version__,
)
for verb in find_verbs().values():
    app.command(verb.function, name=verb.name, help=verb.about)


def main(words: Sequence[str] | None = None) -> None:
    """Run one verb with the words of the command line. Errors of use print their message alone; the status is 2."""
    try:
        status = app(sys.argv[1:] if words is None else words)
    except GradPrismError as error:
        from gradprism.core.console import escaped

        print(escaped(f"gradprism: {error}"), file=sys.stderr)  # noqa: T201
        status = 2
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the pipe has closed it: no message would arrive
        status = 141
    except BaseException as error:
        if not _is_interrupt(error):
            raise
        print("gradprism: stopped", file=sys.stderr)  # noqa: T201
        status = 130
    sys.exit(status)


def _is_interrupt(error: BaseException | None) -> bool:
    """Return whether an error is due to Ctrl-C, as the `ImportError` of a module that it met while it was loaded."""
    return isinstance(error, KeyboardInterrupt) or (error is not None and _is_interrupt(error.__cause__))


if __name__ == "__main__":
    main()
