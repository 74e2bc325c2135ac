"""How accuracy grows with the number of pictures, with intervals, and where two curves cross."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.data.datasets import ImageData
from cnnlab.data.splits import Split, divide, to_float
from cnnlab.evaluation import Evaluation, evaluate, model_device
from cnnlab.models.backbones import Backbone, find_head
from cnnlab.plotting import COLORS, styled
from cnnlab.runtime import fast_dtype
from cnnlab.training import train_epoch
from cnnlab.transfer import replace_head

__all__ = [
    "LearningCurve",
    "crossings",
    "draw_few",
    "fine_tune",
    "learning_curve",
    "linear_probe",
    "plot_learning_curves",
    "probe_accuracy",
    "stage_curve",
    "stage_features",
    "with_head",
    "zero_shot",
]


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
    """Return the pairs of neighboring sizes between which the better of two curves changes.

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
            color = COLORS[number % len(COLORS)]
            ax.errorbar(x, curve.mean, half, fmt="o-", color=color, capsize=4, label=curve.name)
        if baseline is not None:
            ax.axhline(baseline, color="gray", ls=":", label=baseline_name)
        ax.set_xticks(places, labels or [str(size) for size in curves[0].sizes])
        ax.set(xlabel="training pictures a class", ylabel="validation accuracy")
        ax.yaxis.set_major_formatter("{x:.0%}")
        ax.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=5, handlelength=1.2, columnspacing=1
        )
    return ax


@torch.inference_mode()
def zero_shot(
    backbone: Backbone, split: Split, stands_for: Mapping[str, Sequence[str]], batch_size: int = 64
) -> Evaluation:
    """Classify without a single training picture, by the classes that the network was born with.

    A new class gets the mean probability of the old classes that stand for it; the largest wins.

    Parameters
    ----------
    backbone : Backbone
        A network with its own last layer.
    split : Split
        Pictures (N, 3, H, W), uint8, with ``classes``.
    stands_for : mapping
        New class -> names among ``backbone.categories``; names it does not have are passed over.
    batch_size : int
        Pictures at a time.

    Raises
    ------
    ValueError
        If the network has none of the names of a class.

    Examples
    --------
    >>> import cnnlab
    >>> split = Split(torch.rand(2, 3, 32, 32), torch.tensor([0, 1]), classes=["ants", "bees"])
    >>> names = {"ants": ["ant", "cockroach"], "bees": ["bee"]}
    >>> zero_shot(cnnlab.load_backbone("tiny_resnet"), split, names).probabilities.shape
    Backbone: tiny_resnet...
    torch.Size([2, 2])
    """
    number = {name: i for i, name in enumerate(backbone.categories)}
    columns = [[number[n] for n in stands_for[c] if n in number] for c in split.classes]
    for name, found in zip(split.classes, columns, strict=True):
        if not found:
            raise ValueError(f"the network has no class that stands for {name!r}; see .categories")
    device = model_device(backbone.model)
    logits = [
        backbone.model(backbone.preprocess(X.to(device))).float().cpu()
        for X in split.inputs.split(batch_size)
    ]
    probabilities = torch.cat(logits).softmax(1)  # (N, old classes)
    means = torch.stack([probabilities[:, c].mean(1) for c in columns], dim=1)  # (N, K)
    scores = means.clamp(min=1e-12).log()
    loss = F.cross_entropy(scores, split.labels).item()
    return Evaluation(loss, split.labels, scores.argmax(1), scores.softmax(1), split.classes)


def linear_probe(features: Split, strength: float = 0.01) -> nn.Linear:
    """Fit a last layer on features: logistic regression, which has one best answer.

    Parameters
    ----------
    features : Split
        Vectors (N, F) with labels, such as ``extract_features(...).train``.
    strength : float
        C of scikit-learn on standardized features: the smaller, the more cautious.

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
    if num_classes == 2:  # scikit-learn gives one score, whose sign decides
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    head = nn.Linear(X.shape[1], num_classes)
    with torch.no_grad():  # the standardization goes into the layer
        head.weight.copy_(weight / std)
        head.bias.copy_(bias - weight @ (mean / std))
    return head


@torch.inference_mode()
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
        Pictures (N, 1 or 3, H, W); one channel is repeated into three.
    layers : sequence of str
        Names of modules whose outputs are maps (B, channels, h, w).
    image_size : int, optional
        Side in pixels to which the pictures are scaled first.
    batch_size : int
        Pictures at a time.

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
    model, device = copy.deepcopy(backbone.model).eval(), model_device(backbone.model)
    means: dict[str, list[Tensor]] = {name: [] for name in layers}
    for name in layers:
        model.get_submodule(name).register_forward_hook(
            lambda module, inputs, maps, name=name: means[name].append(maps.mean((2, 3)).cpu())
        )
    splits = data.splits().values()
    for images in (images for split in splits for images in split.inputs.split(batch_size)):
        X = to_float(images.to(device)).expand(-1, 3, -1, -1)
        X = X if image_size is None else F.interpolate(X, size=(image_size, image_size))
        model(backbone.preprocess(X))

    def features_of(name: str) -> ImageData:
        inputs = torch.cat(means[name]).split([len(split) for split in splits])  # (N, channels)
        train, val, test = (
            dataclasses.replace(split, inputs=own, masks=None)
            for split, own in zip(splits, inputs, strict=True)
        )
        return ImageData(train, val, test, data.classes, f"{name} of {data.source}")

    return {name: features_of(name) for name in layers}


def with_head(backbone: Backbone, head: nn.Linear) -> nn.Module:
    """Return a copy of the network that ends in a copy of this head, in eval mode.

    Examples
    --------
    >>> import cnnlab
    >>> model = with_head(cnnlab.load_backbone("tiny_resnet"), nn.Linear(256, 3))
    Backbone: tiny_resnet...
    >>> model.fc
    Linear(in_features=256, out_features=3, bias=True)
    """
    model = replace_head(copy.deepcopy(backbone.model), head.out_features)
    find_head(model)[1].load_state_dict(head.state_dict())
    return model.eval()


def fine_tune(
    model: nn.Module,
    data: ImageData,
    preprocess: nn.Module,
    *,
    lr: float,
    head_lr: float,
    epochs: int,
    batch_size: int = 16,
    seed: int = 0,
) -> nn.Module:
    """Train what is not frozen: the last layer at one learning rate, all below it at another.

    Parameters
    ----------
    model : nn.Module
        Where to start from; it is changed.
    data : ImageData
        Pictures; only the training ones are used.
    preprocess : nn.Module
        That of the backbone.
    lr, head_lr : float
        Learning rates of AdamW below the head, and for the head.
    epochs, batch_size, seed : int
        How long, how many pictures a step, and the order of the pictures.

    Returns
    -------
    nn.Module
        The same model, with its last weights.

    Raises
    ------
    ValueError
        If the loss becomes not a number.

    Examples
    --------
    >>> import cnnlab
    >>> data = draw_few(cnnlab.load_ants_and_bees("drawn", image_size=16), 5)
    Data: ... drawn ants and bees.
    >>> net = cnnlab.TinyResNet(num_classes=2)
    >>> net = fine_tune(net, data, Normalize(), lr=0.001, head_lr=0.001, epochs=1)
    """
    name, head = find_head(model)
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    body = [p for n, p in named if not n.startswith(f"{name}.")]
    optimizer = torch.optim.AdamW(
        [{"params": body, "lr": lr}, {"params": head.parameters(), "lr": head_lr}],
        weight_decay=0.05,
        fused=True,
    )
    batches = data.loaders(batch_size, transform=preprocess, seed=seed).train
    model.to(memory_format=torch.channels_last)
    for epoch in range(epochs):
        loss, _ = train_epoch(model, batches, optimizer, dtype=fast_dtype(model_device(model)))
        if not math.isfinite(loss):
            raise ValueError(f"the loss of epoch {epoch + 1} is {loss}; try a smaller lr than {lr}")
    return model.to(memory_format=torch.contiguous_format)


def probe_accuracy(features: ImageData, per_class: int, seed: int = 0) -> float:
    """Return the validation accuracy of a linear probe on a few samples of each class.

    Examples
    --------
    >>> from cnnlab.data.splits import Split
    >>> numbers = Split(torch.arange(-20.0, 20)[:, None], (torch.arange(40) > 19).long())
    >>> features = ImageData(numbers, numbers, numbers, ["below 0", "0 or more"], "numbers")
    >>> probe_accuracy(features, per_class=10) > 0.8
    True
    """
    few = draw_few(features, per_class, seed)
    return evaluate(linear_probe(few.train), few.loaders().val).accuracy


def stage_curve(
    name: str,
    backbone: Backbone,
    data: ImageData,
    layers: Sequence[str],
    *,
    per_class: int,
    seeds: Sequence[int],
    image_size: int | None = None,
) -> LearningCurve:
    """Probe layer after layer; the places of the layers stand for the sizes of the curve.

    A cheap version of Yosinski et al. (2014), *How transferable are features in deep neural
    networks?*, *NIPS*, who trained the layers above anew.

    Parameters
    ----------
    name : str
        For the legend.
    backbone, data, layers, image_size
        As for ``stage_features``.
    per_class : int
        Training samples of each class.
    seeds : sequence of int
        Each draws other samples.
    """
    stages = stage_features(backbone, data, layers, image_size=image_size)

    def accuracy(place: int, seed: int) -> float:
        return probe_accuracy(stages[layers[place]], per_class, seed)

    return learning_curve(name, accuracy, range(len(layers)), seeds)
