"""Networks by name, from torchvision, timm and this package."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import nn

__all__ = ["build", "trained"]


def build(name: str) -> nn.Module:
    """Build a network without numbers, in eval mode.

    Parameters
    ----------
    name : str
        "torchvision/…", "timm/…" or "cnnlab/…".

    Examples
    --------
    >>> next(build("torchvision/resnet18").parameters()).device
    device(type='meta')
    """
    library, _, model = name.partition("/")
    with torch.device("meta"):
        if library == "torchvision":
            from torchvision.models import get_model

            slow = {"init_weights": False} if model in ("googlenet", "inception_v3") else {}
            return get_model(model, weights=None, **slow).eval()
        if library == "timm":
            import timm

            return timm.create_model(model, pretrained=False).eval()
        from cnnlab.models import small as models

        return getattr(models, model)().eval()


def trained(name: str) -> Iterator[tuple[str, float]]:
    """List the weights that torchvision has for a model, with their accuracy on ImageNet."""
    library, _, model = name.partition("/")
    if library == "torchvision":
        from torchvision.models import get_model_weights

        for weights in get_model_weights(model):
            accuracy = weights.meta["_metrics"].get("ImageNet-1K", {}).get("acc@1", math.nan)
            if not math.isnan(accuracy):  # features alone classify nothing
                yield weights.name, accuracy
