"""Where does the network look? Four maps that ask it, and one that only seems to.

Every map function takes ``(model, X, targets=None)``: preprocessed pictures (B, 3, H, W) and the
classes to explain (B,), by default the predicted ones. It returns maps (B, H, W), on the CPU.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.evaluation import model_device
from cnnlab.lessons.filters import recording, stages

__all__ = [
    "edges",
    "grad_cam",
    "high_frequency_share",
    "maximize_activation",
    "occlusion",
    "pointing_game",
    "rank_correlation",
    "saliency",
    "sanity_check",
    "shuffle_weights",
    "smooth_grad",
]


def saliency(model: nn.Module, X: Tensor, targets: Tensor | None = None) -> Tensor:
    """Return how fast the class score changes with each pixel: the largest of the three colors.

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
    """Cover a square at a time with the mean color; the map is the loss of class score.

    Source: Zeiler and Fergus (2014), *ECCV*, section 4.2.

    Parameters
    ----------
    model, X, targets
        As everywhere here.
    steps : int
        Positions along each side. The square is two steps wide, so that neighbors overlap.
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
            covered[..., max(top, 0) : bottom, max(left, 0) : right] = 0  # the mean color
            maps[:, i, j] = (before - _scores(model(covered), targets)).cpu()
    return F.interpolate(maps[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]


def edges(model: nn.Module, X: Tensor, targets: Tensor | None = None) -> Tensor:
    """Return how fast the picture itself changes from pixel to pixel. The model is not asked.

    Looks like an explanation and is none: the control of Adebayo et al. (2018), *NeurIPS*.
    """
    gray = F.pad(X.detach().cpu().mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    right = gray[..., 1:-1, 2:] - gray[..., 1:-1, :-2]
    down = gray[..., 2:, 1:-1] - gray[..., :-2, 1:-1]
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
    """Climb from noise to pictures that excite one channel each, all at once.

    Two aids make them readable (Olah, Mordvintsev and Schubert 2017, *Distill*). ``jitter``
    shifts the picture a little before each step, so that it must work wherever it lies.
    ``fourier`` changes waves instead of pixels, each in proportion to its length, so that
    steps go to coarse structure first.

    Parameters
    ----------
    model : nn.Module
        The network; its weights are not changed.
    layer : str
        Name of a layer that gives maps (B, C, h, w).
    channels : sequence of int
        One picture each.
    preprocess : nn.Module, optional
        From pixels in [0, 1] to the model's input.
    size : int
        Side of the pictures.
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
    pictures : Tensor
        Shape (len(channels), 3, size, size), in [0, 1].
    activations : Tensor
        Mean activation of each channel on its picture, shape (len(channels),).

    Examples
    --------
    >>> from cnnlab import TinyResNet
    >>> pictures, reached = maximize_activation(TinyResNet(), "layer1", [0, 5], size=32, steps=2)
    >>> pictures.shape, reached.shape
    (torch.Size([2, 3, 32, 32]), torch.Size([2]))
    """
    device, generator = model_device(model), torch.Generator().manual_seed(seed)
    preprocess = preprocess or nn.Identity()
    shape = (
        (len(channels), 3, size, size // 2 + 1, 2) if fourier else (len(channels), 3, size, size)
    )
    point = (0.1 * torch.randn(shape, generator=generator)).to(device).requires_grad_()
    wavelengths = _wavelengths(size).to(device)
    optimizer = torch.optim.Adam([point], lr=lr)

    def pixels() -> Tensor:
        if not fourier:
            return torch.sigmoid(point)
        waves = torch.view_as_complex(point) * wavelengths
        return torch.sigmoid(torch.fft.irfft2(waves, s=(size, size), norm="ortho"))

    def reached(X: Tensor) -> Tensor:
        with recording(model, [layer]) as outputs:
            model(preprocess(X))
        maps = outputs[layer]  # (len(channels), C, h, w)
        return torch.stack([maps[i, channel].mean() for i, channel in enumerate(channels)])

    for _ in range(steps):
        down, right = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist()
        loss = -reached(pixels().roll((down, right), dims=(2, 3))).sum()
        (point.grad,) = torch.autograd.grad(loss, point)  # leaves the weights' gradients alone
        optimizer.step()
    with torch.no_grad():
        X = pixels()
        return X.cpu(), reached(X).cpu()


def _wavelengths(size: int) -> Tensor:
    """Return the length of each wave of rfft2, relative to their root mean square."""
    down, right = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]
    lengths = 1 / torch.hypot(down, right).clamp(min=1 / size)  # (size, size // 2 + 1)
    return lengths / lengths.square().mean().sqrt()


def high_frequency_share(pictures: Tensor) -> Tensor:
    """Return the share of each picture's energy in waves of four pixels or less, as (B,).

    Examples
    --------
    >>> chequers = torch.ones(1, 3, 8, 8)
    >>> chequers[..., ::2, ::2] = chequers[..., 1::2, 1::2] = 0
    >>> high_frequency_share(chequers).item()
    1.0
    """
    size = pictures.shape[-1]
    waves = pictures - pictures.mean(dim=(2, 3), keepdim=True)
    energy = torch.fft.fft2(waves).abs().square().sum(dim=1)  # (B, H, W)
    steps = torch.fft.fftfreq(size)
    high = torch.hypot(steps[:, None], steps[None]) >= 0.25
    return (energy * high).sum(dim=(1, 2)) / energy.sum(dim=(1, 2))


Method = Callable[[nn.Module, Tensor, Tensor], Tensor]


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

    1 if both put the pixels into the same order, about 0 if the orders have nothing in common.
    A map that is the same everywhere orders nothing, which counts as 0.

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


def sanity_check(
    methods: Mapping[str, Method], model: nn.Module, X: Tensor, shares: Sequence[float]
) -> dict[str, list[float]]:
    """Compare the maps of a model with the maps of the same model after shuffling its weights.

    Parameters
    ----------
    methods : mapping
        Name -> function of (model, X, targets) that returns maps, such as ``grad_cam``.
    model : nn.Module
        In eval mode.
    X : Tensor
        Preprocessed pictures, shape (B, 3, H, W).
    shares : sequence of float
        Of the layers, counted from the last one; see `shuffle_weights`.

    Returns
    -------
    dict
        Name -> mean rank correlation for each share.

    Examples
    --------
    >>> from cnnlab.lessons.explanations import edges
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval()
    >>> sanity_check({"edges": edges}, model, torch.rand(2, 3, 4, 4), [0, 1])
    {'edges': [1.0, 1.0]}
    """
    with torch.no_grad():
        targets = model(X.to(next(model.parameters()).device)).argmax(dim=1)
    original = {name: method(model, X, targets) for name, method in methods.items()}
    table: dict[str, list[float]] = {name: [] for name in methods}
    for share in shares:
        shuffled = shuffle_weights(model, share)
        for name, method in methods.items():
            alike = rank_correlation(original[name], method(shuffled, X, targets))
            table[name].append(alike.mean().item())
    return table


def pointing_game(maps: Tensor, masks: Tensor, tolerance: int = 0) -> Tensor:
    """Return whether the highest point of each map lies on the object, as bool (B,).

    Source: Zhang, Bargal, Lin, Brandt, Shen and Sclaroff (2018), *IJCV* 126.

    Parameters
    ----------
    maps : Tensor
        Shape (B, H, W).
    masks : Tensor
        Bool (B, H, W), true on the object.
    tolerance : int
        A miss by so many pixels still counts.

    Examples
    --------
    >>> mask = torch.zeros(1, 5, 5, dtype=torch.bool)
    >>> mask[0, 2, 2] = True
    >>> pointing_game(mask.float(), mask).tolist(), pointing_game(1 - mask.float(), mask).tolist()
    ([True], [False])
    """
    if maps.shape != masks.shape:
        raise ValueError(f"maps are {tuple(maps.shape)}, but masks are {tuple(masks.shape)}")
    reach = F.max_pool2d(masks[:, None].float(), 2 * tolerance + 1, 1, tolerance)[:, 0]
    highest = maps.flatten(1).argmax(dim=1, keepdim=True)
    return reach.flatten(1).gather(1, highest)[:, 0] > 0
