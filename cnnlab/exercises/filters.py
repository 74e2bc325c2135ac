"""Exercises of lesson 08: the angle of a kernel, and Grad-CAM by hand."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnlab.exercises.engine import Cases, Mistakes, exercise

__all__ = ["grad_cam_map", "wave_angle"]


def waves(generator: torch.Generator) -> Cases:
    """Yield square kernels with one wave each, brightened, so that their mean is not zero.

    The frequency of stripes one pixel wide is −½: their angle is negative until it is taken % 180.
    """
    for side, down, right in [(4, 1, 0), (4, 2, 0), (8, 1, 1), (8, 2, -1), (15, -1, 3), (16, 3, 2)]:
        steps = torch.arange(side) / side
        phase = 2 * torch.pi * (down * steps[:, None] + right * steps[None])
        yield (torch.cos(phase + 0.3) + 0.1 * side,)


def mistaken_angles(kernel: Tensor) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    frequency = torch.fft.fftfreq(len(kernel))

    def strongest(x: Tensor) -> tuple[int, int]:
        return divmod(int(torch.fft.fft2(x).abs().argmax()), len(kernel))

    def degrees(down: Tensor | int, right: Tensor | int) -> float:
        return float(torch.rad2deg(torch.atan2(torch.as_tensor(down), torch.as_tensor(right))))

    row, column = strongest(kernel - kernel.mean())
    constant = [frequency[i] for i in strongest(kernel)]
    angle = degrees(frequency[row], frequency[column])
    return {
        "this runs along the stripes; the wave runs across them": (angle + 90) % 180,
        "rows and columns are swapped: atan2 wants down, then right": (90 - angle) % 180,
        "rows are counted downwards, so down is positive": -angle % 180,
        "these are radians: give degrees": angle % 180 * torch.pi / 180,
        "a wave has no front: bring the angle into 0 ≤ angle < 180 by % 180": angle,
        "half a turn too far: bring the angle into 0 ≤ angle < 180": angle % 180 + 180,
        "row and column are places, not frequencies: ask fftfreq": degrees(row, column) % 180,
        "you found the constant part: subtract the mean first": degrees(*constant),
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
    frequency = torch.fft.fftfreq(k)
    return (torch.rad2deg(torch.atan2(frequency[row], frequency[column])) % 180).item()


def maps_and_gradients(generator: torch.Generator) -> Cases:
    """Yield (maps, gradients), each (C, h, w), the smallest first."""
    yield torch.tensor([[[1.0, 2.0]], [[3.0, 0.0]]]), torch.tensor([[[3.0, 1.0]], [[-1.0, -3.0]]])
    for shape in [(4, 3, 2), (6, 4, 5)]:
        maps = torch.randn(shape, generator=generator).relu()
        yield maps, torch.randn(shape, generator=generator)


def mistaken_cams(maps: Tensor, gradients: Tensor) -> Mistakes:
    """Return diagnosis -> the wrong answer that earns it."""
    weights = gradients.mean(dim=(1, 2), keepdim=True)  # (C, 1, 1)
    total = (weights * maps).sum(dim=0)
    return {
        "the ReLU is missing: what speaks against the class counts as zero": total,
        "average the gradient first: one weight per channel": (gradients * maps).sum(dim=0).relu(),
        "average over the positions: a weight per channel": (
            (gradients.mean(dim=0) * maps).sum(dim=0).relu()
        ),
        "sum over the channels, and a map is left": (weights * maps).sum(dim=(1, 2)).relu(),
        "the ReLU comes last, after the channels are added up": (weights * maps).relu().sum(dim=0),
        "a negative weight stays negative: no abs()": (weights.abs() * maps).sum(dim=0),
        "the weight is the mean of the gradients, not their sum": total.relu() * maps[0].numel(),
        "add the channels up, do not average them": (weights * maps).mean(dim=0).relu(),
        "no map is weighted here: multiply the maps by the weights": maps.sum(dim=0).relu(),
    }


@exercise(
    cases=maps_and_gradients,
    mistakes=mistaken_cams,
    hints=[
        "One weight per channel: gradients.mean over the last two dimensions, shape (C, 1, 1).",
        "keepdim=True keeps the two dimensions, so that weights * maps broadcasts.",
        "Sum over the channels, dim=0; then cut off what is negative.",
    ],
    takeaway="enlarged to the image, this is what Selvaraju et al. published in 2017",
)
def grad_cam_map(maps: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Return the Grad-CAM map (h, w) of maps (C, h, w) and the score's gradients (C, h, w)."""
    weights = gradients.mean(dim=(1, 2), keepdim=True)  # (C, 1, 1)
    return (weights * maps).sum(dim=0).relu()  # (h, w)
