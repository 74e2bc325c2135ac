"""Small experiments on architecture: gradients by depth, and a race between families."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.blocks import DenseBlock, Inception, auxiliary_head, conv
from cnnlab.evaluation import Evaluation, evaluate
from cnnlab.models import BasicBlock
from cnnlab.splits import ImageData, Split
from cnnlab.training import fit

__all__ = [
    "FAMILIES", "DeepStack", "Lap", "assemble", "first_steps", "race", "shrink", "standings",
    "width_for",
]  # fmt: skip

Block = Callable[[int, int], nn.Module]


class DeepStack(nn.Module):
    """Twenty layers with weights, plain or with a shortcut around every two.

    Parameters
    ----------
    shortcuts : bool
        Add the input of every two layers to their output.
    normalised : bool
        Batch normalisation after every convolution.
    helped : bool
        Classify half-way too: the model returns a pair of logits while it is trained.
    pairs, channels, num_classes : int
        2 · pairs + 2 layers, all of the same width.

    Examples
    --------
    >>> DeepStack(shortcuts=True)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self, shortcuts: bool, normalised: bool = False, helped: bool = False, pairs: int = 9,
        channels: int = 16, num_classes: int = 10,
    ) -> None:  # fmt: skip
        super().__init__()
        self.shortcuts = shortcuts

        def layer() -> nn.Sequential:
            norm = nn.BatchNorm2d(channels) if normalised else nn.Identity()
            return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), norm)

        self.stem = nn.Conv2d(1, channels, 5, stride=2, padding=2)
        self.pairs = nn.ModuleList(nn.Sequential(layer(), nn.ReLU(), layer()) for _ in range(pairs))
        self.fc = nn.Linear(channels, num_classes)
        self.helper = auxiliary_head(channels, num_classes) if helped else None

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Map images (B, 1, H, W) to logits (B, num_classes)."""
        x, half_way = F.relu(self.stem(x)), None
        for i, pair in enumerate(self.pairs, start=1):
            x = F.relu(x + pair(x) if self.shortcuts else pair(x))
            if self.helper is not None and self.training and i == len(self.pairs) // 2:
                half_way = self.helper(x)
        logits = self.fc(x.mean(dim=(2, 3)))
        return logits if half_way is None else (logits, half_way)


def first_steps(
    model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]], lr: float = 0.05
) -> tuple[list[float], list[float]]:
    """Train for a few steps; return the loss of each, and the first step's gradients by depth.

    Parameters
    ----------
    model : nn.Module
        Maps X (B, C, H, W) to logits, or to two of them: then 0.3 times the loss of the second is
        added, as Szegedy et al. (2015) did.
    batches : sequence of (X, y)
        One step each.
    lr : float
        Learning rate of plain gradient descent with momentum 0.9.

    Returns
    -------
    losses : list of float
    norms : list of float
        Length of the gradient of each layer's weights, from the input to the output.

    Examples
    --------
    >>> batch = (torch.rand(8, 1, 28, 28), torch.arange(8))
    >>> losses, norms = first_steps(DeepStack(shortcuts=True), [batch, batch])
    >>> len(losses), len(norms)
    (2, 20)
    """
    weights = [p for n, p in model.named_parameters() if p.ndim > 1 and "helper" not in n]
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    losses: list[float] = []
    norms: list[float] = []
    model.train()
    for X, y in batches:
        logits, *helpers = (out,) if isinstance(out := model(X), Tensor) else out
        loss = F.cross_entropy(logits, y) + 0.3 * sum(F.cross_entropy(h, y) for h in helpers)
        optimizer.zero_grad()
        loss.backward()
        norms = norms or [float(w.grad.norm()) for w in weights if w.grad is not None]
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, norms


def plain(in_channels: int, out_channels: int) -> nn.Sequential:
    """Two 3×3 convolutions, as in VGG."""
    return nn.Sequential(conv(in_channels, out_channels), conv(out_channels, out_channels))


FAMILIES: dict[str, Block] = {
    "plain (VGG)": plain,
    "branches (Inception)": Inception,
    "shortcuts (ResNet)": BasicBlock,
    "everything kept (DenseNet)": DenseBlock,
}


def assemble(block: Block, width: int, num_classes: int = 10) -> nn.Sequential:
    """Put three blocks between the same stem and the same head; each doubles the channels.

    Parameters
    ----------
    block : callable
        Maps (in_channels, out_channels) to a module that keeps height and width.
    width : int
        Channels after the stem.

    Examples
    --------
    >>> assemble(Inception, 16)(torch.zeros(1, 1, 16, 16)).shape
    torch.Size([1, 10])
    """
    return nn.Sequential(
        conv(1, width, 5, stride=2),  # (B, width, H/2, W/2)
        block(width, 2 * width),
        nn.MaxPool2d(2),
        block(2 * width, 4 * width),
        nn.MaxPool2d(2),
        block(4 * width, 8 * width),  # (B, 8·width, H/8, W/8)
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8 * width, num_classes),
    )


def width_for(block: Block, budget: int) -> int:
    """Return the width that brings :func:`assemble` closest to a number of parameters.

    Examples
    --------
    >>> width_for(plain, 250_000)
    15
    """
    sizes = {}
    for width in range(4, 80):
        with torch.device("meta"), contextlib.suppress(ValueError):  # not every width divides
            sizes[width] = sum(p.numel() for p in assemble(block, width).parameters())
    return min(sizes, key=lambda width: abs(sizes[width] - budget))


def shrink(data: ImageData, side: int) -> ImageData:
    """Return the same pictures (N, C, H, W) scaled down to a side of so many pixels.

    Examples
    --------
    >>> from cnnlab import load_mnist
    >>> shrink(load_mnist("digits", limit=100), side=16).train.inputs.shape
    Data: scikit-learn's 1,797 handwritten digits.
    torch.Size([100, 1, 16, 16])
    """

    def small(split: Split) -> Split:
        inputs = F.interpolate(split.inputs.float(), (side, side), mode="area")
        return Split(inputs.round().to(split.inputs.dtype), split.labels)

    return replace(data, train=small(data.train), val=small(data.val), test=small(data.test))


@dataclass(frozen=True)
class Lap:
    """One training in the race: which family, its size, and how it ended on unseen pictures."""

    family: str
    parameters: int
    seconds: float
    result: Evaluation


def race(
    data: ImageData, *, budget: int, epochs: int, seeds: Sequence[int], lr: float = 4e-3
) -> list[Lap]:
    """Train every family with the same number of parameters on the same pictures.

    Parameters
    ----------
    data : ImageData
        Trained on ``train``, compared on ``val``; ``test`` is not touched.
    budget : int
        Parameters of each network, about.
    epochs : int
        The same for all.
    seeds : sequence of int
        One training each.

    Examples
    --------
    >>> from cnnlab import load_mnist
    >>> data = shrink(load_mnist("digits", limit=100), side=8)
    Data: scikit-learn's 1,797 handwritten digits.
    >>> laps = race(data, budget=5_000, epochs=1, seeds=[0])
    >>> len(laps) == len(FAMILIES)
    True
    """
    laps = []
    for family, block in FAMILIES.items():
        width = width_for(block, budget)
        for seed in seeds:
            torch.manual_seed(seed)
            model = assemble(block, width, len(data.classes))
            loaders = data.loaders(batch_size=64, seed=seed)
            optimizer = torch.optim.AdamW(model.parameters(), lr=lr, fused=True)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
            with contextlib.redirect_stdout(io.StringIO()):  # many trainings: no bar for each
                history = fit(
                    model, loaders.train, epochs=epochs, optimizer=optimizer, scheduler=schedule
                )
            size = sum(p.numel() for p in model.parameters())
            laps.append(Lap(family, size, history.seconds, evaluate(model, loaders.val)))
    return laps


def standings(laps: Sequence[Lap]) -> str:
    """Return a line for each family: its size, mean accuracy and deviation over the seeds.

    Examples
    --------
    >>> result = Evaluation(0.5, torch.tensor([0, 1]), torch.tensor([0, 0]), torch.eye(2))
    >>> print(standings([Lap("plain", 5_000, 1.0, result)] * 2))
    plain                         5,000 parameters: 50.0% ± 0.0%
    """
    lines = []
    for family in dict.fromkeys(lap.family for lap in laps):
        own = [lap for lap in laps if lap.family == family]
        right = np.array([lap.result.accuracy for lap in own])
        spread = right.std(ddof=1) if len(own) > 1 else np.nan
        size = f"{own[0].parameters:>8,} parameters"
        lines.append(f"{family:<27}{size}: {right.mean():.1%} ± {spread:.1%}")
    return "\n".join(lines)
