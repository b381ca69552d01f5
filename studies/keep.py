"""Keep what a study has made beside its recipe: page, tables as CSV, and figures with a third of their bytes.

python studies/keep.py runs/small-study studies/small
"""

import shutil
import sys
from pathlib import Path

from PIL import Image

_COLOURS = 128  # of a figure of lines and text, which has fewer


def keep(study: Path, folder: Path) -> None:
    """Replace the folder by what a study has made. No text of its data is among it."""
    new = folder.with_name(f".{folder.name}")
    shutil.rmtree(new, ignore_errors=True)
    for name in ("tables", "figures"):
        (new / name).mkdir(parents=True)
    shutil.copy(study / "README.md", new)
    for table in (study / "tables").glob("*.csv"):
        shutil.copy(table, new / "tables")
    for figure in (study / "figures").glob("*.png"):
        drawn = Image.open(figure)
        palette = drawn.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
        palette.save(new / "figures" / figure.name, optimize=True, dpi=drawn.info.get("dpi", (300, 300)))
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)


if __name__ == "__main__":
    keep(Path(sys.argv[1]), Path(sys.argv[2]))
