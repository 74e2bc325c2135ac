"""Lesson 03: the figure of found, falsely found and missed pixels.

Scores, losses and networks stand in the lesson's cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from torch import Tensor
from torchvision.utils import draw_segmentation_masks

from cnnlab.plotting import COLORS, show_images, styled

__all__ = ["PARTS", "plot_masks"]

PARTS = {"found": COLORS[2], "false alarm": COLORS[1], "missed": COLORS[0]}


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
    """Draw predicted masks over their images: found pixels, false alarms, missed pixels.

    Parameters
    ----------
    images : Tensor
        uint8 (N, 3, H, W).
    predictions, targets : Tensor
        Masks (N, H, W); what is not zero belongs to the object.
    titles, columns, width, ax
        As in `show_images`.

    Examples
    --------
    >>> ax = plot_masks(torch.zeros(2, 3, 8, 8).byte(), torch.ones(2, 8, 8), torch.ones(2, 8, 8))
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['found', 'false alarm', 'missed']
    """
    found, true = predictions.bool(), targets.bool()
    parts = torch.stack([found & true, found & ~true, ~found & true], dim=1)  # (N, 3, H, W)
    drawn = [
        draw_segmentation_masks(image, part, 0.65, list(PARTS.values()))
        for image, part in zip(images, parts, strict=True)
    ]
    ax = show_images(torch.stack(drawn), titles, columns=columns, width=width, ax=ax)
    patches = [Patch(color=color, label=name) for name, color in PARTS.items()]
    with styled():
        ax.legend(handles=patches, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3)
    return ax
