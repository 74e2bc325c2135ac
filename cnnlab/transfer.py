"""Transfer learning: a new head, a frozen body, features that are computed once, and an audit."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from cnnlab.backbones import Backbone, find_head
from cnnlab.datasets import ImageData, Split
from cnnlab.evaluation import model_device
from cnnlab.runtime import fast_dtype

__all__ = ["Audit", "extract_features", "freeze", "freeze_audit", "replace_head"]


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


def freeze(model: nn.Module, trainable: Sequence[str] | None = None) -> nn.Module:
    """Let only some modules of the model learn, in place.

    Parameters
    ----------
    model : nn.Module
        The network.
    trainable : sequence of str, optional
        Names of the modules that go on learning, such as ``["layer4", "fc"]``; by default the
        head alone, and none for an empty list. BatchNorm layers in the frozen part keep their
        statistics too: see ``training_mode``.

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
    known = dict(model.named_modules())
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"no module is called {', '.join(unknown)}; the model has "
            f"{', '.join(name for name, _ in model.named_children())}"
        )
    model.requires_grad_(False)
    for name in names:
        known[name].requires_grad_(True)
    return model


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


@dataclass
class Audit:
    """What will really happen when this model is trained with this optimiser.

    Attributes
    ----------
    trainable, frozen : int
        Numbers of parameters with and without gradient.
    held : int
        Numbers that the optimiser can change.
    findings : list of str
        What is wrong, each with its cure; empty if all is well.
    """

    trainable: int
    frozen: int
    held: int
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        head = (
            f"trainable {self.trainable:,} · frozen {self.frozen:,} · "
            f"held by the optimiser {self.held:,}"
        )
        return "\n".join([head, *(f"! {text}" for text in self.findings or [])])


def freeze_audit(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Audit:
    """Compare what should learn with what will: gradients, optimiser, BatchNorm, dropout.

    Examples
    --------
    >>> from cnnlab import TinyResNet
    >>> model = freeze(TinyResNet(num_classes=2)).eval()
    >>> print(freeze_audit(model, torch.optim.SGD(model.fc.parameters(), lr=0.1)))
    trainable 514 · frozen 1,230,240 · held by the optimiser 514
    """
    named = dict(model.named_parameters())
    groups = optimizer.param_groups if optimizer else []
    held = {id(p) for group in groups for p in group["params"]}
    audit = Audit(
        trainable=sum(p.numel() for p in named.values() if p.requires_grad),
        frozen=sum(p.numel() for p in named.values() if not p.requires_grad),
        held=sum(p.numel() for p in named.values() if id(p) in held),
    )
    if optimizer:
        forgotten = [n for n, p in named.items() if p.requires_grad and id(p) not in held]
        idle = [n for n, p in named.items() if not p.requires_grad and id(p) in held]
        strangers = held - {id(p) for p in named.values()}
        audit.findings += _finding(forgotten, "not in the optimiser: will never change; add them")
        audit.findings += _finding(idle, "frozen but in the optimiser: leave them out")
        if strangers:
            audit.findings.append(
                f"{len(strangers)} tensors in the optimiser are not in this model (an old head?): "
                "build the optimiser after replace_head"
            )
    drifting = [n for n, m in model.named_modules() if _drifts(m)]
    audit.findings += _finding(
        drifting, "frozen BatchNorm in training mode, its statistics move: call training_mode"
    )
    return audit


def _finding(names: list[str], text: str) -> list[str]:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return [f"{shown}: {text}"] if names else []


def _drifts(module: nn.Module) -> bool:
    weights: list[Tensor] = list(module.parameters(recurse=False))
    is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
    return is_norm and module.training and not any(w.requires_grad for w in weights)
