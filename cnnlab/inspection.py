"""Looking into a network: its first convolution, its stages, and what they put out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cnnlab.evaluation import model_device

__all__ = ["activations", "first_convolution", "rank_channels", "recording", "stages"]

_AFTERMATH = (nn.modules.batchnorm._BatchNorm, nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish)


def first_convolution(model: nn.Module) -> tuple[str, nn.Conv2d]:
    """Return name and module of the first convolution, the only one that sees the picture itself.

    Raises
    ------
    ValueError
        If the model has no convolution.

    Examples
    --------
    >>> from cnnlab import TinyResNet
    >>> first_convolution(TinyResNet())[0]
    'conv1'
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            return name, module
    raise ValueError(f"{type(model).__name__} has no convolution, so no kernels to look at")


def stages(model: nn.Module) -> list[str]:
    """Return the layers worth looking at: where each block of convolutions ends, in order.

    A lone convolution is followed to its normalisation and activation. So the same code finds
    the stages of a residual network and the ReLUs of AlexNet.

    Examples
    --------
    >>> from cnnlab import TinyResNet
    >>> stages(TinyResNet())
    ['relu', 'layer1', 'layer2', 'layer3', 'layer4']
    """
    name, _ = first_convolution(model)
    prefix, parent = "", model
    while len(blocks := _with_convolutions(parent)) == 1 and list(blocks[0][1].children()):
        prefix, parent = f"{prefix}{blocks[0][0]}.", blocks[0][1]  # AlexNet keeps all in features
    found: list[str] = []
    convolving = {name for name, _ in blocks}
    follows = False
    for name, child in parent.named_children():
        if name in convolving:
            found.append(prefix + name)
            follows = isinstance(child, nn.Conv2d)
        elif follows and isinstance(child, _AFTERMATH):
            found[-1] = prefix + name
        else:
            follows = False
    return found


def _with_convolutions(module: nn.Module) -> list[tuple[str, nn.Module]]:
    children = module.named_children()
    return [(n, c) for n, c in children if any(isinstance(m, nn.Conv2d) for m in c.modules())]


@contextmanager
def recording(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Keep what the named layers put out while the block runs, in eval mode.

    Yields
    ------
    dict
        Layer -> output of its last call, still attached to the graph.

    Raises
    ------
    ValueError
        If the model has no layer of that name.

    Examples
    --------
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    >>> with recording(model, ["0"]) as outputs:
    ...     logits = model(torch.zeros(1, 1, 8, 8))
    >>> outputs["0"].shape
    torch.Size([1, 4, 6, 6])
    """
    modules = dict(model.named_modules())
    unknown = [name for name in layers if name not in modules]
    if unknown:
        raise ValueError(f"no layer is called {', '.join(unknown)}; try one of {stages(model)}")
    outputs: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> Tensor:
        outputs[name] = output
        return output.clone()  # the network goes on with a copy: a ReLU in place changes only that

    hooks = [
        modules[name].register_forward_hook(lambda _m, _x, output, name=name: keep(name, output))
        for name in layers
    ]
    was_training = model.training
    model.eval()
    try:
        yield outputs
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def activations(model: nn.Module, layers: Sequence[str], X: Tensor) -> dict[str, Tensor]:
    """Return the outputs of some layers for a batch.

    Parameters
    ----------
    model : nn.Module
        The network.
    layers : sequence of str
        Names as in ``model.named_modules()``; see `stages`.
    X : Tensor
        Preprocessed pictures, shape (B, 3, H, W).

    Returns
    -------
    dict
        Layer -> Tensor of shape (B, channels, height, width), on the CPU.

    Examples
    --------
    >>> from cnnlab import TinyResNet
    >>> maps = activations(TinyResNet(), ["layer1", "layer4"], torch.zeros(2, 3, 64, 64))
    >>> {name: tuple(map.shape) for name, map in maps.items()}
    {'layer1': (2, 32, 32, 32), 'layer4': (2, 256, 4, 4)}
    """
    with recording(model, layers) as outputs:
        model(X.to(model_device(model)))
    return {name: outputs[name].cpu() for name in layers}


def rank_channels(maps: Tensor) -> Tensor:
    """Return the channels of (C, H, W) or (B, C, H, W), the strongest mean activation first.

    Examples
    --------
    >>> rank_channels(torch.tensor([1.0, 3.0, 2.0])[:, None, None].expand(3, 4, 4)).tolist()
    [1, 2, 0]
    """
    means = maps.mean(dim=(-2, -1))  # (B, C) or (C,)
    return (means.mean(dim=0) if means.ndim == 2 else means).argsort(descending=True, stable=True)
