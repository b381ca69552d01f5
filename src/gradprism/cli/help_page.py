"""Lay out the pages of `--help`, the common options in one list, and of `--help-all`, every option by group."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from cyclopts.help import HelpEntry, HelpPanel
from rich.console import Console, ConsoleOptions
from rich.table import Table
from rich.text import Text

from gradprism.cli.verbs import Verb

HELP_ALL = "--help-all"
_NAMES, _VERBS = 28, 13  # columns of the terminal for the names of options, and of verbs
_FIRST_EXAMPLES = (
    "gradprism spectra examples/sample.jsonl -m smollm2-135m -o runs/demo",
    "gradprism compare runs/demo --by column:kind -o runs/compared",
    "gradprism report runs/compared",
)
_FIRST_SENTENCE = re.compile(r"(.+?[.]) (?=[A-Z])")


class HelpPage:
    """Prints the parts of a help page, in the order in which cyclopts gives them; a `HelpFormatter`."""

    def __init__(self, verb: Verb | None, everything: bool):
        """Take a verb, None for the command itself, and whether every option is shown, with all of its description."""
        self._verb, self._everything = verb, everything
        self._is_listed = False  # the heading of the common options is printed

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Print the line of use."""
        console.print(Text(f"Usage: {str(usage).strip()}\n"))

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        """Print the description, and examples."""
        console.print(description)
        examples = _FIRST_EXAMPLES if self._verb is None else self._verb.examples
        console.print(Text("Examples", "bold"))
        for example in examples:
            console.print(Text(f"  {example}", "cyan"), soft_wrap=True)

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print the options of a group that are shown, a row each."""
        common = () if self._verb is None or self._everything else self._verb.common
        entries = [entry for entry in panel.entries if not common or entry.positional_label or _is_in(entry, common)]
        if not entries:
            return
        if heading := self._heading(str(panel.title), common):
            console.print()
            console.print(heading)
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=_VERBS if panel.format == "command" else _NAMES)
        table.add_column()
        for entry in entries:
            labels = Text("\n".join(f"  {line}" for line in _labels(entry)), "cyan", overflow="fold")
            table.add_row(labels, _description(entry, brief=bool(common)))
        console.print(table)

    def _heading(self, title: str, common: Sequence[str]) -> Text | None:
        """Return the title of a group; of the common options one for them all."""
        if not common or title == "Arguments":
            return Text(title, "bold")
        if self._is_listed or self._verb is None:
            return None
        self._is_listed = True
        return Text.assemble(("Common options", "bold"), f"  (every option: gradprism {self._verb.name} {HELP_ALL})")


def _is_in(entry: HelpEntry, common: Sequence[str]) -> bool:
    return any(name.removeprefix("--") in common for name in entry.positive_names)


def _labels(entry: HelpEntry) -> Iterator[str]:
    """Yield the argument or the names of an option, short ones first; then the negative ones if they have an effect."""
    metavar = () if entry.positional_label or entry.metavar is None else (entry.metavar,)
    yield " ".join([*filter(None, [entry.positional_label]), *entry.positive_shorts, *entry.positive_names, *metavar])
    yield from entry.negative_names if entry.default == "True" else ()


def _description(entry: HelpEntry, *, brief: bool) -> Text:
    """Return the description, its first sentence alone if brief, with choices and default."""
    text = getattr(entry.description, "primary_renderable", entry.description)
    words = " ".join(str(text or "").replace("`", "").split())
    if brief and (first := _FIRST_SENTENCE.match(words)):
        words = first[1]
    default = None if entry.default in ("True", "False", "None", '""', "()") else entry.default
    notes = [" | ".join(entry.choices or ()), f"default {default}" if default else ""]
    notes += ["required"] if entry.required and not entry.positional_label else []
    return Text.assemble(words, (f" [{'; '.join(filter(None, notes))}]" if any(notes) else "", "dim"))
