"""Where the figures of each benchmark are kept, with the machine they were taken on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.machine import describe

FOLDER = Path(__file__).parent / "results"


def save(name: str, found: Mapping[str, Any]) -> None:
    """Write results/NAME.json."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps({"machine": describe(), **found}, indent=2) + "\n")


def load(name: str) -> Any:
    """Read results/NAME.json; None where that benchmark has not run."""
    path = FOLDER / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None
