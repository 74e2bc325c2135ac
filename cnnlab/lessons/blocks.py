"""Lesson 02: the blocks of the famous networks, one idea each, short enough for a slide.

Every block maps (B, in_channels, H, W) to (B, out_channels, H, W), unless it says otherwise. They
stand in the order of the lesson: Inception, residual and dense blocks, split channels, patches.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "Bottleneck",
    "ConvNeXtBlock",
    "DenseBlock",
    "Inception",
    "InvertedResidual",
    "PatchEncoder",
    "Reduction",
    "SqueezeExcite",
    "auxiliary_head",
    "conv",
]


def conv(
    in_channels: int, out_channels: int, kernel: int | tuple[int, int] = 3, *,
    stride: int = 1, groups: int = 1,
) -> nn.Sequential:  # fmt: skip
    """Convolution that keeps the size, batch normalization, ReLU: the unit of all that follows.

    Examples
    --------
    >>> conv(3, 8, kernel=(1, 7))(torch.zeros(2, 3, 9, 9)).shape
    torch.Size([2, 8, 9, 9])
    """
    sides = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    padding = (sides[0] // 2, sides[1] // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, sides, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class Inception(nn.Module):
    """Four branches with kernels of several sizes; 1×1 convolutions make the large ones cheap.

    Source: Szegedy et al. (2015), *CVPR*, Fig. 2. With ``squeeze=None`` nothing is squeezed.

    Examples
    --------
    >>> Inception(64, 64)(torch.zeros(1, 64, 9, 9)).shape
    torch.Size([1, 64, 9, 9])
    """

    def __init__(self, in_channels: int, out_channels: int, squeeze: int | None = 4) -> None:
        super().__init__()
        if out_channels % 4:
            raise ValueError(f"{out_channels} channels cannot be shared among four branches")
        part, few = out_channels // 4, in_channels // (squeeze or 1)

        def branch(kernel: int) -> nn.Sequential:
            thin = conv(in_channels, few, 1) if squeeze else nn.Identity()
            return nn.Sequential(thin, conv(few, part, kernel))

        pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.one, self.three, self.five = conv(in_channels, part, 1), branch(3), branch(5)
        self.pool = nn.Sequential(pool, conv(in_channels, part, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Join the maps of all branches: (B, in_channels, H, W) to (B, out_channels, H, W)."""
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], dim=1)


def auxiliary_head(channels: int, num_classes: int = 10) -> nn.Sequential:
    """Classify half-way: a second loss for the early layers, removed after training.

    Source: Szegedy et al. (2015; 2016), *CVPR* (Inception-v1 and -v3).

    Examples
    --------
    >>> auxiliary_head(64)(torch.zeros(2, 64, 17, 17)).shape
    torch.Size([2, 10])
    """
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(
        conv(channels, 2 * channels, 1), *pool, nn.Linear(2 * channels, num_classes)
    )


class Reduction(nn.Module):
    """Halve the size by pooling and by strided convolutions at once, and keep all the maps.

    Sources: Szegedy et al. (2016), *CVPR*, section 5; so called in Inception-v4 (Szegedy et al.
    2017, *AAAI*). The output has in_channels + out_channels channels.

    Examples
    --------
    >>> Reduction(16, 48)(torch.zeros(1, 16, 8, 8)).shape
    torch.Size([1, 64, 4, 4])
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.convolution = conv(in_channels, out_channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, in_channels + out_channels, H/2, W/2)."""
        return torch.cat([self.pool(x), self.convolution(x)], dim=1)


class Bottleneck(nn.Module):
    """Reduce the channels, convolve, expand them, add the input: the block of ResNet-50.

    With ``groups`` the middle layer works in parallel parts (ResNeXt). With ``scale`` the change
    is damped, as in Inception-ResNet-v2. The input needs as many channels as the output.
    Sources: He et al. (2016), *CVPR*, Fig. 5; Xie et al. (2017), *CVPR*, Fig. 3; Szegedy et al.
    (2017), *AAAI*, section 3.3.

    Examples
    --------
    >>> Bottleneck(64, 16, groups=4)(torch.zeros(1, 64, 9, 9)).shape
    torch.Size([1, 64, 9, 9])
    """

    def __init__(self, channels: int, width: int, groups: int = 1, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.squeeze = conv(channels, width, 1)
        self.spatial = conv(width, width, 3, groups=groups)
        expand = nn.Conv2d(width, channels, 1, bias=False)
        self.expand = nn.Sequential(expand, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape."""
        change = self.expand(self.spatial(self.squeeze(x)))
        return F.relu(x + self.scale * change)


class DenseBlock(nn.Module):
    """Every layer sees the maps of all layers before it, and adds a few of its own.

    Source: Huang, Liu, van der Maaten and Weinberger (2017), *CVPR*.

    Examples
    --------
    >>> DenseBlock(16, 32)(torch.zeros(1, 16, 9, 9)).shape
    torch.Size([1, 32, 9, 9])
    """

    def __init__(self, in_channels: int, out_channels: int, layers: int = 4) -> None:
        super().__init__()
        growth, rest = divmod(out_channels - in_channels, layers)
        if rest:
            raise ValueError(f"{layers} layers cannot share {out_channels - in_channels} channels")
        inputs = range(in_channels, out_channels, growth)
        self.layers = nn.ModuleList(conv(channels, growth, 3) for channels in inputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H, W)."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return x


class InvertedResidual(nn.Module):
    """Expand, convolve each channel alone, reduce; the residual connection joins the thin ends.

    Source: Sandler et al. (2018), *CVPR* (MobileNet-v2). There is no ReLU on the thin end.

    Examples
    --------
    >>> InvertedResidual(16)(torch.zeros(1, 16, 9, 9)).shape
    torch.Size([1, 16, 9, 9])
    """

    def __init__(self, channels: int, expansion: int = 6) -> None:
        super().__init__()
        wide = expansion * channels
        self.expand = conv(channels, wide, 1)
        self.depthwise = conv(wide, wide, 3, groups=wide)
        self.squeeze = nn.Sequential(
            nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape."""
        return x + self.squeeze(self.depthwise(self.expand(x)))


class SqueezeExcite(nn.Module):
    """Weigh each channel by what the whole image contains.

    Source: Hu, Shen and Sun (2018), *CVPR*; every block of EfficientNet-B0 has one.

    Examples
    --------
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
    """Convolve each channel with 7×7, then mix the channels by two linear layers, as in a ViT.

    Source: Liu et al. (2022), *CVPR*, Fig. 4.

    Examples
    --------
    >>> ConvNeXtBlock(16)(torch.zeros(1, 16, 9, 9)).shape
    torch.Size([1, 16, 9, 9])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.mlp = nn.Sequential(
            nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, H, W) to the same shape."""
        y = self.depthwise(x).permute(0, 2, 3, 1)  # (B, H, W, channels): linear layers mix the last
        return x + self.mlp(self.norm(y)).permute(0, 3, 1, 2)


class PatchEncoder(nn.Module):
    """Cut the image into patches and let every patch attend to every other one.

    Source: Dosovitskiy et al. (2021), *ICLR* (ViT). Maps (B, 3, H, W) to (B, tokens, channels).

    Examples
    --------
    >>> PatchEncoder(32)(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 16, 32])
    """

    def __init__(self, channels: int, patch: int = 8, heads: int = 4) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, channels, kernel_size=patch, stride=patch)
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, x: Tensor, positions: Tensor | float = 0) -> Tensor:
        """Map images (B, 3, H, W) to tokens; positions (1, tokens, channels) are added if given."""
        tokens = self.embed(x).flatten(2).transpose(1, 2)  # (B, tokens, channels)
        tokens = tokens + positions
        return tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
