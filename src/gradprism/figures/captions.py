"""captions.md: every figure of a folder with its caption, notes on the comparisons, and figures that are not drawn.

A folder is drawn into more than once. A caption stays as long as files of it do: among the others where it is of the
same comparisons, else under a heading of its own, so that nobody takes a figure for one of what was drawn last.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2s
from pathlib import Path

from gradprism.comparison.comparison import Comparison
from gradprism.figures.plot import groups_in_words, one_line

CAPTIONS = "captions.md"
_FILES, _OF = "Files: ", "Of: "


@dataclass(frozen=True)
class Entry:
    """A figure in captions.md; texts are Markdown."""

    name: str
    caption: str
    files: tuple[str, ...]
    of: str  # the comparisons, each with a fingerprint

    @property
    def text(self) -> str:
        """The figure's block in captions.md."""
        return f"## {self.name}\n\n{self.caption}\n\n{_FILES}{', '.join(self.files)}\n\n{_OF}{self.of}\n"


@dataclass(frozen=True)
class Unseen:
    """Figures that were not drawn: `missing` with the reason, and the names of all that can be."""

    missing: Sequence[tuple[str, str]]
    available: Sequence[str]


def captions(folder: Path, drawn: Sequence[Entry], comparisons: Sequence[Comparison], unseen: Unseen) -> str:
    """Write the new content of captions.md, with those earlier captions whose files still exist."""
    drawn, earlier = _split_by_comparisons(drawn, [*_with_existing_files(folder, read_entries(folder))])
    order = {name: index for index, name in enumerate(unseen.available)}
    here = sorted(drawn, key=lambda entry: order.get(entry.name, len(order)))
    names = {entry.name for entry in here}
    others = [name for name in unseen.available if name not in names]
    parts = [
        "# Captions\n",
        *(entry.text for entry in here),
        "# Notes\n",
        *map(_notes, comparisons),
        *_bullet_section("Not drawn", [f"{name}: {escaped(reason)}" for name, reason in unseen.missing]),
        *_bullet_section("Also available by name", others),
    ]
    if earlier:
        parts += ["# From earlier\n", "These were not drawn this time; what each is of stands with it.\n"]
    return "\n".join([*parts, *(entry.text for entry in earlier)])


def read_entries(folder: Path) -> list[Entry]:
    """Read the captions of a folder; none where it has no captions.md."""
    file = folder / CAPTIONS
    if not file.is_file():
        return []
    _, *blocks = re.split(r"^#+ ", file.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE)
    return [entry for block in blocks if (entry := _parse_block(block)) is not None]


def fingerprints(comparisons: Sequence[Comparison]) -> str:
    """List comparisons by model and fingerprint, which is the same for the same numbers whenever computed."""
    return "; ".join(f"{escaped(made.model)}, comparison {_fingerprint(made)}" for made in comparisons)


def escaped(text: str) -> str:
    """Escape text so that Markdown shows it letter by letter, on one line."""
    return re.sub(r"([\\`*_\[\]<>#|~&$])", r"\\\1", one_line(text))


def _parse_block(block: str) -> Entry | None:
    """Parse the block of a figure; returns None for blocks under other headings, which name no files."""
    heading, _, rest = block.partition("\n")
    lines = [line.strip() for line in rest.splitlines() if line.strip()]
    files = next((line.removeprefix(_FILES) for line in lines if line.startswith(_FILES)), None)
    of = next((line.removeprefix(_OF) for line in lines if line.startswith(_OF)), None)
    return None if files is None or of is None else Entry(heading.strip(), lines[0], tuple(files.split(", ")), of)


def _with_existing_files(folder: Path, entries: Sequence[Entry]) -> Iterator[Entry]:
    for entry in entries:
        files = tuple(name for name in entry.files if Path(name).name == name and (folder / name).is_file())
        if files:
            yield replace(entry, files=files)


def _split_by_comparisons(drawn: Sequence[Entry], earlier: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Split entries into those of the same comparisons, with files of earlier calls, and those of other comparisons."""
    here = {entry.name: entry for entry in drawn}
    now = {file for entry in drawn for file in entry.files}
    of, others = {entry.of for entry in drawn}, list[Entry]()
    for entry in earlier:
        left = replace(entry, files=tuple(file for file in entry.files if file not in now))
        same = here.get(entry.name)
        if entry.of in of and (same is None or same.caption == entry.caption):
            here[entry.name] = replace(entry, files=(*(same.files if same else ()), *left.files))
        elif left.files:
            others.append(left)
    return [*here.values()], others


def _notes(comparison: Comparison) -> str:
    lines = [f"- {escaped(note)}" for note in comparison.notes] or ["- none"]
    groups = escaped(groups_in_words(comparison.groups))
    return f"{fingerprints([comparison])}: {groups}\n\n" + "\n".join(lines) + "\n"


def _bullet_section(heading: str, lines: Sequence[str]) -> list[str]:
    return [f"# {heading}\n", "".join(f"- {line}\n" for line in lines)] if lines else []


def _fingerprint(comparison: Comparison) -> str:
    described = repr((comparison.groups, comparison.contrasts, comparison.about.get("settings")))
    numbers = comparison.levels.write_csv()
    return blake2s((described + numbers).encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
