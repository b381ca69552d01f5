"""Names inside a run directory."""

import re
from pathlib import Path

FORMAT_VERSION = 1
RUN_FILE = "run.json"
RECIPE_FILE = "recipe.yaml"
LOCK_FILE = ".lock"
TABLES = ("similarity", "spectra", "examples")  # in the order of publication: `examples` completes a part


def part_path(run: Path, table: str, index: int) -> Path:
    """`RUN/examples/part-00007.parquet`."""
    return run / table / f"part-{index:05d}.parquet"


def published_parts(run: Path) -> list[int]:
    """Indices of the parts that are there whole, ascending."""
    names = (run / "examples").glob("part-*.parquet")
    return sorted(int(match[1]) for name in names if (match := re.fullmatch(r"part-(\d+)\.parquet", name.name)))
