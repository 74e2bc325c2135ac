"""The kernels of a network: what can be measured in the first ones, and how far all have moved."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "KernelStatistics", "kernel_responses", "kernel_statistics", "movement", "sample_photographs",
    "telling_kernels",
]  # fmt: skip

_SPECTRUM = 32  # side of the spectrum of a kernel, which is padded with zeros to this size


class KernelStatistics(NamedTuple):
    """What can be measured in kernels (K, C, k, k); each field has shape (K,).

    Attributes
    ----------
    colour : share of the energy that is not grey, from 0 to 1
    orientation : share of the spectral energy within 22.5° of the strongest wave, from 0 to 1
    angle : direction in which the strongest wave runs, 0 ≤ angle < 180 degrees, 90 is down
    frequency : of the strongest wave, in cycles a pixel, from 0 to 0.71
    """

    colour: Tensor
    orientation: Tensor
    angle: Tensor
    frequency: Tensor


def kernel_statistics(weight: Tensor) -> KernelStatistics:
    """Measure colour, orientation and frequency of the kernels of a first layer.

    Energy is the sum of squares; by Parseval's theorem it is the same in the spectrum. The mean
    of each colour channel is taken out before the spectrum: it has no direction.

    Parameters
    ----------
    weight : Tensor
        Shape (K, 3, k, k).

    Examples
    --------
    >>> stripes = torch.cos(torch.arange(8) * torch.pi / 2).expand(1, 3, 8, 8)  # four pixels a wave
    >>> [round(value.item(), 2) for value in kernel_statistics(stripes)]
    [0.0, 0.87, 0.0, 0.25]
    """
    kernels = weight.detach().cpu().double()
    grey = kernels.mean(dim=1, keepdim=True).expand_as(kernels)
    colour = 1 - grey.square().sum(dim=(1, 2, 3)) / kernels.square().sum(dim=(1, 2, 3))
    waves = kernels - kernels.mean(dim=(2, 3), keepdim=True)
    spectrum = torch.fft.fft2(waves, s=(_SPECTRUM, _SPECTRUM))
    energy = spectrum.abs().square().sum(dim=1).flatten(1)  # (K, 32·32)
    steps = torch.fft.fftfreq(_SPECTRUM, dtype=torch.float64)
    fy, fx = (f.flatten() for f in torch.meshgrid(steps, steps, indexing="ij"))
    angles = torch.rad2deg(torch.atan2(fy, fx)) % 180  # f and -f are the same wave
    strongest = energy.argmax(dim=1)
    apart = (angles - angles[strongest, None]).abs()  # (K, 32·32)
    near = torch.minimum(apart, 180 - apart) <= 22.5
    orientation = (energy * near).sum(dim=1) / energy.sum(dim=1)
    frequency = torch.hypot(fy, fx)[strongest]
    return KernelStatistics(colour, orientation, angles[strongest], frequency)


def telling_kernels(statistics: KernelStatistics) -> list[int]:
    """Return the clearest grey wave that runs down, the one to the side, and the two most coloured.

    Examples
    --------
    >>> len(telling_kernels(kernel_statistics(torch.randn(16, 3, 7, 7))))
    4
    """
    clear = statistics.orientation * (1 - statistics.colour)
    down = (statistics.angle - 90).abs() < 45
    waves = [(clear * down).argmax(), (clear * ~down).argmax()]
    return [int(i) for i in (*waves, *statistics.colour.topk(2).indices)]


def kernel_responses(convolution: nn.Conv2d, X: Tensor) -> Tensor:
    """Slide the kernels over one picture with stride 1, so that the maps are as large as it is.

    Parameters
    ----------
    convolution : nn.Conv2d
        A first layer; its stride and bias are left out.
    X : Tensor
        A preprocessed picture, shape (3, H, W).

    Returns
    -------
    Tensor
        Shape (K, H, W) for kernels of odd size; zero where the picture does not match.

    Examples
    --------
    >>> kernel_responses(nn.Conv2d(3, 8, kernel_size=7, stride=2), torch.zeros(3, 32, 32)).shape
    torch.Size([8, 32, 32])
    """
    weight = convolution.weight.detach()
    edge = weight.shape[-1] // 2
    framed = F.pad(X[None].to(weight.device), (edge, edge, edge, edge), mode="replicate")
    return F.conv2d(framed, weight)[0].cpu()


def movement(before: nn.Module, after: nn.Module) -> dict[str, float]:
    """Return how far the filters of each convolution moved, as a share of their length.

    The length of a layer's filters is the root of the sum of their squares.

    Raises
    ------
    ValueError
        If a convolution of ``before`` is missing in ``after``, or has another shape there.

    Examples
    --------
    >>> import copy
    >>> before = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    >>> after = copy.deepcopy(before)
    >>> _ = after[2].weight.data.mul_(1.1)
    >>> {name: round(share, 3) for name, share in movement(before, after).items()}
    {'0': 0.0, '2': 0.1}
    """
    others = dict(after.named_modules())
    moved = {}
    for name, module in before.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        other, old = others.get(name), module.weight.detach().cpu()
        if not isinstance(other, nn.Conv2d) or other.weight.shape != old.shape:
            raise ValueError(f"the second model has no convolution {name!r} of shape {old.shape}")
        moved[name] = float((other.weight.detach().cpu() - old).norm() / old.norm())
    return moved


def sample_photographs(size: int) -> Tensor:
    """Return scikit-learn's two photographs, a Chinese temple and a flower, as squares.

    Returns
    -------
    Tensor
        uint8, shape (2, 3, size, size).

    Examples
    --------
    >>> sample_photographs(64).shape
    torch.Size([2, 3, 64, 64])
    """
    pictures = torch.from_numpy(np.stack(load_sample_images().images))
    pixels = pictures.permute(0, 3, 1, 2).float()  # (2, 3, 427, 640)
    left = (pixels.shape[-1] - pixels.shape[-2]) // 2
    square = pixels[..., left : left + pixels.shape[-2]]
    small = F.interpolate(square, size=(size, size), mode="bilinear", antialias=True)
    return small.round().to(torch.uint8)
