"""How accuracy grows with the number of pictures, with intervals, and where two curves cross."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch import Tensor

from cnnlab.splits import ImageData, Split, divide
from cnnlab.style import COLOURS, styled

__all__ = ["LearningCurve", "crossings", "draw_few", "learning_curve", "plot_learning_curves"]


@dataclass(frozen=True)
class LearningCurve:
    """Accuracy over the number of training pictures, measured several times.

    Attributes
    ----------
    name : str
        For the legend.
    sizes : list of int
        Training pictures a class, K of them, growing.
    accuracies : Tensor
        Shape (seeds, K).
    """

    name: str
    sizes: list[int]
    accuracies: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean over the seeds, shape (K,)."""
        return self.accuracies.mean(dim=0)

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Return Student's interval for the mean over seeds, two tensors of shape (K,).

        Each seed draws other pictures, to learn from and to measure on; the interval says how far
        that luck may have moved the mean. Source: Student (1908), *Biometrika* 6.

        Examples
        --------
        >>> curve = LearningCurve("x", [5], torch.tensor([[0.7], [0.8], [0.9]]))
        >>> [round(end.item(), 2) for end in curve.interval()]
        [0.55, 1.05]
        """
        from scipy.stats import t

        count = len(self.accuracies)
        half = self.accuracies.std(dim=0) / count**0.5 * t.ppf((1 + level) / 2, count - 1)
        return self.mean - half, self.mean + half

    def minus(self, other: LearningCurve) -> LearningCurve:
        """Return the difference, seed by seed: the same pictures, so their luck cancels."""
        name = f"{self.name} minus {other.name}"
        return LearningCurve(name, self.sizes, self.accuracies - other.accuracies)


def draw_few(data: ImageData, per_class: int, seed: int = 0) -> ImageData:
    """Shuffle training and validation pictures anew and keep only some to learn from.

    Parameters
    ----------
    data : ImageData
        Pictures or features; the same seed draws the same samples of both. Its test set is not
        touched, and the new validation set is as large as the old one.
    per_class : int
        Training pictures to keep of each class.
    seed : int
        Of the draw. A smaller ``per_class`` keeps a part of what a larger one keeps.

    Raises
    ------
    ValueError
        If a class does not have so many.

    Examples
    --------
    >>> import cnnlab
    >>> data = cnnlab.load_ants_and_bees("drawn", image_size=32)
    Data: ... drawn ants and bees.
    >>> few = draw_few(data, 5)
    >>> few.train.labels.bincount().tolist(), len(few.val), len(few.test)
    ([5, 5], 49, 600)
    """
    both = Split(
        torch.cat([data.train.inputs, data.val.inputs]),
        torch.cat([data.train.labels, data.val.labels]),
        data.train.names + data.val.names,
    )
    train, val = divide(both, len(data.val), seed)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    chosen = [order[train.labels[order] == label] for label in range(len(data.classes))]
    rarest = min(map(len, chosen))
    if not 1 <= per_class <= rarest:
        raise ValueError(f"per_class is {per_class}; here it can be 1 to {rarest}")
    kept = torch.cat([indices[:per_class] for indices in chosen]).sort().values
    return dataclasses.replace(data, train=train.subset(kept), val=val)


def learning_curve(
    name: str, measure: Callable[[int, int], float], sizes: Sequence[int], seeds: Sequence[int]
) -> LearningCurve:
    """Measure one strategy with few and with many pictures, once a seed.

    Parameters
    ----------
    name : str
        For the legend.
    measure : callable
        ``measure(per_class, seed)`` draws so many pictures a class (see :func:`draw_few`), trains
        on them and returns an accuracy.
    sizes : sequence of int
        Training pictures a class.
    seeds : sequence of int
        Each draws other pictures.

    Examples
    --------
    >>> learning_curve("share", lambda size, seed: (size + seed) / 100, [5, 10], [0, 2]).mean
    tensor([0.0600, 0.1100])
    """
    rows = [[measure(size, seed) for size in sizes] for seed in seeds]
    return LearningCurve(name, list(sizes), torch.tensor(rows))


def crossings(first: LearningCurve, second: LearningCurve) -> list[tuple[int, int]]:
    """Return the pairs of neighbouring sizes between which the better of two curves changes.

    Examples
    --------
    >>> rising = LearningCurve("a", [5, 20, 80], torch.tensor([[0.5, 0.7, 0.9]]))
    >>> level = LearningCurve("b", [5, 20, 80], torch.tensor([[0.8, 0.8, 0.8]]))
    >>> crossings(rising, level)
    [(20, 80)]
    """
    lead = first.minus(second).mean.tolist()
    apart = [(size, d) for size, d in zip(first.sizes, lead, strict=True) if d]  # ties lead nowhere
    return [(a, b) for (a, x), (b, y) in pairwise(apart) if (x > 0) != (y > 0)]


def plot_learning_curves(
    curves: Sequence[LearningCurve],
    baseline: float | None = None,
    *,
    baseline_name: str = "majority class",
    labels: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw each curve with its intervals, moved apart a little so that all can be seen.

    Parameters
    ----------
    curves : sequence of LearningCurve
        Over the same sizes, which stand at equal distances.
    baseline : float, optional
        Accuracy to compare with, as a dotted line.
    baseline_name : str
        For the legend.
    labels : sequence of str, optional
        Below the axis instead of the sizes.
    ax : Axes, optional
        Where to draw.
    """
    with styled():
        ax = ax if ax is not None else plt.subplots(figsize=(9, 4.4))[1]
        places = torch.arange(len(curves[0].sizes))
        for number, curve in enumerate(curves):
            x = places + 0.05 * (number - (len(curves) - 1) / 2)
            low, high = curve.interval()
            half = (high - low) / 2
            colour = COLOURS[number % len(COLOURS)]
            ax.errorbar(x, curve.mean, half, fmt="o-", color=colour, capsize=4, label=curve.name)
        if baseline is not None:
            ax.axhline(baseline, color="grey", ls=":", label=baseline_name)
        ax.set_xticks(places, labels or [str(size) for size in curves[0].sizes])
        ax.set(xlabel="training pictures a class", ylabel="validation accuracy")
        ax.yaxis.set_major_formatter("{x:.0%}")
        ax.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=5, handlelength=1.2, columnspacing=1
        )
    return ax
