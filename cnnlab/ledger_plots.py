"""Pictures of the ledger: sizes over the years, and what accuracy costs."""

from __future__ import annotations

import csv
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from cnnlab.architectures import Architecture
from cnnlab.places import packaged
from cnnlab.style import COLOURS, styled

__all__ = ["plot_accuracy_against_macs", "plot_parameters_over_years"]

TEXT = 11  # points
_KINDS = {"yes": "CNN", "partly": "CNN and attention", "no": "not a CNN (attention)"}


def plot_parameters_over_years(ax: Axes | None = None) -> Axes:
    """Draw published numbers of parameters over the years, CNNs apart from other networks.

    Sizes that were never published are left out; where there is a rumour, a note below says so.
    The numbers and their sources are in ``data/published/model_sizes.csv``.

    Parameters
    ----------
    ax : Axes, optional
        Where to draw.
    """
    with packaged("published", "model_sizes.csv").open(encoding="utf-8", newline="") as file:
        records = list(csv.DictReader(file))
    known = [record for record in records if record["parameters"]]
    with styled():
        ax = plt.subplots(figsize=(10, 5.6))[1] if ax is None else ax
        for (kind, label), marker, colour in zip(
            _KINDS.items(), "oDs", (COLOURS[0], COLOURS[2], COLOURS[1]), strict=True
        ):
            chosen = [record for record in known if record["is_cnn"] == kind]
            x = [int(record["year"]) for record in chosen]
            y = [int(record["parameters"]) for record in chosen]
            ax.plot(x, y, marker, color=colour, label=label, ms=8)
        ax.set_yscale("log")
        ax.set(xlabel="year of publication", ylabel="parameters", ylim=(1e4, 2e13))
        ax.set_xlim(1997, 2028.5)
        ax.set_xticks(range(2000, 2026, 5))
        ax.legend(loc="upper left")
        rumours = [f"{r['name']}: {r['note']}." for r in records if not r["parameters"]]
        ax.text(
            0.01, 0.02, "\n".join(rumours), transform=ax.transAxes, fontsize=TEXT, style="italic"
        )
        places = [(float(r["year"]), float(r["parameters"])) for r in known]
        _label(ax, places, [r["name"] for r in known], [5] * len(known))
    return ax


def plot_accuracy_against_macs(ledger: Sequence[Architecture], ax: Axes | None = None) -> Axes:
    """Draw top-1 accuracy on ImageNet against multiply-adds; areas show parameters.

    Parameters
    ----------
    ledger : sequence of Architecture
        From ``model_ledger``; rows without accuracy or multiply-adds are left out.
    ax : Axes, optional
        Where to draw.

    Raises
    ------
    ValueError
        If no row is left.
    """
    rows = [row for row in ledger if row.top1 and row.gmacs and row.parameters]
    if not rows:
        raise ValueError("no row has both an accuracy and multiply-adds")
    with styled():
        ax = plt.subplots(figsize=(10, 5.6))[1] if ax is None else ax
        sizes = [8 * (row.parameters or 0) / 1e6 for row in rows]  # points² for a million
        colours = [COLOURS[0] if row.family == "CNN" else COLOURS[1] for row in rows]
        x, y = [row.gmacs or 0 for row in rows], [row.top1 or 0 for row in rows]
        ax.scatter(x, y, s=sizes, c=colours, alpha=0.6, edgecolors="black", linewidths=0.8)
        ax.set_xscale("log")
        ticks = [0.25, 0.5, 1, 2, 4, 8, 16]
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.minorticks_off()
        ax.set(xlabel="multiply-adds for one picture (billions)", ylabel="top-1 accuracy (%)")
        ax.set(xlim=(0.2, 32), ylim=(min(y) - 4, max(y) + 4))
        handles = [
            ax.scatter(
                [], [], s=8 * millions, c="lightgrey", edgecolors="black", label=f"{millions} M"
            )
            for millions in (5, 25, 100)
        ]
        handles += [
            ax.scatter([], [], s=70, c=colour, alpha=0.6, edgecolors="black", label=label)
            for colour, label in ((COLOURS[0], "CNN"), (COLOURS[1], "transformer"))
        ]
        ax.legend(handles=handles, loc="lower right", title="area: parameters", labelspacing=0.8)
        radii = [np.sqrt(size / np.pi) for size in sizes]
        _label(ax, list(zip(x, y, strict=True)), [row.name for row in rows], radii)
    return ax


def _label(
    ax: Axes, points: list[tuple[float, float]], names: list[str], radii: Sequence[float]
) -> None:
    """Write each name beside its point, where it covers no other name and no other point."""
    figure = ax.get_figure()
    figure.draw_without_rendering()  # type: ignore[union-attr]  # now places in pixels are known
    scale = ax.figure.dpi / 72
    centres = ax.transData.transform(points)
    taken = [
        Bbox.from_bounds(x - r * scale, y - r * scale, 2 * r * scale, 2 * r * scale)
        for (x, y), r in zip(centres, radii, strict=True)
    ]
    taken += [text.get_window_extent() for text in [*ax.texts, ax.get_legend()] if text]
    for point, name, r in sorted(zip(points, names, radii, strict=True), key=lambda t: t[0][1]):
        best, least = None, float("inf")
        for steps in (1, 2, 3, 4):  # further away if there is no place close by
            for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)):
                far = r + 3 + 13 * (steps - 1)
                text = ax.annotate(
                    name, point, (dx * far, dy * far), textcoords="offset points", fontsize=TEXT,
                    ha=("center", "left", "right")[dx], va=("center", "bottom", "top")[dy],
                    arrowprops={"arrowstyle": "-", "color": "grey"} if steps > 1 else None,
                )  # fmt: skip
                box = text.get_window_extent()
                inside = ax.bbox.x0 <= box.x0 and box.x1 <= ax.bbox.x1
                crossed = sum(box.overlaps(other) for other in taken) + 100 * (not inside)
                if crossed < least:
                    if best is not None:
                        best.remove()
                    best, least = text, crossed
                else:
                    text.remove()
                if not least:
                    break
            if not least:
                break
        assert best is not None
        taken.append(best.get_window_extent())
