"""compare: Compare groups of examples, raw and length-controlled, or the same rows through two models."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from gradprism.comparison.settings import CompareRecipe, CompareSettings
from gradprism.core.console import HarmlessConsole, print_json
from gradprism.core.options import Json, Quiet, Several, of_group
from gradprism.core.settings import checked

_DEFAULT = CompareSettings()


EXAMPLES = (
    "gradprism compare runs/demo --by column:kind",
    "gradprism compare before=runs/demo after=runs/tuned --paired -o comparisons/tuned",
)
COMMON = ("out", "by", "quantile", "groups", "paired", "measures", "against", "caliper", "incomplete", "quiet", "json")


def compare(
    runs: Several,
    /,
    *,
    out: str | None = None,
    settings: Annotated[CompareSettings, of_group("Groups and statistics", 2)] = _DEFAULT,
    quiet: Quiet = False,
    json: Json = False,
) -> int:
    """Compare groups of examples of one model, raw and length-controlled; or the same rows through two models.

    Every measure, projection and layer: means, difference with its interval, effect size, permutation test; matched
    pairs, regression and partial correlation as length controls. With --paired, the change of each row.

    Parameters
    ----------
    runs
        Two or more runs, NAME=RUN each; or one run, and --by; or two runs of the same rows, and --paired.
    out
        A folder for the tables (Parquet and CSV), the paper's table (CSV, LaTeX) and a summary. Without it nothing is
        written.
    quiet
        Print nothing but errors.
    json
        Print groups, findings, notes and layer means as JSON on stdout.
    """
    from gradprism.comparison.api import names_of_runs

    values = {"runs": names_of_runs(runs), "out": out, "compare": settings}
    return _compare(checked(CompareRecipe, values), quiet, json)


RECIPE = CompareRecipe


def replay(recipe: CompareRecipe, path: Path, *, quiet: bool, json: bool) -> int:
    """Repeat the comparison of a recipe; `path` is the file of the recipe."""
    return _compare(recipe, quiet, json)


def _compare(recipe: CompareRecipe, quiet: bool, json: bool) -> int:
    from gradprism.comparison.api import run_recipe
    from gradprism.comparison.paper_table import paper_table
    from gradprism.comparison.render import render_comparison

    with HarmlessConsole(stderr=True, quiet=quiet).status("Comparing"):
        found = run_recipe(recipe)
    if json:
        paired = found.paired
        values = {
            "groups": [asdict(group) for group in found.groups], "findings": [asdict(each) for each in found.findings],
            "notes": found.notes, "table": paper_table(found).to_dicts(),
        }  # fmt: skip
        if paired is not None:
            values["interactions"] = [asdict(each) for each in paired.findings]
            values["cosine"] = found.about["cosine"]
        print_json(values)
    elif not quiet:
        console = HarmlessConsole()
        console.print(render_comparison(found))
        if recipe.out:
            console.print(f"\nThe tables are in {recipe.out}.", soft_wrap=True)
    return 0
