"""Random views of a batch of images, each image with its own crop, flip and colors.

The random numbers are drawn first and applied afterwards, so that several processes can draw
for a whole batch and each apply its own share.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Views(NamedTuple):
    """Random numbers of N views: crops (N, 2, 3) as affine maps, colors (N, 3) as factors."""

    crops: Tensor
    colors: Tensor


def draw_views(
    count: int,
    generator: torch.Generator | None = None,
    *,
    min_area: float = 0.6,
    max_stretch: float = 4 / 3,
    color: float = 0.2,
) -> Views:
    """Draw random crops with flips, and factors of brightness, contrast and saturation.

    Parameters
    ----------
    count : int
        Number of images.
    generator : torch.Generator, optional
        Where the random numbers come from; torch's global generator if None.
    min_area : float
        Smallest share of the image that a crop keeps, in (0, 1].
    max_stretch : float
        Largest ratio between the sides of a crop.
    color : float
        Factors lie in [1 - color, 1 + color]; 0 leaves the colors alone.

    Examples
    --------
    >>> views = draw_views(8, torch.Generator().manual_seed(0))
    >>> views.crops.shape, views.colors.shape
    (torch.Size([8, 2, 3]), torch.Size([8, 3]))
    """
    u = torch.rand(6, count, generator=generator)
    area = min_area + (1 - min_area) * u[0]
    stretch = torch.exp((2 * u[1] - 1) * math.log(max_stretch) / 2)
    width, height = (area.sqrt() * stretch).clamp(max=1), (area.sqrt() / stretch).clamp(max=1)
    flip = torch.where(u[2] < 0.5, -1.0, 1.0)
    zero = torch.zeros(count)
    # affine_grid measures from -1 to 1: a crop of half the width may move by half of that.
    row_x = torch.stack([flip * width, zero, (2 * u[3] - 1) * (1 - width)], dim=1)
    row_y = torch.stack([zero, height, (2 * u[4] - 1) * (1 - height)], dim=1)
    colors = 1 + color * (2 * torch.rand(count, 3, generator=generator) - 1)
    return Views(torch.stack([row_x, row_y], dim=1), colors)


def augment(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Replace each image of a batch by a random view of it, of the same size.

    Parameters
    ----------
    images : Tensor
        Shape (N, C, H, W); uint8, or float in [0, 1].
    generator : torch.Generator, optional
        Where the random numbers come from; torch's global generator if None.

    Returns
    -------
    Tensor
        Same shape, float32 in [0, 1].

    Examples
    --------
    >>> augment(torch.zeros(4, 3, 32, 32, dtype=torch.uint8)).shape
    torch.Size([4, 3, 32, 32])
    """
    return cut_views(images, draw_views(len(images), generator))


def cut_views(images: Tensor, views: Views, size: int | None = None) -> Tensor:
    """Cut the views out of the images, scale them to ``size`` and change their colors.

    Parameters
    ----------
    images : Tensor
        Shape (N, C, H, W); uint8, or float in [0, 1].
    views : Views
        As many views as images.
    size : int, optional
        Side of the result in pixels; the width of the images if None.

    Returns
    -------
    Tensor
        Shape (N, C, size, size), float32 in [0, 1].

    Examples
    --------
    >>> images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    >>> cut_views(images, draw_views(4), size=24).shape
    torch.Size([4, 3, 24, 24])
    """
    pixels = images.float() / 255 if images.dtype == torch.uint8 else images  # (N, C, H, W)
    side = size or images.shape[-1]
    grid = F.affine_grid(views.crops, [len(images), 1, side, side], align_corners=False)
    out = F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    brightness, contrast, saturation = views.colors.T[:, :, None, None, None]  # (N, 1, 1, 1)
    out = out * brightness
    out = torch.lerp(out.mean(dim=(1, 2, 3), keepdim=True), out, contrast)
    if out.shape[1] == 3:
        out = torch.lerp(out.mean(dim=1, keepdim=True), out, saturation)
    return out.clamp_(0, 1)
