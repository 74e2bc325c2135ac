"""An audit before training: what will learn, what will move by itself, and what cannot work."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from cnnlab.backbones import Normalise

__all__ = ["Audit", "freeze_audit"]

_Norm = nn.modules.batchnorm._BatchNorm
_RANDOM = (nn.modules.dropout._DropoutNd, StochasticDepth)
_BYTE = 10  # no normalised picture reaches this value, most of 0…255 do


@dataclass
class Audit:
    """What will really happen when this model is trained with this optimiser.

    Attributes
    ----------
    trainable, frozen : int
        Numbers of parameters with and without gradient.
    held : int
        Numbers that the optimiser can change.
    moving : int
        Numbers in BatchNorm's buffers (means, variances, a counter) that change in every
        forward pass, whatever the optimiser does.
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
            f"held by the optimiser {self.held:,} · moving buffers {self.moving:,}"
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
        What the batch should have gone through; ImageNet's normalisation if None.
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
    trainable 514 · frozen ... · held by the optimiser 514 · moving buffers 0
    >>> print(freeze_audit(model.train(), sgd))
    trainable 514 · frozen ... · held by the optimiser 514 · moving buffers ...
    ! bn1, layer1.0.bn1, layer1.0.bn2 and ... more: frozen BatchNorm in training mode, ...
    """
    parameters = dict(model.named_parameters())
    groups = optimizer.param_groups if optimizer else []
    held = {id(p) for group in groups for p in group["params"]}
    findings = list(_optimiser_slips(parameters, held)) if optimizer else []
    findings += [*_norm_slips(model), *_dropout_slips(model)]
    if batch is not None:
        findings += _batch_slips(batch, preprocess or Normalise())
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


def _optimiser_slips(parameters: dict[str, nn.Parameter], held: set[int]) -> Iterator[str]:
    forgotten = [n for n, p in parameters.items() if p.requires_grad and id(p) not in held]
    idle = [n for n, p in parameters.items() if not p.requires_grad and id(p) in held]
    strangers = held - {id(p) for p in parameters.values()}
    yield from _finding(
        forgotten, "may learn, but not in the optimiser: will never change → add them"
    )
    yield from _finding(
        idle, "frozen but in the optimiser: unfrozen later, they learn at its rate → leave them out"
    )
    yield from _finding(
        [f"{len(strangers)} tensors"] if strangers else [],
        "in the optimiser, not in this model (an old head?) → build it after replace_head",
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
        guess = "pixels 0…1, never normalised"
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
