"""Make the rows of both recipes: questions of GSM8K with a bare, a short or a detailed answer, its own or another's.

python studies/paired/rows.py DIR > rows.jsonl, where DIR/thinking holds the files of Li et al. (arXiv 2410.23743; see
studies/README.md). Every question stands once, so that rows of two kinds are independent.
"""

import json
import sys
from pathlib import Path

FILES = {"fast": "no_cot", "slow": "with_cot", "detailed": "with_cot_gpt4o"}
ROWS_OF_A_KIND = 80  # of 500 questions


def main(folder: Path, rows_of_a_kind: int = ROWS_OF_A_KIND) -> None:
    """Write a row a line: `thinking` (fast, slow, detailed), `path` (right, wrong), and `kind`, both together."""
    kinds = [(thinking, path) for thinking in FILES for path in ("right", "wrong")]
    for place, (thinking, path) in enumerate(kinds):
        ending = "_wrong" if path == "wrong" else ""
        rows = json.loads((folder / "thinking" / f"gsm8k_{FILES[thinking]}{ending}.json").read_text(encoding="utf-8"))
        for number in range(place, rows_of_a_kind * len(kinds), len(kinds)):
            tags = {"id": f"{number}", "thinking": thinking, "path": path, "kind": f"{thinking} {path}"}
            sys.stdout.write(json.dumps(tags | rows[number]) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
