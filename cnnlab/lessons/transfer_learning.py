"""Lesson 05: what frozen features are worth, and how accuracy grows with the number of images.

`linear_probe` fits a last layer to features, `stage_features` computes the features of every
stage. `draw_few` draws a small training set; accuracies over several draws become a
`LearningCurve` with intervals, and `plot_learning_curves` compares some of them. `reinitialize`
makes a network forget what it has learned.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from scipy.stats import t as student
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.data.splits import ImageData, Split, divide, to_float
from cnnlab.evaluation import model_device
from cnnlab.models.backbones import Backbone
from cnnlab.models.layers import record_outputs
from cnnlab.plotting import COLORS, styled

__all__ = [
    "LearningCurve",
    "draw_few",
    "linear_probe",
    "plot_learning_curves",
    "reinitialize",
    "stage_features",
]


def linear_probe(features: Split, strength: float = 0.01) -> nn.Linear:
    """Fit a last layer to features by logistic regression, which has one best solution.

    Parameters
    ----------
    features : Split
        Vectors (N, F) with labels, such as ``extract_features(...).train``.
    strength : float
        C of scikit-learn on standardized features: the smaller, the stronger the penalty on
        large weights.

    Returns
    -------
    nn.Linear
        From F features to logits; it fits where the network's own last layer was.

    Raises
    ------
    ValueError
        If a class has no sample.

    Examples
    --------
    >>> points = Split(torch.tensor([[0.0, 5], [1, 5], [4, 6], [5, 4]]), torch.tensor([0, 0, 1, 1]))
    >>> linear_probe(points)(torch.tensor([[0.5, 5], [4.5, 5]])).argmax(dim=1)
    tensor([0, 1])
    """
    X, y = features.inputs.double(), features.labels
    num_classes = len(features.classes) or int(y.max()) + 1
    if len(y.unique()) < num_classes:
        raise ValueError(f"{num_classes} classes, but samples of {len(y.unique())} only")
    mean, std = X.mean(dim=0), X.std(dim=0).clamp(min=1e-8)
    model = LogisticRegression(C=strength, max_iter=1000).fit(((X - mean) / std).numpy(), y.numpy())
    weight, bias = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
    if num_classes == 2:  # scikit-learn returns one score, whose sign decides
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    head = nn.Linear(X.shape[1], num_classes)
    with torch.no_grad():  # the standardization becomes a part of the layer
        head.weight.copy_(weight / std)
        head.bias.copy_(bias - weight @ (mean / std))
    return head


@torch.no_grad()
def stage_features(
    backbone: Backbone,
    data: ImageData,
    layers: Sequence[str],
    *,
    image_size: int | None = None,
    batch_size: int = 64,
) -> dict[str, ImageData]:
    """Average the feature maps of several layers over their positions, in one pass.

    Parameters
    ----------
    backbone : Backbone
        A network; it is not changed.
    data : ImageData
        Images (N, 1 or 3, H, W); one channel is repeated into three.
    layers : sequence of str
        Names of modules whose outputs are maps (B, channels, h, w).
    image_size : int, optional
        Side in pixels to which the images are scaled first.
    batch_size : int
        Images at a time.

    Returns
    -------
    dict
        Layer -> the data with ``inputs`` (N, channels).

    Examples
    --------
    >>> import cnnlab
    >>> split = Split(torch.zeros(2, 1, 32, 32, dtype=torch.uint8), torch.tensor([0, 1]))
    >>> data = ImageData(split, split, split, ["black", "also black"], "nothing")
    >>> stages = stage_features(cnnlab.load_backbone("tiny_resnet"), data, ["layer1", "layer4"])
    Backbone: tiny_resnet...
    >>> [features.val.inputs.shape[1] for features in stages.values()]
    [32, 256]
    """
    model = backbone.model

    def features_of(split: Split) -> dict[str, Split]:
        with record_outputs(model, layers, keep=lambda maps: maps.mean(dim=(2, 3)).cpu()) as means:
            for images in split.inputs.split(batch_size):
                X = to_float(images.to(model_device(model))).expand(-1, 3, -1, -1)
                X = X if image_size is None else F.interpolate(X, size=(image_size, image_size))
                model(backbone.preprocess(X))
        vectors = {name: torch.cat(batches) for name, batches in means.items()}  # (N, channels)
        return {n: dataclasses.replace(split, inputs=v, masks=None) for n, v in vectors.items()}

    train, val, test = (features_of(split) for split in data.splits().values())
    return {
        name: ImageData(
            train[name], val[name], test[name], data.classes, f"{name} of {data.source}"
        )
        for name in layers
    }


def draw_few(data: ImageData, per_class: int, seed: int = 0) -> ImageData:
    """Shuffle training and validation samples anew and keep only some to learn from.

    Parameters
    ----------
    data : ImageData
        Images or features; the same seed draws the same samples of both. Its test set is not
        touched, and the new validation set is as large as the old one.
    per_class : int
        Training samples to keep of each class.
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
    of_each_class = [order[train.labels[order] == label] for label in range(len(data.classes))]
    smallest = min(len(indices) for indices in of_each_class)
    if not 1 <= per_class <= smallest:
        raise ValueError(f"per_class is {per_class}; here it can be 1 to {smallest}")
    kept = torch.cat([indices[:per_class] for indices in of_each_class]).sort().values
    return dataclasses.replace(data, train=train.subset(kept), val=val)


@dataclass(frozen=True)
class LearningCurve:
    """Accuracy measured at several places, such as sizes of the training set, once per seed.

    Attributes
    ----------
    name : str
        For the legend.
    places : sequence of int or str
        K of them: numbers of training images, or names of layers.
    accuracies : Tensor
        Shape (seeds, K).
    """

    name: str
    places: Sequence[int | str]
    accuracies: Tensor

    @property
    def mean(self) -> Tensor:
        """Mean over the seeds, shape (K,)."""
        return self.accuracies.mean(dim=0)

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """Return Student's interval for the mean over seeds, two tensors of shape (K,).

        Each seed draws other images, to learn from and to measure on; the interval says how far
        that luck may have moved the mean. Source: Student (1908), *Biometrika* 6.

        Examples
        --------
        >>> curve = LearningCurve("x", [5], torch.tensor([[0.7], [0.8], [0.9]]))
        >>> [round(end.item(), 2) for end in curve.interval()]
        [0.55, 1.05]
        """
        count = len(self.accuracies)
        quantile = student.ppf((1 + level) / 2, count - 1)
        half = quantile * self.accuracies.std(dim=0) / count**0.5
        return self.mean - half, self.mean + half

    def minus(self, other: LearningCurve) -> LearningCurve:
        """Return the difference, seed by seed: the same images, so their luck cancels."""
        name = f"{self.name} minus {other.name}"
        return LearningCurve(name, self.places, self.accuracies - other.accuracies)


def plot_learning_curves(
    curves: Sequence[LearningCurve],
    baseline: float | None = None,
    *,
    baseline_name: str = "majority class",
    ax: Axes | None = None,
) -> Axes:
    """Draw each curve with its intervals, shifted a little so that none hides another.

    Parameters
    ----------
    curves : sequence of LearningCurve
        Over the same places, which stand at equal distances.
    baseline : float, optional
        Accuracy to compare with, as a dotted line.
    baseline_name : str
        For the legend.
    ax : Axes, optional
        Where to draw.
    """
    with styled():
        ax = ax if ax is not None else plt.subplots(figsize=(9, 4.4))[1]
        ticks = torch.arange(len(curves[0].places))
        for number, curve in enumerate(curves):
            x = ticks + 0.05 * (number - (len(curves) - 1) / 2)
            low, high = curve.interval()
            color = COLORS[number % len(COLORS)]
            half = (high - low) / 2
            ax.errorbar(x, curve.mean, half, fmt="o-", color=color, capsize=4, label=curve.name)
        if baseline is not None:
            ax.axhline(baseline, color="gray", ls=":", label=baseline_name)
        ax.set_xticks(ticks, [str(place) for place in curves[0].places])
        ax.set(xlabel="training images per class", ylabel="validation accuracy")
        ax.yaxis.set_major_formatter("{x:.0%}")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=5, handlelength=1.2)
    return ax


def reinitialize(model: nn.Module, *, seed: int = 0) -> nn.Module:
    """Throw away what a network has learned: new random weights, in place.

    The seed is that of the new weights; the global random numbers stay as they are.

    Examples
    --------
    >>> layer = nn.BatchNorm2d(2)
    >>> layer.running_mean += 1
    >>> reinitialize(layer).running_mean
    tensor([0., 0.])
    """
    device = model_device(model)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for layer in model.modules():
            reset = getattr(layer, "reset_parameters", None)  # every layer with weights has it
            if reset:
                reset()
    return model
