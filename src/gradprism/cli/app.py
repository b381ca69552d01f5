"""The command `gradprism`: verbs by name, loaded when called, so that `--help` answers at once."""

import sys
from collections.abc import Sequence
from keyword import iskeyword

from cyclopts import App, CycloptsError
from rich.text import Text

from gradprism import __version__
from gradprism.core.errors import GradPrismError


def _plain(error: CycloptsError) -> Text:
    """Word an error of use like every other: the message alone, a line for each setting that is wrong."""
    problems = getattr(error.__cause__, "errors", None)  # of pydantic, which is not loaded before it is needed
    if problems is None:
        return Text(f"gradprism: {error}")
    from gradprism.core.settings import given

    lines = [
        f"--{'.'.join(map(str, problem['loc'])).replace('_', '-')}: {problem['msg']}{given(problem)}"
        for problem in problems()
    ]
    return Text(f"gradprism: {'; '.join(lines)}")


app = App(
    name="gradprism",
    error_formatter=_plain,
    help="What each training example does to a language model, read from its layer-wise gradients.",
    version=__version__,
)
for verb, about in {
    "spectra": "Measure the gradient of every layer, for every example of a data set.",
    "score": "Score every example: IFD, InsTag, Difficulty, Reward, length, loss, perplexity.",
    "select": "Make subsets by any metric: top, bottom, quantile, budget, matched in length.",
    "compare": "Compare groups of examples, raw and at equal length.",
    "correlate": "Correlate metrics and measures with each other, raw and at equal length.",
    "figures": "Draw the figures of comparisons or runs, for a paper or slides.",
    "report": "Write one interactive page of comparisons or runs, which opens offline.",
    "import": "Read published gradient statistics (arXiv 2504.10766) into a run.",
    "export": "Write a run as published gradient statistics.",
    "inspect": "Show what is understood of a data set: format, tokens, loss mask. Loads no weights.",
    "show": "Summarise a run: counts, reasons, measures per projection and layer group.",
    "run": "Replay a recipe.",
    "models": "List the models that need no hub.",
}.items():
    module = f"{verb}_" if iskeyword(verb) else verb
    app.command(f"gradprism.verbs.{module}:{module}", name=verb, help=about)


def main(words: Sequence[str] | None = None) -> None:
    """Run one verb; `words` are those of the command line. Errors of use end with their message alone and status 2."""
    try:
        status = app(sys.argv[1:] if words is None else words)
    except GradPrismError as error:
        from gradprism.core.console import shown

        print(shown(f"gradprism: {error}"), file=sys.stderr)  # noqa: T201
        status = 2
    except KeyboardInterrupt:
        print("gradprism: stopped", file=sys.stderr)  # noqa: T201
        status = 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of a pipe has gone: nothing is left to say
        status = 141
    sys.exit(status)


if __name__ == "__main__":
    main()
