"""Lesson 08, sections 4 and 6: images made for a channel, and maps of where a network looks.

`maximize_activation` makes images. `occlusion`, `saliency`, `smooth_grad` and `grad_cam` make
maps: each takes ``(model, X, targets=None)``, with preprocessed images (B, 3, H, W) and the
classes to explain (B,), by default the predicted ones, and returns maps (B, H, W) on the CPU.
`shuffle_weights` and `rank_correlation` test whether a map depends on what was learned;
`plot_explanations` and `plot_correlations` draw the results.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.evaluation import model_device
from cnnlab.lessons.filters import colorize, stages
from cnnlab.models.layers import record_outputs
from cnnlab.plotting import COLORS, show_images, styled

__all__ = [
    "grad_cam",
    "maximize_activation",
    "occlusion",
    "overlay",
    "plot_correlations",
    "plot_explanations",
    "rank_correlation",
    "saliency",
    "shuffle_weights",
    "smooth_grad",
]


def maximize_activation(
    model: nn.Module,
    layer: str,
    channels: Sequence[int],
    *,
    preprocess: nn.Module | None = None,
    size: int = 64,
    steps: int = 64,
    lr: float = 0.05,
    jitter: int = 4,
    fourier: bool = True,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Make one image per channel that excites it, by gradient ascent from noise.

    Two aids make the images readable (Olah, Mordvintsev and Schubert 2017, *Distill*). ``jitter``
    shifts the image a little before each step, so that it must work wherever it lies.
    ``fourier`` changes waves instead of pixels, each in proportion to its length, so that
    steps go to coarse structure first.

    Parameters
    ----------
    model : nn.Module
        The network; its weights are not changed.
    layer : str
        Name of a layer that returns maps (B, C, h, w).
    channels : sequence of int
        One image each.
    preprocess : nn.Module, optional
        From pixels in [0, 1] to the model's input.
    size : int
        Side of the images in pixels.
    steps : int
        Steps of Adam.
    lr : float
        Step size.
    jitter : int
        Largest shift in pixels; 0 for none.
    fourier : bool
        Whether to change waves instead of pixels.
    seed : int
        Of the first noise and the shifts.

    Returns
    -------
    images : Tensor
        Shape (len(channels), 3, size, size), in [0, 1].
    activations : Tensor
        Mean activation of each channel on its image, shape (len(channels),).

    Examples
    --------
    >>> from cnnlab import TinyResNet
    >>> images, reached = maximize_activation(TinyResNet(), "layer1", [0, 5], size=32, steps=2)
    >>> images.shape, reached.shape
    (torch.Size([2, 3, 32, 32]), torch.Size([2]))
    """
    device, generator = model_device(model), torch.Generator().manual_seed(seed)
    shape = (
        (len(channels), 3, size, size // 2 + 1, 2) if fourier else (len(channels), 3, size, size)
    )
    point = (0.1 * torch.randn(shape, generator=generator)).to(device).requires_grad_()
    optimizer = torch.optim.Adam([point], lr=lr)

    def pixels() -> Tensor:
        if not fourier:
            return torch.sigmoid(point)
        waves = torch.view_as_complex(point) * _wavelengths(size).to(device)
        return torch.sigmoid(torch.fft.irfft2(waves, s=(size, size), norm="ortho"))

    def mean_activations(X: Tensor) -> Tensor:
        with record_outputs(model, [layer]) as outputs:
            model(preprocess(X) if preprocess else X)
        means = outputs[layer][-1].mean(dim=(2, 3))  # (len(channels), C)
        return means[range(len(channels)), channels]

    for _ in range(steps):
        down, right = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist()
        loss = -mean_activations(pixels().roll((down, right), dims=(2, 3))).sum()
        (point.grad,) = torch.autograd.grad(loss, point)  # the weights get no gradients
        optimizer.step()
    with torch.no_grad():
        X = pixels()
        return X.cpu(), mean_activations(X).cpu()


def _wavelengths(size: int) -> Tensor:
    """Return the length of each wave of rfft2, relative to their root mean square."""
    down, right = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]
    lengths = 1 / torch.hypot(down, right).clamp(min=1 / size)  # (size, size // 2 + 1)
    return lengths / lengths.square().mean().sqrt()


# ------------------------------------------------------------------------- where does it look?


@torch.no_grad()
def occlusion(
    model: nn.Module, X: Tensor, targets: Tensor | int | None = None, *, steps: int = 7
) -> Tensor:
    """Cover one square at a time with the mean color; the map is the loss of class score.

    Source: Zeiler and Fergus (2014), *ECCV*, section 4.2.

    Parameters
    ----------
    model, X, targets
        As everywhere here.
    steps : int
        Positions along each side. The square is two steps wide, so that neighbors overlap.
    """
    X, targets = _check_input(model, X, targets)
    height, width = X.shape[-2:]
    before = _scores(model, X, targets)
    maps = torch.zeros(len(X), 1, steps, steps)
    for i in range(steps):
        for j in range(steps):
            top, bottom = (max(0, edge * height // (2 * steps)) for edge in (2 * i - 1, 2 * i + 3))
            left, right = (max(0, edge * width // (2 * steps)) for edge in (2 * j - 1, 2 * j + 3))
            covered = X.clone()
            covered[..., top:bottom, left:right] = 0  # the mean color
            maps[:, 0, i, j] = (before - _scores(model, covered, targets)).cpu()
    return F.interpolate(maps, (height, width), mode="bilinear", align_corners=False)[:, 0]


def saliency(model: nn.Module, X: Tensor, targets: Tensor | int | None = None) -> Tensor:
    """Return how fast the class score changes with each pixel: the largest of the three colors.

    Source: Simonyan, Vedaldi and Zisserman (2014), *ICLR Workshop*, section 3.

    Examples
    --------
    >>> from cnnlab import TinyResNet
    >>> saliency(TinyResNet().eval(), torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 32, 32])
    """
    X, targets = _check_input(model, X, targets)
    with torch.inference_mode(False), torch.enable_grad():
        score = _scores(model, X.requires_grad_(), targets).sum()
        (gradient,) = torch.autograd.grad(score, X)  # (B, 3, H, W)
    return gradient.abs().amax(dim=1).cpu()


def smooth_grad(
    model: nn.Module,
    X: Tensor,
    targets: Tensor | int | None = None,
    *,
    samples: int = 8,
    noise: float = 0.15,
    seed: int = 0,
) -> Tensor:
    """Average the saliency maps of noisy copies of the image.

    Source: Smilkov, Thorat, Kim, Viégas and Wattenberg (2017), arXiv:1706.03825.

    Parameters
    ----------
    model, X, targets
        As everywhere here.
    samples : int
        Number of noisy copies.
    noise : float
        Standard deviation of the noise, as a share of the image's range of values.
    seed : int
        Of the noise.
    """
    X, targets = _check_input(model, X, targets)
    generator = torch.Generator().manual_seed(seed)
    sigma = noise * (X.amax(dim=(1, 2, 3), keepdim=True) - X.amin(dim=(1, 2, 3), keepdim=True))
    maps = []
    for _ in range(samples):
        disturbance = torch.randn(X.shape, generator=generator).to(X.device)
        maps.append(saliency(model, X + sigma * disturbance, targets))
    return torch.stack(maps).mean(dim=0)


def grad_cam(
    model: nn.Module, X: Tensor, targets: Tensor | int | None = None, *, layer: str | None = None
) -> Tensor:
    """Add up the maps of a late layer, each weighted by its mean gradient; keep what is positive.

    Source: Selvaraju et al. (2017), *ICCV*, equations 1 and 2.

    Parameters
    ----------
    model, X, targets
        As everywhere here.
    layer : str, optional
        A layer with maps (B, C, h, w); the last of `stages` by default.

    Raises
    ------
    ValueError
        If the layer returns no maps.

    Examples
    --------
    >>> from cnnlab import TinyResNet
    >>> grad_cam(TinyResNet().eval(), torch.rand(2, 3, 64, 64)).shape
    torch.Size([2, 64, 64])
    """
    X, targets = _check_input(model, X, targets)
    layer = layer or stages(model, X)[-1]
    with torch.inference_mode(False), torch.enable_grad():
        with record_outputs(model, [layer]) as outputs:
            scores = _scores(model, X.requires_grad_(), targets)
        if not outputs[layer] or outputs[layer][-1].ndim != 4:
            known = ", ".join(stages(model, X))
            raise ValueError(f"{layer} returns no maps, which Grad-CAM needs; try one of {known}")
        maps = outputs[layer][-1]  # (B, C, h, w)
        (gradients,) = torch.autograd.grad(scores.sum(), maps)
    weights = gradients.mean(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
    cam = F.relu((weights * maps.detach()).sum(dim=1, keepdim=True))  # (B, 1, h, w)
    return F.interpolate(cam, X.shape[-2:], mode="bilinear", align_corners=False)[:, 0].cpu()


def _check_input(
    model: nn.Module, X: Tensor, targets: Tensor | int | None
) -> tuple[Tensor, Tensor]:
    """Return copies of images and targets where the model is; by default its predictions."""
    if X.ndim != 4 or not X.is_floating_point():
        raise ValueError(
            f"images must be preprocessed floats (B, 3, H, W), got {X.dtype} {tuple(X.shape)}"
        )
    if model.training:
        raise ValueError("the model is in training mode, where its scores vary: call model.eval()")
    with torch.inference_mode(False), torch.no_grad():  # copies, from which gradients can start
        X = X.detach().clone().to(model_device(model))
        classes = model(X).argmax(dim=1) if targets is None else torch.as_tensor(targets).clone()
        return X, classes.to(X.device).expand(len(X))


def _scores(model: nn.Module, X: Tensor, targets: Tensor) -> Tensor:
    return model(X).gather(1, targets[:, None])[:, 0]  # (B,)


# ------------------------------------------------------------- does the map depend on learning?


def shuffle_weights(model: nn.Module, share: float, seed: int = 0) -> nn.Module:
    """Return a copy whose last layers hold their own numbers in random order: nothing learned.

    Source of the test: Adebayo et al. (2018), *NeurIPS*, who draw new random weights.

    Parameters
    ----------
    model : nn.Module
        The network.
    share : float
        Of the layers that have weights, counted from the last one: 0 for none, 1 for all.
    seed : int
        Of the order.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(9, 9), nn.ReLU(), nn.Linear(9, 9))
    >>> half = shuffle_weights(model, 0.5)
    >>> [torch.equal(model[i].weight, half[i].weight) for i in (0, 2)]
    [True, False]
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = copy.deepcopy(model)
    layers = [m for m in shuffled.modules() if list(m.parameters(recurse=False))]
    for layer in layers[len(layers) - math.ceil(share * len(layers)) :]:
        for parameter in layer.parameters(recurse=False):
            order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
            parameter.data = parameter.data.flatten()[order].view_as(parameter)
    return shuffled


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Spearman's rank correlation of each pair of maps (B, H, W), as (B,).

    1 if both order the pixels in the same way, about 0 if the orders have nothing in common.
    A map that is the same everywhere has no order, which counts as 0.

    Examples
    --------
    >>> ramp = torch.arange(16.0).view(1, 4, 4)
    >>> rank_correlation(ramp, ramp**2).item(), rank_correlation(ramp, -ramp).item()
    (1.0, -1.0)
    """
    correlations = []
    for a, b in zip(first.flatten(1), second.flatten(1), strict=True):
        constant = bool((a == a[0]).all() or (b == b[0]).all())
        correlations.append(0.0 if constant else float(spearmanr(a, b).statistic))
    return torch.tensor(correlations)


@styled()
def plot_correlations(
    table: Mapping[str, Sequence[float]], steps: Sequence[str], ax: Axes | None = None
) -> Axes:
    """Draw the correlation of each map with itself while layer after layer loses its weights.

    Parameters
    ----------
    table : mapping
        Method -> rank correlation with the original map at each step.
    steps : sequence of str
        What was shuffled, from left to right.
    ax : Axes, optional
        Where to draw.
    """
    ax = ax or plt.subplots(figsize=(9, 3.8))[1]
    for (name, values), color, marker in zip(table.items(), COLORS, "os^Dv*P", strict=False):
        ax.plot(steps, values, marker + "-", color=color, ms=8, label=name)
    ax.axhline(0, color="gray", lw=1)
    ax.set(xlabel="layers whose weights were shuffled", ylabel="rank correlation")
    ax.set_ylim(top=1.05)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


# ----------------------------------------------------------------------------- maps over images


def overlay(images: Tensor, maps: Tensor) -> Tensor:
    """Lay maps over images: dark where a map is low, bright where it is high.

    Parameters
    ----------
    images : Tensor
        uint8, shape (B, 3, H, W).
    maps : Tensor
        Shape (B, H, W); each is scaled to its own range.

    Returns
    -------
    Tensor
        Floats in [0, 1], shape (B, 3, H, W).

    Examples
    --------
    >>> overlay(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.rand(2, 8, 8)).shape
    torch.Size([2, 3, 8, 8])
    """
    gray = images.float().mean(dim=1, keepdim=True) / 255
    return 0.35 * gray + 0.65 * colorize(maps, "inferno")


def plot_explanations(
    images: Tensor, maps: Mapping[str, Tensor], names: Sequence[str], title: str = ""
) -> Axes:
    """Draw images and their maps: one row per image, one column per method.

    Parameters
    ----------
    images : Tensor
        uint8, shape (B, 3, H, W).
    maps : mapping
        Method -> maps (B, H, W).
    names : sequence of str
        Below each image.
    title : str
        Above the figure.
    """
    columns = [images / 255, *(overlay(images, each) for each in maps.values())]
    tiles = torch.stack(columns, dim=1).flatten(0, 1)  # (B · columns, 3, H, W)
    titles = [text for name in names for text in (name, *maps)]
    return show_images(tiles, titles, columns=len(columns), title=title)
