"""Where does the network look? Four maps that ask it, and one that only seems to.

Every map function takes ``(model, X, targets=None)``: preprocessed pictures (B, 3, H, W) and the
classes to explain (B,), by default the predicted ones. It returns maps (B, H, W), on the CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.evaluation import model_device
from cnnlab.inspection import recording, stages

__all__ = ["edges", "grad_cam", "occlusion", "saliency", "smooth_grad"]


def saliency(model: nn.Module, X: Tensor, targets: Tensor | None = None) -> Tensor:
    """Return how fast the class score changes with each pixel: the largest of the three colours.

    Source: Simonyan, Vedaldi and Zisserman (2014), *ICLR Workshop*, section 3.

    Examples
    --------
    >>> from cnnlab import TinyResNet
    >>> saliency(TinyResNet().eval(), torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 32, 32])
    """
    X, targets = _prepared(model, X, targets)
    return _gradient(model, X, targets).abs().amax(dim=1).cpu()


def smooth_grad(
    model: nn.Module,
    X: Tensor,
    targets: Tensor | None = None,
    *,
    samples: int = 8,
    noise: float = 0.15,
    seed: int = 0,
) -> Tensor:
    """Average the saliency maps of noisy copies of the picture.

    Source: Smilkov, Thorat, Kim, Viégas and Wattenberg (2017), arXiv:1706.03825.

    Parameters
    ----------
    model, X, targets
        As everywhere here.
    samples : int
        Number of noisy copies.
    noise : float
        Standard deviation of the noise, as a share of the picture's range of values.
    seed : int
        Of the noise.
    """
    X, targets = _prepared(model, X, targets)
    generator = torch.Generator().manual_seed(seed)
    sigma = noise * (X.amax(dim=(1, 2, 3), keepdim=True) - X.amin(dim=(1, 2, 3), keepdim=True))
    total = torch.zeros_like(X[:, 0])  # (B, H, W)
    for _ in range(samples):
        noisy = X + sigma * torch.randn(X.shape, generator=generator).to(X.device)
        total += _gradient(model, noisy, targets).abs().amax(dim=1)
    return (total / samples).cpu()


def grad_cam(
    model: nn.Module, X: Tensor, targets: Tensor | None = None, *, layer: str | None = None
) -> Tensor:
    """Add up the channels of a late layer, each weighted by its mean gradient; keep what is > 0.

    Source: Selvaraju et al. (2017), *ICCV*, equations 1 and 2.

    Parameters
    ----------
    model, X, targets
        As everywhere here.
    layer : str, optional
        A layer with maps (B, C, h, w); the last one of `stages` if None.

    Raises
    ------
    ValueError
        If the layer has no spatial map, or the class score does not depend on it.
    """
    X, targets = _prepared(model, X, targets)
    name = layer or stages(model)[-1]
    with recording(model, [name]) as outputs, torch.enable_grad():
        scores = _scores(model(X.requires_grad_()), targets)
    maps = outputs[name]  # (B, C, h, w)
    if maps.ndim != 4:
        raise ValueError(f"{name} gives {tuple(maps.shape)}; Grad-CAM needs maps (B, C, h, w)")
    (gradients,) = torch.autograd.grad(scores.sum(), maps)
    weights = gradients.mean(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
    cam = F.relu((weights * maps).sum(dim=1, keepdim=True)).detach()  # (B, 1, h, w)
    return F.interpolate(cam, X.shape[-2:], mode="bilinear", align_corners=False)[:, 0].cpu()


@torch.no_grad()
def occlusion(
    model: nn.Module, X: Tensor, targets: Tensor | None = None, *, steps: int = 7
) -> Tensor:
    """Cover a square at a time with the mean colour; the map is the loss of class score.

    Source: Zeiler and Fergus (2014), *ECCV*, section 4.2.

    Parameters
    ----------
    model, X, targets
        As everywhere here.
    steps : int
        Positions along each side. The square is two steps wide, so that neighbours overlap.
    """
    X, targets = _prepared(model, X, targets)
    height, width = X.shape[-2:]
    before = _scores(model(X), targets)
    maps = torch.zeros(len(X), steps, steps)
    for i in range(steps):
        for j in range(steps):
            covered = X.clone()
            top, bottom = (round((i + d) * height / steps) for d in (-0.5, 1.5))
            left, right = (round((j + d) * width / steps) for d in (-0.5, 1.5))
            covered[..., max(top, 0) : bottom, max(left, 0) : right] = 0  # the mean colour
            maps[:, i, j] = (before - _scores(model(covered), targets)).cpu()
    return F.interpolate(maps[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]


def edges(model: nn.Module, X: Tensor, targets: Tensor | None = None) -> Tensor:
    """Return how fast the picture itself changes from pixel to pixel. The model is not asked.

    Looks like an explanation and is none: the control of Adebayo et al. (2018), *NeurIPS*.
    """
    grey = F.pad(X.detach().cpu().mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    right = grey[..., 1:-1, 2:] - grey[..., 1:-1, :-2]
    down = grey[..., 2:, 1:-1] - grey[..., :-2, 1:-1]
    return torch.hypot(right, down)[:, 0]


def _prepared(model: nn.Module, X: Tensor, targets: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return pictures and targets where the model is; the targets are its answers if none given."""
    if X.ndim != 4 or not X.is_floating_point():
        raise ValueError(
            f"pictures must be preprocessed floats (B, 3, H, W), got {X.dtype} {tuple(X.shape)}"
        )
    if model.training:
        raise ValueError("the model is in training mode, where its answers vary: call model.eval()")
    X = X.detach().to(model_device(model))
    if targets is None:
        with torch.no_grad():
            targets = model(X).argmax(dim=1)
    return X, targets.to(X.device)


def _scores(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.gather(1, targets[:, None])[:, 0]  # (B,)


def _gradient(model: nn.Module, X: Tensor, targets: Tensor) -> Tensor:
    """Return the gradient of the class scores with respect to the pictures, (B, 3, H, W)."""
    with torch.enable_grad():
        X = X.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(_scores(model(X), targets).sum(), X)
    return gradient
