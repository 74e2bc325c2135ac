"""Networks small enough to read, and backbones that were trained by somebody with more time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["BasicBlock", "LeNet5", "TinyResNet"]


class LeNet5(nn.Module):
    """LeNet-5 as it is usually written today: 61,706 parameters for ten classes.

    The paper's third layer joined only some pairs of maps (60,000 parameters); here all are
    joined. Source: LeCun, Bottou, Bengio and Haffner (1998), *Proc. IEEE* 86(11), Fig. 2.

    Examples
    --------
    >>> LeNet5()(torch.zeros(1, 1, 28, 28)).shape
    torch.Size([1, 10])
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, kernel_size=5, padding=2),  # (B, 6, 28, 28)
            nn.Tanh(),
            nn.AvgPool2d(2),  # (B, 6, 14, 14)
            nn.Conv2d(6, 16, kernel_size=5),  # (B, 16, 10, 10)
            nn.Tanh(),
            nn.AvgPool2d(2),  # (B, 16, 5, 5)
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120),
            nn.Tanh(),
            nn.Linear(120, 84),
            nn.Tanh(),
            nn.Linear(84, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 1, 28, 28) to logits (B, num_classes)."""
        return self.classifier(self.features(x))


class BasicBlock(nn.Module):
    """Two 3×3 convolutions around a shortcut (He et al. 2016, Fig. 2)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(out)) + shortcut)


def stage(in_channels: int, out_channels: int, blocks: int, stride: int = 1) -> nn.Sequential:
    """Chain residual blocks; the first one may change channels and resolution."""
    first = BasicBlock(in_channels, out_channels, stride)
    others = (BasicBlock(out_channels, out_channels) for _ in range(blocks - 1))
    return nn.Sequential(first, *others)


class TinyResNet(nn.Module):
    """A residual network of 2.8 million parameters with torchvision's module names.

    Like ResNet-18 it has ``conv1``, ``bn1``, ``layer1`` … ``layer4``, ``avgpool`` and ``fc``, so
    code written for one runs on the other. It has half the width, one block in the early stages
    and two in the late ones, and no pooling after the stem, because it was trained on pictures of
    64×64 pixels.
    Source of the idea: He, Zhang, Ren and Sun (2016), *CVPR*.

    Parameters
    ----------
    num_classes : int
        Number of logits.
    widths : tuple of int
        Channels of the four stages.
    blocks : tuple of int
        Residual blocks in each of them.

    Examples
    --------
    >>> TinyResNet(num_classes=2)(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 2])
    """

    def __init__(
        self,
        num_classes: int = 200,
        widths: tuple[int, ...] = (32, 64, 128, 256),
        blocks: tuple[int, ...] = (1, 1, 2, 2),
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = stage(widths[0], widths[0], blocks[0])
        self.layer2 = stage(widths[0], widths[1], blocks[1], stride=2)
        self.layer3 = stage(widths[1], widths[2], blocks[2], stride=2)
        self.layer4 = stage(widths[2], widths[3], blocks[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(widths[3], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, num_classes)."""
        x = self.relu(self.bn1(self.conv1(x)))  # (B, 32, H/2, W/2)
        x = self.layer1(x)
        x = self.layer2(x)  # (B, 64, H/4, W/4)
        x = self.layer3(x)  # (B, 128, H/8, W/8)
        x = self.layer4(x)  # (B, 256, H/16, W/16)
        x = torch.flatten(self.avgpool(x), 1)  # (B, 256)
        return self.fc(x)
