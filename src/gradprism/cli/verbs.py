"""Find the verbs of the command: each is a file `command.py` in the folder of its feature.

The first line of such a file is `VERB: description.`, and it defines a function named after the verb (`import_` where
the name is a keyword of Python); `EXAMPLES`, two commands; and where it has many options `COMMON`, the names of those
that `--help` lists. A verb whose settings are saved as a recipe also defines `RECIPE`, the class of the settings, and
`replay`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from keyword import iskeyword
from pathlib import Path
from types import ModuleType

_ROOT = Path(__file__).parents[1]
_ORDER = (
    "inspect", "spectra", "score", "influence", "show", "compare", "report", "figures", "correlate", "diversity",
    "select", "ablate", "study", "run", "check", "models", "import", "export",
    "push", "open",
)  # fmt: skip


@dataclass(frozen=True)
class Verb:
    """A verb that is not yet imported: its name, its description, and its module."""

    name: str
    about: str
    module: str

    @property
    def function(self) -> str:
        """The import path of its function, as cyclopts expects it."""
        return f"{self.module}:{self.name}_" if iskeyword(self.name) else f"{self.module}:{self.name}"

    def load(self) -> ModuleType:
        """Import the module of the verb."""
        return import_module(self.module)

    @property
    def examples(self) -> tuple[str, ...]:
        """Its two example commands."""
        examples: tuple[str, ...] = self.load().EXAMPLES
        return examples

    @property
    def common(self) -> tuple[str, ...]:
        """The names of the options that `--help` lists; empty where it lists all."""
        common: tuple[str, ...] = getattr(self.load(), "COMMON", ())
        return common


def find_verbs() -> dict[str, Verb]:
    """Return the verbs by name."""
    return {verb.name: verb for verb in _read_verbs()}


def in_order_of_work(verbs: Mapping[str, Verb]) -> list[Verb]:
    """Order verbs as a user meets them; those that are not listed here come last, by name."""
    return sorted(verbs.values(), key=lambda verb: _ORDER.index(verb.name) if verb.name in _ORDER else len(_ORDER))


def _read_verbs() -> Iterator[Verb]:
    """Yield the verbs, read from the first lines of their files without importing them."""
    for file in sorted(_ROOT.glob("*/*command.py")):
        with file.open(encoding="utf-8") as text:
            name, _, about = text.readline().strip().strip('"').partition(": ")
        yield Verb(name, about, f"gradprism.{file.parent.name}.{file.stem}")
