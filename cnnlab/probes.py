"""What a network knows already: its own classes, a linear layer on its features, stage by stage."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.backbones import Backbone
from cnnlab.evaluation import Evaluation, model_device
from cnnlab.splits import ImageData, Split, to_float

__all__ = ["linear_probe", "stage_features", "zero_shot"]


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
        C of scikit-learn on standardised features: the smaller, the more cautious.

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
    with torch.no_grad():  # the standardisation goes into the layer
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
