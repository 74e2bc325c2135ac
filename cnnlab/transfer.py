"""Transfer learning: a new head, a frozen body, features computed once, weights thrown away."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from cnnlab.data.datasets import ImageData, Split
from cnnlab.evaluation import model_device
from cnnlab.models.backbones import Backbone, Normalize, find_head
from cnnlab.runtime import fast_dtype

__all__ = [
    "Audit",
    "average_weights",
    "extract_features",
    "freeze",
    "freeze_audit",
    "reinitialize",
    "replace_head",
]


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


def reinitialize(
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
    >>> reinitialize(layer).running_mean
    tensor([0., 0.])
    """
    chosen, device = _modules(model, [""] if names is None else names), model_device(model)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for layer in (layer for module in chosen for layer in module.modules()):
            reset = getattr(layer, "reset_parameters", None)
            if reset:
                reset()  # every layer with weights has it: torch's own initialization
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


_Norm = nn.modules.batchnorm._BatchNorm
_RANDOM = (nn.modules.dropout._DropoutNd, StochasticDepth)
_BYTE = 10  # no normalized picture reaches this value, most of 0…255 do


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


def freeze_audit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    batch: Tensor | None = None,
    preprocess: nn.Module | None = None,
    cam_layer: str | None = None,
) -> Audit:
    """Compare what should learn with what will, in the mode that the model is in now.

    Parameters
    ----------
    model : nn.Module
        As ``training_mode`` leaves it, if it is about to be trained. It is not changed.
    optimizer : torch.optim.Optimizer, optional
        Is everything that may learn in it, and nothing else?
    batch : Tensor, optional
        What the model will receive, shape (B, 3, H, W): has it been preprocessed, once?
    preprocess : nn.Module, optional
        What the batch should have gone through; ImageNet's normalization if None.
    cam_layer : str, optional
        The layer whose maps Grad-CAM is to weigh: does a gradient of this batch reach them?

    Raises
    ------
    ValueError
        If ``cam_layer`` is no module of the model, or comes without a batch.

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
    parameters = dict(model.named_parameters())
    groups = optimizer.param_groups if optimizer else []
    held = {id(p) for group in groups for p in group["params"]}
    findings = list(_optimizer_slips(parameters, held)) if optimizer else []
    findings += [*_norm_slips(model), *_dropout_slips(model)]
    if batch is not None:
        findings += _batch_slips(batch, preprocess or Normalize())
    if cam_layer is not None:
        findings += _gradient_slips(model, batch, cam_layer)
    return Audit(
        trainable=sum(p.numel() for p in parameters.values() if p.requires_grad),
        frozen=sum(p.numel() for p in parameters.values() if not p.requires_grad),
        held=sum(p.numel() for p in parameters.values() if id(p) in held),
        moving=sum(b.numel() for m in model.modules() if _moves(m) for b in m.buffers()),
        findings=findings,
    )


def _finding(names: list[str], text: str) -> list[str]:
    """Say something about some modules or parameters, or nothing if there are none."""
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return [f"{shown}: {text}"] if names else []


def _is_frozen(model: nn.Module, name: str) -> bool:
    """Tell whether a module (without weights: the nearest one around it) has none that learn."""
    weights = list(model.get_submodule(name).parameters())
    if not weights and name:
        return _is_frozen(model, name.rpartition(".")[0])
    return not any(weight.requires_grad for weight in weights)


def _moves(module: nn.Module) -> bool:
    return isinstance(module, _Norm) and module.training and module.running_mean is not None


def _optimizer_slips(parameters: dict[str, nn.Parameter], held: set[int]) -> Iterator[str]:
    forgotten = [n for n, p in parameters.items() if p.requires_grad and id(p) not in held]
    idle = [n for n, p in parameters.items() if not p.requires_grad and id(p) in held]
    strangers = held - {id(p) for p in parameters.values()}
    yield from _finding(
        forgotten, "may learn, but not in the optimizer: will never change → add them"
    )
    yield from _finding(
        idle, "frozen but in the optimizer: unfrozen later, they learn at its rate → leave them out"
    )
    yield from _finding(
        [f"{len(strangers)} tensors"] if strangers else [],
        "in the optimizer, not in this model (an old head?) → build it after replace_head",
    )


def _norm_slips(model: nn.Module) -> Iterator[str]:
    drifting = [n for n, m in model.named_modules() if _moves(m) and _is_frozen(model, n)]
    yield from _finding(
        drifting, "frozen BatchNorm in training mode, its statistics move → call training_mode"
    )


def _dropout_slips(model: nn.Module) -> Iterator[str]:
    layers = [(name, m) for name, m in model.named_modules() if isinstance(m, _RANDOM) and m.p]
    noisy = [n for n, m in layers if m.training and (not model.training or _is_frozen(model, n))]
    silent = [
        n for n, m in layers if model.training and not m.training and not _is_frozen(model, n)
    ]
    yield from _finding(
        noisy, "dropout at work where nothing learns, answers are random → eval() or training_mode"
    )
    yield from _finding(
        silent, "dropout is off although the layers around it learn → call training_mode"
    )


def _batch_slips(batch: Tensor, preprocess: nn.Module) -> Iterator[str]:
    black, white = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    low, high = float(preprocess(black).min()), float(preprocess(white).max())
    smallest, largest = batch.min().item(), batch.max().item()
    slack = 0.05 * (high - low)
    if largest > _BYTE or not batch.is_floating_point():
        guess = "raw pixels 0…255"
    elif smallest < low - slack or largest > high + slack:
        guess = "preprocessed twice"
    elif low < 0 <= smallest and largest <= 1:
        guess = "pixels 0…1, never normalized"
    else:
        return
    yield (
        f"input: from {smallest:.1f} to {largest:.1f} instead of {low:.1f} to {high:.1f} "
        f"({guess}) → send pictures through backbone.preprocess, once"
    )


def _gradient_slips(model: nn.Module, batch: Tensor | None, layer: str) -> Iterator[str]:
    if batch is None:
        raise ValueError("cam_layer needs a batch: the gradient is that of a forward pass")
    if layer not in dict(model.named_modules()):
        children = ", ".join(name for name, _ in model.named_children())
        raise ValueError(f"no module is called {layer}; the model has {children}")
    copied, reached = copy.deepcopy(model).eval(), []  # a copy: nothing of the model moves
    copied.get_submodule(layer).register_forward_hook(
        lambda module, inputs, maps: reached.append(maps.requires_grad)
    )
    with torch.enable_grad():
        copied(batch[:1])
    yield from _finding(
        [] if any(reached) else [layer],
        "no gradient reaches its maps, so Grad-CAM cannot weigh them → batch.requires_grad_()",
    )
