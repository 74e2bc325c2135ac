"""Transfer learning.

`replace_head` puts a new last layer on a network, `freeze` lets only some of it learn,
`extract_features` computes once what a frozen network would compute again and again, and
`freeze_audit` says what will really learn.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from torchvision.ops import StochasticDepth

from cnnlab.data.splits import ImageData, Split
from cnnlab.evaluation import model_device
from cnnlab.models.backbones import Backbone, find_head
from cnnlab.models.layers import find_modules
from cnnlab.training import place_model


def replace_head(model: nn.Module, num_classes: int) -> nn.Module:
    """Put a new, randomly initialized last layer on the model, in place.

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
    model.set_submodule(name, new)
    return model


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
    chosen = find_modules(model, names)
    model.requires_grad_(False)
    for module in chosen:
        module.requires_grad_(True)
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and not norms:
            layer.requires_grad_(False)
    return model


@torch.inference_mode()
def extract_features(
    backbone: Backbone,
    data: ImageData,
    *,
    device: torch.device | str | None = None,
    batch_size: int = 64,
    precision: str = "auto",
) -> ImageData:
    """Send every image through the backbone once and keep what its head would receive.

    A frozen network gives the same features in every epoch, so they are computed once; what is
    left to train is a linear layer on vectors, which takes milliseconds per epoch.

    Parameters
    ----------
    backbone : Backbone
        A pretrained network; it is not changed.
    data : ImageData
        Images.
    device : torch.device or str, optional
        Where to compute; where the model is if None.
    batch_size : int
        Images at a time.
    precision : "auto", "float32" or "bfloat16"
        As in `fit`; see `cnnlab.training.place_model`.

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
    body = copy.deepcopy(backbone.model).eval()
    body.set_submodule(find_head(body)[0], nn.Identity())
    dtype = place_model(body, device, precision)

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
    """What will really happen when this model is trained with this optimizer.

    Attributes
    ----------
    trainable, frozen : int
        Numbers of parameters with and without gradient.
    held : int
        Numbers that the optimizer can change.
    moving : int
        Numbers in BatchNorm's buffers (means, variances, a counter) that change in every
        forward pass, whatever the optimizer does.
    findings : list of str
        What is wrong, where, and after the arrow its cure; empty if all is well.
    """

    trainable: int
    frozen: int
    held: int
    moving: int
    findings: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        numbers = (
            f"trainable {self.trainable:,} · frozen {self.frozen:,} · "
            f"held by the optimizer {self.held:,} · moving buffers {self.moving:,}"
        )
        return "\n".join([numbers, *(f"! {finding}" for finding in self.findings)])


def freeze_audit(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> Audit:
    """Compare what should learn with what will, in the mode that the model is in now.

    Parameters
    ----------
    model : nn.Module
        As ``training_mode`` leaves it, if it is about to be trained. It is not changed.
    optimizer : torch.optim.Optimizer, optional
        Is everything that may learn in it, and nothing else?

    Examples
    --------
    >>> from cnnlab import TinyResNet, freeze, training_mode
    >>> model = freeze(TinyResNet(num_classes=2))
    >>> sgd = torch.optim.SGD(model.fc.parameters(), lr=0.1)
    >>> print(freeze_audit(training_mode(model), sgd))
    trainable 514 · frozen ... · held by the optimizer 514 · moving buffers 0
    >>> print(freeze_audit(model.train(), sgd))
    trainable 514 · frozen ... · held by the optimizer 514 · moving buffers ...
    ! bn1, layer1.0.bn1, layer1.0.bn2 and ... more: frozen BatchNorm in training mode, ...
    """
    parameters = list(model.parameters())
    groups = optimizer.param_groups if optimizer else []
    held = {id(p) for group in groups for p in group["params"]}
    slips = list(_optimizer_slips(model, held)) if optimizer else []
    slips += _mode_slips(model)
    return Audit(
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        frozen=sum(p.numel() for p in parameters if not p.requires_grad),
        held=sum(p.numel() for p in parameters if id(p) in held),
        moving=sum(b.numel() for m in model.modules() if _moves(m) for b in m.buffers()),
        findings=[f"{_listed(where)}: {what}" for where, what in slips if where],
    )


# A slip is where (names of modules or parameters, none if all is well) and what, with its cure.
Slips = Iterator[tuple[list[str], str]]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _optimizer_slips(model: nn.Module, held: set[int]) -> Slips:
    named = list(model.named_parameters())
    yield (
        [name for name, p in named if p.requires_grad and id(p) not in held],
        "may learn, but not in the optimizer: will never change → add them",
    )
    yield (
        [name for name, p in named if not p.requires_grad and id(p) in held],
        "frozen but in the optimizer: unfrozen later, they learn at its rate → leave them out",
    )
    strangers = held - {id(p) for _, p in named}
    yield (
        [f"{len(strangers)} tensors"] if strangers else [],
        "in the optimizer, not in this model (an old head?) → build it after replace_head",
    )


def _mode_slips(model: nn.Module) -> Slips:
    modules = list(model.named_modules())
    yield (
        [name for name, m in modules if _moves(m) and _is_frozen(model, name)],
        "frozen BatchNorm in training mode, its statistics move → call training_mode",
    )
    kinds = (nn.modules.dropout._DropoutNd, StochasticDepth)
    dropouts = [(name, m.training) for name, m in modules if isinstance(m, kinds) and m.p]
    learning = {name: model.training and not _is_frozen(model, name) for name, _ in dropouts}
    yield (
        [name for name, active in dropouts if active and not learning[name]],
        "dropout at work where nothing learns, answers are random → eval() or training_mode",
    )
    yield (
        [name for name, active in dropouts if not active and learning[name]],
        "dropout is off although the layers around it learn → call training_mode",
    )


def _moves(module: nn.Module) -> bool:
    """Tell whether a forward pass changes the module's own statistics."""
    is_norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
    return is_norm and module.training and module.running_mean is not None


def _is_frozen(model: nn.Module, name: str) -> bool:
    """Tell whether a module (without weights: the nearest one around it) has none that learn."""
    weights = list(model.get_submodule(name).parameters())
    if not weights and name:
        return _is_frozen(model, name.rpartition(".")[0])
    return not any(weight.requires_grad for weight in weights)
