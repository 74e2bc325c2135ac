"""Blocks that look around and mix the channels apart, and one that does not convolve at all.

Every block maps (B, in_channels, H, W) to (B, out_channels, H, W), unless it says otherwise.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.blocks import conv

__all__ = ["ConvNeXtBlock", "InvertedResidual", "PatchEncoder", "SqueezeExcite", "separable"]


def separable(in_channels: int, out_channels: int, kernel: int = 3) -> nn.Sequential:
    """Look around in each channel alone, then mix the channels at each place.

    Source: Chollet (2017), *CVPR* (Xception).

    Examples
    --------
    >>> import torch
    >>> separable(8, 16)(torch.zeros(1, 8, 9, 9)).shape
    torch.Size([1, 16, 9, 9])
    """
    depthwise = nn.Conv2d(in_channels, in_channels, kernel, padding=kernel // 2, groups=in_channels)
    return nn.Sequential(depthwise, conv(in_channels, out_channels, 1))


class InvertedResidual(nn.Module):
    """Expand, look around in each channel, squeeze; the shortcut joins the thin ends.

    Source: Sandler et al. (2018), *CVPR* (MobileNet-v2). There is no ReLU on the thin end.

    Examples
    --------
    >>> import torch
    >>> InvertedResidual(16)(torch.zeros(1, 16, 9, 9)).shape
    torch.Size([1, 16, 9, 9])
    """

    def __init__(self, channels: int, expansion: int = 6) -> None:
        super().__init__()
        wide = expansion * channels
        self.expand = conv(channels, wide, 1)
        self.look = conv(wide, wide, 3, groups=wide)
        self.squeeze = nn.Sequential(
            nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape."""
        return x + self.squeeze(self.look(self.expand(x)))


class SqueezeExcite(nn.Module):
    """Let the whole picture decide how loud each channel is.

    Source: Hu, Shen and Sun (2018), *CVPR*; every block of EfficientNet-B0 has one.

    Examples
    --------
    >>> import torch
    >>> SqueezeExcite(16)(torch.zeros(1, 16, 9, 9)).shape
    torch.Size([1, 16, 9, 9])
    """

    def __init__(self, channels: int, ratio: int = 4) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // ratio, 1)
        self.excite = nn.Conv2d(channels // ratio, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape."""
        means = x.mean(dim=(2, 3), keepdim=True)  # (B, channels, 1, 1)
        return x * self.excite(F.relu(self.squeeze(means))).sigmoid()


class ConvNeXtBlock(nn.Module):
    """A transformer's recipe with a convolution: 7×7 for each channel, then mix in four widths.

    Source: Liu et al. (2022), *CVPR*, Fig. 4.

    Examples
    --------
    >>> import torch
    >>> ConvNeXtBlock(16)(torch.zeros(1, 16, 9, 9)).shape
    torch.Size([1, 16, 9, 9])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.look = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.mix = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape."""
        seen = self.look(x).permute(0, 2, 3, 1)  # (B, H, W, channels): linear layers mix the last
        return x + self.mix(self.norm(seen)).permute(0, 3, 1, 2)


class PatchEncoder(nn.Module):
    """Cut the picture into patches and let every patch look at every other one.

    Source: Dosovitskiy et al. (2021), *ICLR* (ViT). Maps (B, 3, H, W) to (B, tokens, channels).

    Examples
    --------
    >>> import torch
    >>> PatchEncoder(32)(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 16, 32])
    """

    def __init__(self, channels: int, patch: int = 8, heads: int = 4) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, channels, kernel_size=patch, stride=patch)
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, x: Tensor, positions: Tensor | float = 0) -> Tensor:
        """Add what says where a patch lies (1, tokens, channels), if anything does."""
        tokens = self.embed(x).flatten(2).transpose(1, 2)  # (B, tokens, channels)
        tokens = tokens + positions
        return tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
