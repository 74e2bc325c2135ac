"""Exercises of lesson 08: the angle of a kernel, and Grad-CAM by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnlab.exercises.engine import Cases, Mistakes, exercise

__all__ = ["grad_cam_map", "wave_angle"]


def waves(generator: torch.Generator) -> Cases:
    """Yield square kernels with one wave each, brightened, so that their mean is not zero."""
    for side, down, right in [(4, 1, 0), (8, 1, 1), (8, 2, -1), (16, -1, 3), (16, 3, 2)]:
        steps = torch.arange(side, dtype=torch.float64) / side
        phase = 2 * torch.pi * (down * steps[:, None] + right * steps[None])
        yield (torch.cos(phase + 0.3) + 0.1 * side,)


def mistaken_angles(kernel: Tensor) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""

    def strongest(energy: Tensor) -> tuple[int, int]:
        return divmod(int(energy.argmax()), len(kernel))

    def degrees(down: Tensor | float, right: Tensor | float) -> float:
        return float(torch.rad2deg(torch.atan2(torch.as_tensor(down), torch.as_tensor(right))))

    spectrum = torch.fft.fft2(kernel - kernel.mean()).abs()
    frequency = torch.fft.fftfreq(len(kernel), dtype=torch.float64)
    row, column = strongest(spectrum)
    angle = degrees(frequency[row], frequency[column])
    constant = strongest(torch.fft.fft2(kernel).abs())
    return {
        "this runs along the stripes; the wave runs across them": (angle + 90) % 180,
        "rows and columns are swapped: the rows run down, so they come first in atan2": (
            (90 - angle) % 180
        ),
        "rows are counted downwards, so down is positive": -angle % 180,
        "these are radians: give degrees": angle % 180 * torch.pi / 180,
        "a wave has no front: bring the angle into 0 ≤ angle < 180": angle % 180 - 180,
        "row and column are places in the spectrum, not frequencies: ask fftfreq": (
            degrees(float(row), float(column)) % 180
        ),
        "you found the constant part: subtract the mean first": degrees(
            *(frequency[i] for i in constant)
        ),
    }


@exercise(
    cases=waves,
    mistakes=mistaken_angles,
    hints=[
        "torch.fft.fft2 of the kernel without its mean; its abs() says how strong each wave is.",
        "argmax counts through the rows: divmod(int(…argmax()), k) gives row and column.",
        "torch.fft.fftfreq(k) turns a row or a column into a frequency with its sign.",
        "torch.rad2deg(torch.atan2(frequency of the row, frequency of the column)) % 180",
    ],
    takeaway="a kernel answers most to edges that run across its wave",
)
def wave_angle(kernel: torch.Tensor) -> float:
    """Return the direction of the strongest wave in a kernel (k, k): 0 is right, 90 is down."""
    k = len(kernel)
    energy = torch.fft.fft2(kernel - kernel.mean()).abs()
    row, column = divmod(int(energy.argmax()), k)
    frequency = torch.fft.fftfreq(k, dtype=torch.float64)
    return (torch.rad2deg(torch.atan2(frequency[row], frequency[column])) % 180).item()


def maps_and_gradients(generator: torch.Generator) -> Cases:
    """Yield (maps, gradients), each (C, h, w), the smallest first."""
    yield torch.tensor([[[1.0, 2.0]], [[3.0, 0.0]]]), torch.tensor([[[3.0, 1.0]], [[-1.0, -3.0]]])
    for shape in [(4, 3, 3), (6, 4, 5)]:
        maps = torch.randn(shape, generator=generator, dtype=torch.float64).relu()
        yield maps, torch.randn(shape, generator=generator, dtype=torch.float64)


def mistaken_cams(maps: Tensor, gradients: Tensor) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    weights = gradients.mean(dim=(1, 2), keepdim=True)  # (C, 1, 1)
    total = (weights * maps).sum(dim=0)
    return {
        "the ReLU is missing: what speaks against the class counts as zero": total,
        "average each channel's gradient over its positions first: one weight a channel": (
            (gradients * maps).sum(dim=0).relu()
        ),
        "you averaged over the channels: each channel needs a weight of its own": (
            (gradients.mean(dim=0) * maps).sum(dim=0).relu()
        ),
        "you summed over the positions: sum over the channels, and a map is left": (
            (weights * maps).sum(dim=(1, 2)).relu()
        ),
        "the ReLU comes last, after the channels are added up": (weights * maps).relu().sum(dim=0),
        "a negative gradient must stay negative: no absolute value": (
            (weights.abs() * maps).sum(dim=0)
        ),
        "the weight is the mean of the gradients, not their sum": total.relu() * maps[0].numel(),
        "this weights no channel: multiply the maps by the gradients": maps.sum(dim=0).relu(),
    }


@exercise(
    cases=maps_and_gradients,
    mistakes=mistaken_cams,
    hints=[
        "One weight a channel: gradients.mean over the last two dimensions, shape (C, 1, 1).",
        "keepdim=True keeps the two dimensions, so that weights * maps broadcasts.",
        "Sum over the channels, dim=0; then cut off what is negative.",
    ],
    takeaway="enlarged to the picture, this is what Selvaraju et al. published in 2017",
)
def grad_cam_map(maps: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Return the Grad-CAM map (h, w) of maps (C, h, w) and the score's gradients (C, h, w)."""
    weights = gradients.mean(dim=(1, 2), keepdim=True)  # (C, 1, 1)
    return (weights * maps).sum(dim=0).relu()  # (h, w)
