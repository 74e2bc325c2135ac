"""Lesson 03: masks for images of any size, their Dice scores, and their figures.

:func:`segment` pads, decides and cuts, :func:`dice_scores` compares masks, :func:`plot_masks` shows
what was found, what is a false alarm and what was missed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from torch import Tensor
from torch.nn import functional as F
from torchvision.utils import draw_segmentation_masks

from cnnlab.data.splits import to_float
from cnnlab.evaluation import eval_mode
from cnnlab.plotting import COLORS, show_images, styled

if TYPE_CHECKING:
    from cnnlab.models.unet import UNet

__all__ = ["dice_scores", "overlay", "plot_masks", "segment"]

HIT, FALSE_ALARM, MISSED = COLORS[2], COLORS[1], COLORS[0]


@torch.inference_mode()
def segment(model: UNet, images: Tensor, *, views: int = 1) -> Tensor:
    """Return the masks of images of any size: pad, decide in eval mode, cut the margin off.

    With more than one view, each image is also shown turned and mirrored; the probabilities are
    turned back and averaged (test-time augmentation).

    Parameters
    ----------
    model : UNet
        In a network of L levels, sides must be multiples of 2^(L - 1).
    images : Tensor
        Shape (N, 3, H, W); uint8, or floats in [0, 1].
    views : int
        1 to 8: how often each image is looked at. Four views are 0° and 90°, each mirrored too.

    Returns
    -------
    Tensor
        Class of each pixel, int64 (N, H, W).

    Examples
    --------
    >>> from cnnlab import UNet
    >>> segment(UNet().eval(), torch.zeros(1, 3, 50, 61)).shape
    torch.Size([1, 50, 61])
    """
    multiple = 2 ** len(model.downs)
    height, width = images.shape[-2:]
    margin = (0, -width % multiple, 0, -height % multiple)  # left, right, top, bottom
    padded = F.pad(to_float(images), margin, mode="reflect")
    with eval_mode(model):
        scores = [_score(model, batch, views) for batch in padded.split(32)]  # saves memory
    return torch.cat(scores).argmax(dim=1)[:, :height, :width]


def _score(model: UNet, X: Tensor, views: int) -> Tensor:
    """Return the classes' probabilities at each pixel, (B, K, H, W), summed over the views."""
    total = torch.zeros((), device=X.device)
    for view in range(views):
        quarters, mirrored = divmod(view, 2)
        turned = X.rot90(quarters, (-2, -1))
        logits = model(turned.flip(-1)).flip(-1) if mirrored else model(turned)
        total = total + logits.softmax(dim=1).rot90(-quarters, (-2, -1))
    return total


def dice_scores(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return the Dice score of each image: 2·|A ∩ B| / (|A| + |B|), from 0 to 1.

    Two empty masks agree: their score is 1. Source: Dice (1945), *Ecology* 26(3).

    Parameters
    ----------
    predictions, targets : Tensor
        Shape (N, H, W); what is not zero belongs to the object.

    Returns
    -------
    Tensor
        Shape (N,).

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> dice_scores(torch.tensor([[[1, 1, 0, 0]]]), torch.tensor([[[1, 0, 1, 0]]]))
    tensor([0.5000])
    """
    if predictions.shape != targets.shape:
        raise ValueError(
            f"predictions {tuple(predictions.shape)} and targets {tuple(targets.shape)} differ in "
            "shape; both are (N, H, W). Of logits (N, K, H, W) take argmax(dim=1) first"
        )
    a, b = predictions.bool().flatten(1), targets.bool().flatten(1)  # (N, H·W)
    both, either = (a & b).sum(1), a.sum(1) + b.sum(1)
    return torch.where(either > 0, 2 * both / either.clamp(min=1), 1.0)


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
    """Draw predicted masks over their images, with a legend; see `overlay` and `show_images`.

    Examples
    --------
    >>> ax = plot_masks(torch.zeros(2, 3, 8, 8).byte(), torch.ones(2, 8, 8), torch.ones(2, 8, 8))
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['found', 'false alarm', 'missed']
    """
    drawn = overlay(images, predictions, targets)
    ax = show_images(drawn, titles, columns=columns, width=width, ax=ax)
    names = {"found": HIT, "false alarm": FALSE_ALARM, "missed": MISSED}
    patches = [Patch(color=color, label=name) for name, color in names.items()]
    with styled():
        ax.legend(handles=patches, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3)
    return ax


def overlay(images: Tensor, predictions: Tensor, targets: Tensor, alpha: float = 0.65) -> Tensor:
    """Color what was found (green), what is no object (orange), and what was missed (blue).

    Parameters
    ----------
    images : Tensor
        uint8 (N, 3, H, W).
    predictions, targets : Tensor
        Masks (N, H, W).
    alpha : float
        How much the colors cover.

    Returns
    -------
    Tensor
        uint8 (N, 3, H, W).
    """
    found, true = predictions.bool(), targets.bool()
    parts = torch.stack([found & true, found & ~true, ~found & true], dim=1)  # (N, 3, H, W)
    colors = [HIT, FALSE_ALARM, MISSED]
    drawn = [
        draw_segmentation_masks(image, part, alpha, colors)
        for image, part in zip(images, parts, strict=True)
    ]
    return torch.stack(drawn)
