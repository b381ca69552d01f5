"""The table of docs/families.md: `python -m tests.families.page` writes it."""

from pathlib import Path

from tests.families import FAMILIES
from tests.families.family import Family

_NAMES = ("q", "q_a", "q_b", "k", "v", "kv_a", "kv_b", "o", "gate", "up", "down")
_BEGIN, _END = "<!-- made by python -m tests.families.page -->", "<!-- end -->"


def table() -> str:
    """The families as a table of Markdown."""
    head = "| family | attention | measured | with `--projections` also | remarks |\n|---|---|---|---|---|"
    return "\n".join([head, *(_row(family) for family in FAMILIES)])


def _row(family: Family) -> str:
    measured = ", ".join(name for name in _NAMES if name in family.attention)
    more = ", ".join(name for name in _NAMES if name in family.mlp) or "–"
    remarks = [family.remark, "gate and up fused" if family.gate_up else "", _experts(family)]
    return f"| {family.name} | {family.kind} | {measured} | {more} | {'; '.join(filter(None, remarks))} |"


def _experts(family: Family) -> str:
    if not family.experts:
        return ""
    shared = any("shared" in (place if isinstance(place, str) else place[0]) for place in family.mlp.values())
    return "routed experts left out, " + ("shared ones measured" if shared else
                                          "dense layers measured" if family.mlp else "no other MLP")  # fmt: skip


def page(text: str) -> str:
    """docs/families.md with the table as it is now."""
    before, rest = text.split(_BEGIN)
    return f"{before}{_BEGIN}\n{table()}\n{_END}{rest.split(_END)[1]}"


if __name__ == "__main__":
    path = Path(__file__).parents[2] / "docs" / "families.md"
    path.write_text(page(path.read_text(encoding="utf-8")), encoding="utf-8")
