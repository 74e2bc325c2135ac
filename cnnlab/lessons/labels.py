"""Names beside the points of a figure, where they cover neither each other nor a point."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from operator import itemgetter

from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

__all__ = ["place_labels"]

TEXT = 11  # points
DISTANCES = (3, 16, 29, 42)  # points between a mark and its name: further if there is no place
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))


def place_labels(
    ax: Axes,
    points: Mapping[str, tuple[float, float]],
    radii: Mapping[str, float] | None = None,
) -> None:
    """Write each name beside its point, where it covers no other name and no other point.

    Parameters
    ----------
    ax : Axes
        Drawn so far: its texts and its legend are not covered either.
    points : mapping
        Name -> its point, in the units of the axes.
    radii : mapping, optional
        Name -> half the width of its mark in points; 5 if None.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> ax = plt.figure().add_subplot()
    >>> place_labels(ax, {"left": (0.4, 0.5), "right": (0.41, 0.5)})
    >>> first, second = (text.get_window_extent() for text in ax.texts)
    >>> bool(first.overlaps(second))
    False
    """
    ax.figure.draw_without_rendering()  # type: ignore[union-attr]  # now pixels are known
    pixel = ax.figure.dpi / 72  # pixels in a point
    radius = dict.fromkeys(points, 5.0) if radii is None else radii
    taken = [text.get_window_extent() for text in [*ax.texts, ax.get_legend()] if text]
    for name, point in points.items():
        x, y = ax.transData.transform(point)
        taken.append(Bbox([[x, y], [x, y]]).padded(radius[name] * pixel))
    for name, point in sorted(points.items(), key=lambda item: item[1]):
        probe = ax.text(*point, name, fontsize=TEXT, ha="center", va="center")
        centered = probe.get_window_extent()
        probe.remove()
        candidates = []
        for distance, (right, up) in product(DISTANCES, SIDES):
            far = (radius[name] + distance) * pixel
            shift = right * (far + centered.width / 2), up * (far + centered.height / 2)
            box = centered.translated(*shift)
            outside = box.x0 < ax.bbox.x0 or box.x1 > ax.bbox.x1
            candidates.append((box.count_overlaps(taken) + 100 * outside, distance, box, shift))
        _, distance, box, shift = min(candidates, key=itemgetter(0))  # of the best, the closest
        taken.append(box)
        line = {"arrowstyle": "-", "color": "gray", "shrinkB": radius[name]}
        ax.annotate(
            name, point, (shift[0] / pixel, shift[1] / pixel), textcoords="offset points",
            fontsize=TEXT, ha="center", va="center",
            arrowprops=line if distance > DISTANCES[0] else None,
        )  # fmt: skip
