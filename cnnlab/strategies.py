"""The strategies of transfer learning as short functions, and how accurate a probe gets."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import nn

from cnnlab.backbones import Backbone, find_head
from cnnlab.datasets import ImageData
from cnnlab.evaluation import evaluate, model_device
from cnnlab.learning_curves import LearningCurve, draw_few, learning_curve
from cnnlab.probes import linear_probe, stage_features
from cnnlab.runtime import fast_dtype
from cnnlab.training import train_epoch
from cnnlab.transfer import replace_head

__all__ = ["fine_tune", "probe_accuracy", "stage_curve", "with_head"]


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
    >>> data = cnnlab.draw_few(cnnlab.load_ants_and_bees("drawn", image_size=16), 5)
    Data: ... drawn ants and bees.
    >>> net = cnnlab.TinyResNet(num_classes=2)
    >>> net = fine_tune(net, data, cnnlab.backbones.Normalise(), lr=0.001, head_lr=0.001, epochs=1)
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
    >>> from cnnlab import Split
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
