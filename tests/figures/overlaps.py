"""Which texts of a figure lie over each other, over a panel, or outside: measured, not looked at."""

from itertools import combinations

from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

TOLERANCE = 0.5  # pixels


def faults(figure: Figure) -> list[str]:
    """A line for each pair of texts that overlap, for each text over a panel, and for each that leaves the canvas."""
    figure.draw_without_rendering()
    texts = [(text, _box(text)) for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    outside = [f"{name(t)} leaves the canvas" for t, box in texts if not _inside(box, figure.bbox)]
    pairs = [f"{name(a)} over {name(b)}" for (a, box), (b, other) in combinations(texts, 2) if _meet(box, other)]
    labels = [(text, box) for text, box in texts if not _is_cell(text)]
    panels = [(axes, axes.get_window_extent()) for axes in figure.axes]
    over = [f"{name(t)} over {axes.get_label()}" for t, box in labels for axes, panel in panels if _meet(box, panel)]
    flat = [f"{axes.get_label()} is flat" for axes, panel in panels if min(panel.width, panel.height) < 4]
    twice = [
        f"{a.get_label()} over {b.get_label()}" for (a, box), (b, other) in combinations(panels, 2) if _meet(box, other)
    ]
    legends = [
        f"legend over {name(text)}"
        for legend in figure.legends
        for text, box in texts
        if text not in (*legend.get_texts(), legend.get_title()) and _meet(legend.get_window_extent(), box)
    ]
    return [*outside, *pairs, *over, *flat, *twice, *legends]


def name(text: Text) -> str:
    return repr(text.get_text())


def _box(text: Text) -> Bbox:
    return text.get_window_extent()


def _is_cell(text: Text) -> bool:
    """A value written into a cell of a matrix."""
    return text.axes is not None and text in text.axes.texts


def _inside(box: Bbox, canvas: Bbox) -> bool:
    low = box.x0 >= canvas.x0 - TOLERANCE and box.y0 >= canvas.y0 - TOLERANCE
    return low and box.x1 <= canvas.x1 + TOLERANCE and box.y1 <= canvas.y1 + TOLERANCE


def _meet(a: Bbox, b: Bbox) -> bool:
    across = min(a.x1, b.x1) - max(a.x0, b.x0)
    along = min(a.y1, b.y1) - max(a.y0, b.y0)
    return across > TOLERANCE and along > TOLERANCE
