"""What excites a channel most: the strongest responses in a dataset, and the pixels behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.fields import Field
from cnnlab.inspection import activations

__all__ = ["Peaks", "cut_patches", "find_peaks", "top_patches"]


class Peaks(NamedTuple):
    """The strongest response of every channel to every picture; each field has shape (N, C)."""

    values: Tensor
    rows: Tensor
    columns: Tensor


def find_peaks(
    model: nn.Module, layers: Sequence[str], batches: Sequence[Tensor] | Tensor
) -> dict[str, Peaks]:
    """Find where each channel of some layers responds most to each picture.

    Parameters
    ----------
    model : nn.Module
        The network.
    layers : sequence of str
        Names of layers that give maps (B, C, H, W).
    batches : sequence of Tensor
        Preprocessed pictures, each of shape (B, 3, H, W).

    Returns
    -------
    dict
        Layer -> Peaks, whose rows and columns count positions in the layer's map.

    Examples
    --------
    >>> model = nn.Sequential(nn.Identity(), nn.Conv2d(3, 2, 1))
    >>> peaks = find_peaks(model, ["0"], [torch.eye(4).expand(5, 3, 4, 4)])["0"]
    >>> peaks.values.shape, int(peaks.rows[0, 0]), int(peaks.columns[0, 0])
    (torch.Size([5, 3]), 0, 0)
    """
    found: dict[str, list[Peaks]] = {name: [] for name in layers}
    for X in batches:
        for name, maps in activations(model, layers, X).items():
            values, places = maps.flatten(2).max(dim=2)  # (B, C)
            width = maps.shape[-1]
            found[name].append(Peaks(values, places // width, places % width))
    return {name: Peaks(*map(torch.cat, zip(*found[name], strict=True))) for name in layers}


def cut_patches(
    images: Tensor, boxes: Sequence[tuple[int, int, int, int]], size: int = 64
) -> Tensor:
    """Cut one box out of each picture and enlarge it, on white where it is not square.

    Parameters
    ----------
    images : Tensor
        uint8, shape (N, 3, H, W).
    boxes : sequence of (top, left, bottom, right)
        As `Field.at` of ``receptive_field`` gives them; bottom and right lie outside.
    size : int
        Side of the result in pixels.

    Returns
    -------
    Tensor
        uint8, shape (N, 3, size, size).

    Examples
    --------
    >>> patches = cut_patches(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), [(0, 4, 8, 20)])
    >>> patches.shape, patches[0, 0, :, 0].float().mean().item()  # twice as wide as high
    (torch.Size([1, 3, 64, 64]), 127.5)
    """
    patches = torch.full((len(boxes), 3, size, size), 255, dtype=torch.uint8)
    for patch, image, (top, left, bottom, right) in zip(patches, images, boxes, strict=True):
        if not (0 <= top < bottom <= image.shape[1] and 0 <= left < right <= image.shape[2]):
            raise ValueError(
                f"box ({top}, {left}, {bottom}, {right}) does not lie in a picture of "
                f"{image.shape[1]} × {image.shape[2]} pixels"
            )
        scale = size / max(bottom - top, right - left)
        height, width = (max(1, round(n * scale)) for n in (bottom - top, right - left))
        part = image[None, :, top:bottom, left:right].float()
        up, aside = (size - height) // 2, (size - width) // 2
        patch[:, up : up + height, aside : aside + width] = F.interpolate(part, (height, width))[0]
    return patches


def top_patches(images: Tensor, peaks: Peaks, field: Field, channel: int, count: int = 8) -> Tensor:
    """Cut out what a channel saw where it responded most, the strongest response first.

    Parameters
    ----------
    images : Tensor
        The pictures behind the peaks, uint8 (N, 3, H, W).
    peaks : Peaks
        Of the layer, from `find_peaks`.
    field : Field
        Of the same layer, from ``receptive_field`` for pictures of this size.
    channel : int
        Which one.
    count : int
        Number of pictures; one patch of each.

    Returns
    -------
    Tensor
        uint8, shape (count, 3, 64, 64).

    Examples
    --------
    >>> from cnnlab.receptive_fields import receptive_field
    >>> model = nn.Sequential(nn.Conv2d(3, 2, 3))
    >>> images = torch.zeros(5, 3, 16, 16, dtype=torch.uint8)
    >>> peaks = find_peaks(model, ["0"], [images.float()])["0"]
    >>> top_patches(images, peaks, receptive_field(model, (3, 16, 16))["0"], 1, count=4).shape
    torch.Size([4, 3, 64, 64])
    """
    values, rows, columns = (part[:, channel] for part in peaks)
    best = values.topk(count).indices
    boxes = [field.at(int(rows[i]), int(columns[i])) for i in best]
    return cut_patches(images[best], boxes)
