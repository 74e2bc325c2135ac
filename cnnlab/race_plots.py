"""Pictures of lesson 02's experiments: gradients by depth, and the race."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from cnnlab.races import Lap
from cnnlab.style import COLOURS, styled

__all__ = ["plot_gradient_norms", "plot_race"]


def plot_gradient_norms(norms: Mapping[str, Sequence[float]], ax: Axes | None = None) -> Axes:
    """Draw the length of the gradient of each layer, from the input to the output.

    Parameters
    ----------
    norms : mapping
        Name of a network to the norms of its layers, as :func:`first_steps` returns them.
    ax : Axes, optional
        Where to draw.
    """
    with styled():
        ax = plt.subplots(figsize=(8, 4))[1] if ax is None else ax
        for (name, values), colour, marker in zip(norms.items(), COLOURS, "os^D", strict=False):
            ax.plot(range(1, len(values) + 1), values, color=colour, marker=marker, label=name)
        longest = max(map(len, norms.values()))
        ax.set_yscale("log")
        ax.set_xticks([1, *range(5, longest + 1, 5)])
        ax.set(xlabel="layer, from input to output", ylabel="length of its gradient")
        ax.legend(loc="lower right")
    return ax


def plot_race(laps: Sequence[Lap], ax: Axes | None = None) -> Axes:
    """Draw each training's accuracy as a dot, and each family's mean as a line.

    Parameters
    ----------
    laps : sequence of Lap
        From :func:`race`.
    ax : Axes, optional
        Where to draw.
    """
    families = list(dict.fromkeys(lap.family for lap in laps))
    with styled():
        ax = plt.subplots(figsize=(8, 0.8 + 0.6 * len(families)))[1] if ax is None else ax
        for row, (family, colour) in enumerate(zip(families, COLOURS, strict=False)):
            values = [100 * lap.result.accuracy for lap in laps if lap.family == family]
            heights = row + np.linspace(-0.2, 0.2, len(values))  # so that no dot hides another
            ax.plot(values, heights, "o", color=colour, ms=8)
            ax.vlines(np.mean(values), row - 0.3, row + 0.3, color=colour, linewidth=3)
        ax.set_yticks(range(len(families)), families)
        ax.set(ylim=(len(families) - 0.5, -0.5), xlabel="accuracy on the validation digits (%)")
    return ax
