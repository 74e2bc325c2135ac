"""Transfer learning: a new head, a frozen body, features computed once, weights thrown away."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import torch
from torch import nn

from cnnlab.backbones import Backbone, find_head
from cnnlab.datasets import ImageData, Split
from cnnlab.evaluation import model_device
from cnnlab.runtime import fast_dtype

__all__ = ["average_weights", "extract_features", "freeze", "reinitialise", "replace_head"]


def replace_head(model: nn.Module, num_classes: int) -> nn.Module:
    """Put a new, randomly initialised last layer on the model, in place.

    Parameters
    ----------
    model : nn.Module
        Any network whose last linear layer (or 1×1 convolution) gives the logits.
    num_classes : int
        Number of new logits, at least 1.

    Returns
    -------
    nn.Module
        The same model.

    Examples
    --------
    >>> from cnnlab import TinyResNet
    >>> replace_head(TinyResNet(num_classes=200), 2).fc
    Linear(in_features=256, out_features=2, bias=True)
    """
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; a head needs at least one output")
    name, head = find_head(model)
    device = next(head.parameters()).device
    if isinstance(head, nn.Linear):
        new: nn.Module = nn.Linear(head.in_features, num_classes, device=device)
    else:
        new = nn.Conv2d(head.in_channels, num_classes, kernel_size=1, device=device)
    _set_module(model, name, new)
    return model


def _set_module(model: nn.Module, name: str, new: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, new)


def freeze(
    model: nn.Module, trainable: Sequence[str] | None = None, *, norms: bool = True
) -> nn.Module:
    """Let only some modules of the model learn, in place.

    Parameters
    ----------
    model : nn.Module
        The network.
    trainable : sequence of str, optional
        Names of the modules that go on learning, such as ``["layer4", "fc"]``; by default the
        head alone, and none for an empty list. BatchNorm layers in the frozen part must keep
        their statistics too: ``training_mode`` sees to it, and so do ``fit`` and ``train_epoch``.
    norms : bool
        Whether the BatchNorm layers of these modules learn as well. False keeps their weights
        and their statistics, which a few small batches would only spoil.

    Raises
    ------
    ValueError
        If a name belongs to no module.

    Examples
    --------
    >>> from cnnlab import TinyResNet
    >>> model = freeze(TinyResNet(num_classes=2))
    >>> [name for name, p in model.named_parameters() if p.requires_grad]
    ['fc.weight', 'fc.bias']
    """
    names = [find_head(model)[0]] if trainable is None else list(trainable)
    chosen = _modules(model, names)
    model.requires_grad_(False)
    for module in chosen:
        module.requires_grad_(True)
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and not norms:
            layer.requires_grad_(False)
    return model


def reinitialise(
    model: nn.Module, names: Sequence[str] | None = None, *, seed: int = 0
) -> nn.Module:
    """Throw away what some modules have learned: new random weights, in place.

    Parameters
    ----------
    model : nn.Module
        The network.
    names : sequence of str, optional
        Modules that start again, such as ``["layer4", "fc"]``; by default all of them.
    seed : int
        Of the new weights; the global random numbers stay as they are.

    Raises
    ------
    ValueError
        If a name belongs to no module.

    Examples
    --------
    >>> layer = nn.BatchNorm2d(2)
    >>> layer.running_mean += 1
    >>> reinitialise(layer).running_mean
    tensor([0., 0.])
    """
    chosen, device = _modules(model, [""] if names is None else names), model_device(model)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for layer in (layer for module in chosen for layer in module.modules()):
            reset = getattr(layer, "reset_parameters", None)
            if reset:
                reset()  # every layer with weights has it: torch's own initialisation
    return model


def average_weights(before: nn.Module, after: nn.Module, share: float = 0.5) -> nn.Module:
    """Return a network whose weights lie between those before and after fine-tuning.

    A few pictures pull the weights too far; half-way back is often better than either end.
    Source: Wortsman et al. (2022), *CVPR*.

    Parameters
    ----------
    before, after : nn.Module
        The same architecture; neither is changed.
    share : float
        Of ``after``, from 0 to 1.

    Examples
    --------
    >>> before, after = nn.Linear(1, 1), nn.Linear(1, 1)
    >>> middle = average_weights(before, after)
    >>> torch.allclose(middle.weight, (before.weight + after.weight) / 2)
    True
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share}; it must lie between 0 and 1")
    start, middle = before.state_dict(), copy.deepcopy(after)
    mixed = {
        name: torch.lerp(start[name], value, share) if value.is_floating_point() else value
        for name, value in after.state_dict().items()
    }
    middle.load_state_dict(mixed)
    return middle


def _modules(model: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    known = dict(model.named_modules())
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"no module is called {', '.join(unknown)}; the model has "
            f"{', '.join(name for name, _ in model.named_children())}"
        )
    return [known[name] for name in names]


@torch.inference_mode()
def extract_features(
    backbone: Backbone,
    data: ImageData,
    *,
    device: torch.device | str | None = None,
    batch_size: int = 64,
    fast: bool = True,
) -> ImageData:
    """Send every picture through the backbone once and keep what its head would receive.

    A frozen network gives the same features in every epoch, so they are computed once; what is
    left to train is a linear layer on vectors, which takes milliseconds an epoch.

    Parameters
    ----------
    backbone : Backbone
        A pretrained network; it is not changed.
    data : ImageData
        Pictures.
    device : torch.device or str, optional
        Where to compute; where the model is if None.
    batch_size : int
        Pictures at a time.
    fast : bool
        bfloat16 and channels-last memory where the hardware gains from them.

    Returns
    -------
    ImageData
        The same splits with ``inputs`` of shape (N, num_features), float32.

    Examples
    --------
    >>> import cnnlab
    >>> data = cnnlab.load_ants_and_bees("drawn", image_size=32)
    Data: ... drawn ants and bees.
    >>> features = extract_features(cnnlab.load_backbone("tiny_resnet"), data)
    Backbone: tiny_resnet...
    >>> features.test.inputs.shape[1]
    256
    """
    device = torch.device(device or model_device(backbone.model))
    body = copy.deepcopy(backbone.model).to(device).eval()
    _set_module(body, find_head(body)[0], nn.Identity())
    dtype = fast_dtype(device) if fast else None
    if fast:
        body.to(memory_format=torch.channels_last)

    def features_of(split: Split) -> Split:
        batches = []
        for images in split.inputs.split(batch_size):
            X = backbone.preprocess(images.to(device))  # (B, 3, H, W)
            with torch.autocast(device.type, dtype, enabled=dtype is not None):
                batches.append(body(X).float().flatten(1).cpu())  # (B, num_features)
        return dataclasses.replace(split, inputs=torch.cat(batches), masks=None)

    train, val, test = (features_of(split) for split in data.splits().values())
    source = f"features of {data.source}"
    return dataclasses.replace(data, train=train, val=val, test=test, source=source)
