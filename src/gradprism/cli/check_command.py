"""check: Check that every file of a run or a comparison is what was written, and repair what is not."""

import sys
from typing import TYPE_CHECKING, Any

from gradprism.core.console import HarmlessConsole, print_json
from gradprism.core.errors import GradPrismError
from gradprism.core.options import Json, Quiet
from gradprism.files.paths import to_path

if TYPE_CHECKING:
    from pathlib import Path

    from gradprism.runs.integrity import Integrity

NOT_WHOLE = 3
"""The exit status where something is not whole."""


EXAMPLES = (
    "gradprism check runs/demo",
    "gradprism check runs/demo --repair",
)


def check(run: str, /, *, repair: bool = False, quiet: Quiet = False, json: Json = False) -> int:
    """Check that every file of a run or a comparison is what was written, to the byte.

    Changes nothing without --repair. Exits with status 3 where something is not whole.

    Parameters
    ----------
    run
        A run directory, or its URL in an object store; or a folder that `gradprism compare` has written.
    repair
        Compute again what is not whole, by the recipes that the run holds; files that are not what was written are
        moved into RUN/damaged, never deleted.
    quiet
        Print nothing but errors.
    json
        Print the result as JSON.
    """
    from gradprism.comparison.comparison_files import is_comparison
    from gradprism.runs.integrity import check as check_run

    if is_comparison(run):
        return _check_comparison(run, repair, quiet, json)
    if repair:
        _repair_record(run, quiet)
    found = check_run(run)
    if repair and not found.is_whole:
        for each in found.checked:
            if not each.is_whole:
                _replay(run, each.recipe, each.name, quiet)
        found = check_run(run)
    if json:
        print_json(_as_json(found))
    elif not quiet:
        _show(run, found)
    return 0 if found.is_whole else NOT_WHOLE


def _check_comparison(folder: str, repair: bool, quiet: bool, json: bool) -> int:
    """Read every table of a comparison, and make it again with `repair` where one is not what was written."""
    from gradprism.comparison.comparison_files import open_comparison
    from gradprism.runs.layout import RECIPE_FILE

    recipe, problem = to_path(folder) / RECIPE_FILE, ""
    try:
        open_comparison(folder)
    except GradPrismError as error:
        problem = str(error)
    if problem and repair and recipe.is_file():
        _replay(folder, recipe, "the comparison", quiet)
        return _check_comparison(folder, False, quiet, json)
    if json:
        found = {"comparison": folder, "whole": not problem, "problem": problem or None}
        print_json(found)
    elif not quiet:
        HarmlessConsole().print(problem or f"comparison {folder}  (whole)")
    return NOT_WHOLE if problem else 0


def _repair_record(run: str, quiet: bool) -> None:
    """Write run.json anew, by replaying the recipe of the run, where it cannot be read."""
    from gradprism.runs.layout import RECIPE_FILE, read_record

    recipe = to_path(run) / RECIPE_FILE
    try:
        read_record(to_path(run))
    except GradPrismError:
        if not recipe.is_file():
            raise
        _replay(run, recipe, "the record", quiet)


def _replay(run: str, recipe: "Path", name: str, quiet: bool) -> None:
    """Replay the recipe of spectra or of scores into the run, which computes what is not whole."""
    from gradprism.cli.recipes import load_verb_and_recipe

    module, settings = load_verb_and_recipe(recipe)
    if not quiet:
        sys.stderr.write(f"Making again what is not whole of {name}\n")
    module.replay(settings.model_copy(update={"out": str(to_path(run))}), recipe, quiet=True, json=False)


def _show(run: str, found: "Integrity") -> None:
    from rich.text import Text

    from gradprism.core.terminal_tables import plain_table, spaced, summary_table

    parts: list[Any] = [summary_table(found.summary_lines)]
    if found.faults:
        table = plain_table("Files that are not what was written", ["file", "problem"], left=2)
        for fault in found.faults:
            table.add_row(Text(str(fault.file).removeprefix(f"{found.run}/")), Text(fault.problem))
        parts.append(table)
    if not found.is_whole:
        again = ", ".join(f"{each.again} of {each.name}" for each in found.checked if not each.is_whole)
        parts.append(Text(f"gradprism check {run} --repair makes again: {again}"))
    for part in spaced(parts):
        HarmlessConsole().print(part)


def _as_json(found: "Integrity") -> dict[str, Any]:
    return {
        "run": str(found.run),
        "whole": found.is_whole,
        "checked": [
            {
                "name": each.name,
                "parts": each.parts,
                "whole": each.is_whole,
                "to_repair": list(each.to_repair),
                "rows_again": each.rows_again,
                "problem": each.problem or None,
                "files": [{"file": str(fault.file), "problem": fault.problem} for fault in each.faults],
            }
            for each in found.checked
        ],
    }
