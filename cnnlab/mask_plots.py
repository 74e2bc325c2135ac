"""Pictures of masks: what was found, what was missed, and the scores of many networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from torch import Tensor
from torchvision.utils import draw_segmentation_masks

from cnnlab.plotting import show_images
from cnnlab.style import COLOURS, styled

__all__ = ["overlay", "plot_masks", "plot_scores"]

HIT, FALSE_ALARM, MISSED = COLOURS[2], COLOURS[1], COLOURS[0]


def overlay(images: Tensor, predictions: Tensor, targets: Tensor, alpha: float = 0.65) -> Tensor:
    """Colour what was found (green), what is no object (orange), and what was missed (blue).

    Parameters
    ----------
    images : Tensor
        uint8 (N, 3, H, W).
    predictions, targets : Tensor
        Masks (N, H, W).
    alpha : float
        How much the colours cover.

    Returns
    -------
    Tensor
        uint8 (N, 3, H, W).
    """
    said, true = predictions.bool(), targets.bool()
    parts = torch.stack([said & true, said & ~true, ~said & true], dim=1)  # (N, 3, H, W)
    colours = [HIT, FALSE_ALARM, MISSED]
    drawn = [
        draw_segmentation_masks(image, part, alpha, colours)
        for image, part in zip(images, parts, strict=True)
    ]
    return torch.stack(drawn)


def plot_masks(
    images: Tensor,
    predictions: Tensor,
    targets: Tensor,
    titles: Sequence[str] | None = None,
    *,
    columns: int = 8,
    width: float = 10,
    ax: Axes | None = None,
) -> Axes:
    """Draw predicted masks over their pictures, with a legend; see `overlay` and `show_images`.

    Examples
    --------
    >>> ax = plot_masks(torch.zeros(2, 3, 8, 8).byte(), torch.ones(2, 8, 8), torch.ones(2, 8, 8))
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['found', 'false alarm', 'missed']
    """
    drawn = overlay(images, predictions, targets)
    ax = show_images(drawn, titles, columns=columns, width=width, ax=ax)
    names = {"found": HIT, "false alarm": FALSE_ALARM, "missed": MISSED}
    patches = [Patch(color=colour, label=name) for name, colour in names.items()]
    with styled():
        ax.legend(handles=patches, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3)
    return ax


def plot_scores(
    scores: Mapping[str, Sequence[float]], xlabel: str = "Dice", ax: Axes | None = None
) -> Axes:
    """Draw a row for each setting: a dot a seed, a bar from the lowest to the highest.

    Parameters
    ----------
    scores : mapping
        Name of a setting -> its scores, one a seed; drawn from top to bottom.
    xlabel : str
        What the scores are.
    ax : Axes, optional
        Where to draw.

    Examples
    --------
    >>> ax = plot_scores({"with": [0.8, 0.82], "without": [0.6, 0.7]})
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['with', 'without']
    """
    with styled():
        ax = ax or plt.subplots(figsize=(9, 0.9 + 0.5 * len(scores)))[1]
        for row, values in enumerate(scores.values()):
            mean = sum(values) / len(values)
            ax.plot([min(values), max(values)], [row, row], color=COLOURS[4], lw=8, alpha=0.5)
            ax.plot(values, [row] * len(values), "o", color=COLOURS[0], ms=6)
            ax.text(max(values), row, f"   {mean:.3f}", va="center")
        ax.set_yticks(range(len(scores)), list(scores))
        ax.set(xlabel=xlabel, ylim=(len(scores) - 0.5, -0.5))
        ax.margins(x=0.12)
        ax.grid(axis="x", alpha=0.3)
    return ax
