"""The command `gradprism`. A verb is imported when it is called, so that `--help` answers at once."""

import sys
from collections.abc import Sequence
from typing import Any

from cyclopts import App, CycloptsError, Group, MissingArgumentError, Parameter
from rich.text import Text

from gradprism import __version__
from gradprism.cli.help_page import HELP_ALL, HelpPage
from gradprism.cli.verbs import find_verbs, in_order_of_work
from gradprism.core.errors import GradPrismError


def _format_usage_error(error: CycloptsError) -> Text:
    """Format an error of use like every other error: the message alone, with each setting that is wrong."""
    from gradprism.core.console import escaped

    if isinstance(error, MissingArgumentError) and error.keyword is None and error.command_chain:
        return Text(escaped(f"gradprism: {_name_missing(error)}"))
    problems = getattr(error.__cause__, "errors", None)  # pydantic's; the library itself is not loaded for it
    if problems is None:
        return Text(escaped(f"gradprism: {error}"))
    from gradprism.core.settings import quote_given

    lines = [
        f"--{'.'.join(map(str, problem['loc'])).replace('_', '-')}: {problem['msg']}{quote_given(problem)}"
        for problem in problems()
    ]
    return Text(escaped(f"gradprism: {'; '.join(lines)}"))


def _name_missing(error: MissingArgumentError) -> str:
    """Name all required options that are missing, with an example of the verb."""
    assert error.app is not None
    assert error.argument is not None
    assert error.command_chain is not None
    given = {word.partition("=")[0] for word in error.root_input_tokens or ()}
    missing = [
        argument.name if argument.name.startswith("-") else argument.name.upper()
        for argument in error.app.assemble_argument_collection()
        if argument.required and not argument.children
        and (argument.name == error.argument.name or (argument.field_info.is_keyword and not given & {*argument.names}))
    ]  # fmt: skip
    *others, last = missing
    verb = error.command_chain[-1]
    example = find_verbs()[verb].examples[0]
    return f"{verb} needs {', '.join(others)}{' and ' if others else ''}{last}. For example:\n  {example}"


_SHORT = {"out": "-o", "model": "-m", "limit": "-n", "template": "-t", "quiet": "-q"}


def app(words: Sequence[str]) -> Any:
    """Run one verb with the words of the command line."""
    everything = HELP_ALL in words
    made = App(
        name="gradprism",
        error_formatter=_format_usage_error,
        help="What each training example does to a language model, read from its layer-wise gradients.",
        version=__version__,
        help_flags=["--help", "-h", HELP_ALL],
        help_format="plaintext",
        help_formatter=HelpPage(None, everything),
        group_arguments=Group("Arguments", sort_key=0),
        group_parameters=Group("Options", sort_key=1),
        default_parameter=Parameter(short_alias=lambda field, taken: _SHORT.get(field.name)),
    )
    for place, verb in enumerate(in_order_of_work(find_verbs())):
        page = HelpPage(verb, everything)
        made.command(verb.function, name=verb.name, help=verb.about, help_formatter=page, sort_key=place)
    return made(words)


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
