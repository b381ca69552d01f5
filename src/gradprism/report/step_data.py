"""The steps of a training on a page: loss and main measures along them, by projection and by layer."""

from collections.abc import Sequence
from typing import Any

from gradprism.comparison.along_steps import along_layers, along_projections, steps_of
from gradprism.comparison.comparison import Comparison
from gradprism.report.page_json import rounded


def step_data(comparisons: Sequence[Comparison]) -> dict[str, Any] | None:
    """Return what the page's section shows; None where the comparisons are not the steps of one training."""
    steps = steps_of(comparisons)
    if not steps:
        return None
    tables = {"projections": along_projections(steps), "layers": along_layers(steps)}
    return {
        "n": max(group.n for made in steps.values() for group in made.groups),
        **{
            name: [
                {key: rounded(value) if isinstance(value, float) else value for key, value in row.items()}
                for row in table.iter_rows(named=True)
            ]
            for name, table in tables.items()
        },
    }
