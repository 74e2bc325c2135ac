"""The day on one page: a tile for each lesson, with the numbers it stands for."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from cnnlab.results import Result
from cnnlab.style import COLOURS, styled

__all__ = ["plot_day"]

COLUMNS, WRAP = 3, 34  # tiles in a row, characters in a line
MOST = 3  # results on a tile


def plot_day(results: Sequence[Result], titles: Mapping[str, str]) -> Figure:
    """Draw a tile for each lesson: its title, and its first results.

    Parameters
    ----------
    results : sequence of Result
        From `recorded()`.
    titles : mapping of str to str
        Lesson, two digits -> what it was about; one tile each, in this order.

    Examples
    --------
    >>> figure = plot_day([Result("06", "field of layer4", 99, unit="pixels")], {"06": "Fields"})
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['06 · Fields', '99 pixels', 'field of layer4']
    """
    rows = -(-len(titles) // COLUMNS)
    with styled():
        figure, grid = plt.subplots(rows, COLUMNS, figsize=(12, 2.5 * rows), squeeze=False)
        for ax in grid.flat:
            ax.axis("off")
        for ax, (lesson, title) in zip(grid.flat, titles.items(), strict=False):
            own = [result for result in results if result.lesson == lesson][:MOST]
            ax.add_patch(plt.Rectangle((0, 0), 1, 1, color="#eef1f4", transform=ax.transAxes))
            ax.text(0.04, 0.88, f"{lesson} · {title}", weight="bold", fontsize=14, va="center")
            for i, result in enumerate(own):
                y = 0.71 - 0.25 * i
                ax.text(0.04, y, str(result), color=COLOURS[0], fontsize=13, va="center")
                name = textwrap.shorten(result.name, 2 * WRAP, placeholder=" …")
                ax.text(0.04, y - 0.115, name, fontsize=11, va="center")
    return figure
