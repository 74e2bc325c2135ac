"""Segmentation: masks that turn with their pictures, a loss, a score, and its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
)
from torchvision.utils import draw_segmentation_masks

from cnnlab.data.splits import to_float
from cnnlab.evaluation import cross_entropy
from cnnlab.plotting import COLORS, show_images, styled

if TYPE_CHECKING:
    from cnnlab.models.unet import UNet


__all__ = [
    "dice_scores",
    "mask_loader",
    "mask_loss",
    "overlay",
    "plot_masks",
    "plot_scores",
    "segment",
    "turn_together",
]


def turn_together(X: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Turn a batch by 0, 90, 180 or 270° and perhaps mirror it: pictures and masks alike.

    Parameters
    ----------
    X, y : Tensor
        Pictures (B, C, H, W) and masks (B, H, W), with H = W.
    generator : torch.Generator
        Where chance comes from.

    Examples
    --------
    >>> X = torch.arange(9.0).view(1, 1, 3, 3)
    >>> X, y = turn_together(X, X[:, 0], torch.Generator().manual_seed(1))
    >>> bool((X[:, 0] == y).all())
    True
    """
    quarters, mirrored = divmod(int(torch.randint(8, (), generator=generator)), 2)
    X, y = (torch.rot90(part, quarters, dims=(-2, -1)) for part in (X, y))
    return (X.flip(-1), y.flip(-1)) if mirrored else (X, y)


def mask_loader(
    images: Tensor, masks: Tensor, batch_size: int, *, training: bool = False, seed: int = 0
) -> DataLoader:
    """Return batches of pictures, float32 (B, 3, H, W), and masks, int64 (B, H, W).

    Parameters
    ----------
    images : Tensor
        uint8 (N, 3, H, W).
    masks : Tensor
        bool (N, H, W), true on the object.
    batch_size : int
        Pictures in a batch.
    training : bool
        In random order, and each batch turned at random.
    seed : int
        Of both.

    Examples
    --------
    >>> images = torch.zeros(5, 3, 8, 8, dtype=torch.uint8)
    >>> X, y = next(iter(mask_loader(images, images[:, 0] > 0, batch_size=4)))
    >>> X.shape, y.dtype
    (torch.Size([4, 3, 8, 8]), torch.int64)
    """
    generator = torch.Generator().manual_seed(seed)
    pairs = TensorDataset(images, masks)
    order = RandomSampler(pairs, generator=generator) if training else SequentialSampler(pairs)

    def prepare(batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        X, y = to_float(batch[0]), batch[1].long()
        return turn_together(X, y, generator) if training else (X, y)

    # The sampler yields lists of positions: one indexing operation makes a whole batch.
    batches = BatchSampler(order, batch_size, drop_last=training)
    return DataLoader(pairs, None, sampler=batches, collate_fn=prepare, generator=generator)


def dice_scores(predictions: Tensor, targets: Tensor) -> Tensor:
    """Return the Dice score of each picture: 2·|A ∩ B| / (|A| + |B|), from 0 to 1.

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


def mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return cross-entropy plus 1 - soft Dice of the object, over all pixels of the batch.

    Cross-entropy asks about every pixel, most of which are background; Dice only cares about the
    object. "Soft": probabilities take the place of yes and no, so that there is a gradient.
    Source: Milletari, Navab and Ahmadi (2016), *3DV*, Sec. 3.

    Parameters
    ----------
    logits : Tensor
        Shape (B, 2, H, W), background and object.
    targets : Tensor
        int64 (B, H, W), 1 on the object.

    Examples
    --------
    >>> targets = torch.tensor([[[0, 1]]])
    >>> sure = 20 * torch.stack([1 - targets, targets], dim=1).float()
    >>> round(mask_loss(sure, targets).item(), 3), round(mask_loss(-sure, targets).item(), 1)
    (0.0, 20.7)
    """
    probability, target = logits.softmax(dim=1)[:, 1], targets.float()  # (B, H, W)
    both, either = (probability * target).sum(), probability.sum() + target.sum()
    return cross_entropy(logits, targets) + 1 - (2 * both + 1) / (either + 1)  # +1: never 0/0


@torch.inference_mode()
def segment(model: UNet, images: Tensor, *, views: int = 1) -> Tensor:
    """Return the masks of pictures of any size: pad, decide in eval mode, cut the margin off.

    With eight views, each picture is shown turned by 0, 90, 180 and 270°, and mirrored; what the
    model says is turned back and averaged.

    Parameters
    ----------
    model : UNet
        In a network of L levels, sides must be multiples of 2^(L - 1).
    images : Tensor
        Shape (N, 3, H, W); uint8, or floats in [0, 1].
    views : int
        1 to 8: how often each picture is looked at.

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
    model.eval()
    missing = (0, -width % multiple, 0, -height % multiple)  # left, right, top, bottom
    padded = F.pad(to_float(images), missing, mode="reflect")
    votes = [_votes(model, batch, views) for batch in padded.split(32)]  # more need more memory
    return torch.cat(votes).argmax(dim=1)[:, :height, :width]


def _votes(model: UNet, X: Tensor, views: int) -> Tensor:
    """Return the classes' probabilities at each pixel, (B, C, H, W), summed over the views."""
    votes = torch.zeros((), device=X.device)
    for view in range(views):
        quarters, mirrored = divmod(view, 2)
        turned = torch.rot90(X, quarters, dims=(-2, -1))
        scores = model(turned.flip(-1)).flip(-1) if mirrored else model(turned)
        votes = votes + torch.rot90(scores.softmax(dim=1), -quarters, dims=(-2, -1))
    return votes


HIT, FALSE_ALARM, MISSED = COLORS[2], COLORS[1], COLORS[0]


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
    said, true = predictions.bool(), targets.bool()
    parts = torch.stack([said & true, said & ~true, ~said & true], dim=1)  # (N, 3, H, W)
    colors = [HIT, FALSE_ALARM, MISSED]
    drawn = [
        draw_segmentation_masks(image, part, alpha, colors)
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
    patches = [Patch(color=color, label=name) for name, color in names.items()]
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
            ax.plot([min(values), max(values)], [row, row], color=COLORS[0], lw=8, alpha=0.3)
            ax.plot(values, [row] * len(values), "o", color=COLORS[0], ms=6)
            ax.text(max(values), row, f"   {mean:.3f}", va="center")
        ax.set_yticks(range(len(scores)), list(scores))
        ax.set(xlabel=xlabel, ylim=(len(scores) - 0.5, -0.5))
        ax.margins(x=0.12)
        ax.grid(axis="x", alpha=0.3)
    return ax
