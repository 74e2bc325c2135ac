"""A U-Net in four blocks, each short enough for a slide.

It goes down to coarse maps that see a lot, comes up again to one answer a pixel, and on the way
up reads the fine maps that it passed on the way down (Ronneberger, Fischer and Brox 2015, MICCAI).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

__all__ = ["UPSAMPLERS", "DoubleConv", "Down", "UNet", "Up", "upsampling_layer"]

UPSAMPLERS = ("nearest", "bilinear", "transposed")


class DoubleConv(nn.Sequential):
    """Two 3×3 convolutions with BatchNorm and ReLU; height and width stay.

    The paper had no padding (each convolution cost two rows and columns) and no BatchNorm.

    Examples
    --------
    >>> DoubleConv(3, 8)(torch.zeros(1, 3, 6, 6)).shape
    torch.Size([1, 8, 6, 6])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class Down(nn.Sequential):
    """Halve height and width, then look for more kinds of things.

    Examples
    --------
    >>> Down(8, 16)(torch.zeros(1, 8, 6, 6)).shape
    torch.Size([1, 16, 3, 3])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.MaxPool2d(2),  # (B, in, H, W) -> (B, in, H/2, W/2)
            DoubleConv(in_channels, out_channels),  # (B, out, H/2, W/2)
        )


class Up(nn.Module):
    """Double height and width, join the map of the same size from the way down, and mix.

    Without skips the upsampling layer makes as many channels as there would be with them, so
    that the convolutions are the same in both networks.

    Examples
    --------
    >>> Up(16, 8)(torch.zeros(1, 16, 3, 3), torch.zeros(1, 8, 6, 6)).shape
    torch.Size([1, 8, 6, 6])
    """

    def __init__(
        self, in_channels: int, out_channels: int, upsampler: str = "nearest", skips: bool = True
    ) -> None:
        super().__init__()
        self.up = upsampling_layer(upsampler, in_channels, out_channels * (1 if skips else 2))
        self.conv = DoubleConv(2 * out_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """Map x (B, in, H, W) and skip (B, out, 2H, 2W) to (B, out, 2H, 2W)."""
        x = self.up(x)  # (B, out, 2H, 2W)
        if skip is not None:
            x = torch.cat([skip, x], dim=1)  # (B, 2·out, 2H, 2W)
        return self.conv(x)


def upsampling_layer(kind: str, in_channels: int, out_channels: int) -> nn.Module:
    """Return a layer from (B, in, H, W) to (B, out, 2H, 2W).

    For "nearest" and "bilinear" a 1×1 convolution changes the number of channels first. Afterwards
    the result would be the same, from four times as many multiplications.

    Raises
    ------
    ValueError
        If the kind is unknown.

    Examples
    --------
    >>> [upsampling_layer(kind, 16, 8)(torch.zeros(1, 16, 3, 3)).shape[2] for kind in UPSAMPLERS]
    [6, 6, 6]
    """
    if kind not in UPSAMPLERS:
        raise ValueError(f"unknown upsampler {kind!r}: choose one of {', '.join(UPSAMPLERS)}")
    if kind == "transposed":
        return nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=1),
        nn.Upsample(scale_factor=2, mode=kind),
    )


class UNet(nn.Module):
    """One decision for every pixel: an encoder and a decoder, joined by skips at every level.

    Source: Ronneberger, Fischer and Brox (2015), *MICCAI*, Fig. 1 (there with widths 64 … 1024).

    Parameters
    ----------
    num_classes : int
        Scores for each pixel.
    widths : tuple of int
        Channels at each level, from the full size down; each level halves the picture.
    upsampler : str
        "nearest", "bilinear" or "transposed" (convolution).
    skips : bool
        Hand the maps of the way down to the way up.

    Examples
    --------
    >>> UNet(num_classes=2)(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 2, 64, 64])
    """

    def __init__(
        self,
        num_classes: int = 2,
        widths: tuple[int, ...] = (16, 32, 64, 128),
        upsampler: str = "nearest",
        skips: bool = True,
    ) -> None:
        super().__init__()
        self.skips = skips
        self.stem = DoubleConv(3, widths[0])
        self.downs = nn.ModuleList(Down(fine, coarse) for fine, coarse in pairwise(widths))
        self.ups = nn.ModuleList(
            Up(coarse, fine, upsampler, skips) for coarse, fine in pairwise(widths[::-1])
        )
        self.head = nn.Conv2d(widths[0], num_classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map pictures (B, 3, H, W) to logits (B, num_classes, H, W)."""
        x = self.stem(x)  # (B, 16, H, W)
        remembered = []
        for down in self.downs:
            remembered.append(x)
            x = down(x)  # half the size, twice the channels
        for up in self.ups:
            skip = remembered.pop() if self.skips else None
            x = up(x, skip)  # twice the size, half the channels
        return self.head(x)
