"""Looking into a network: its first convolution, its stages, and what they put out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor, nn
from torch.nn import functional as F

from cnnlab.evaluation import model_device
from cnnlab.fields import Field
from cnnlab.models.backbones import find_head

__all__ = [
    "KernelStatistics",
    "Peaks",
    "activations",
    "coherence",
    "cut_patches",
    "features_of",
    "find_peaks",
    "first_convolution",
    "kernel_responses",
    "kernel_statistics",
    "movement",
    "neighbor_agreement",
    "rank_channels",
    "recording",
    "sample_photographs",
    "stages",
    "telling_kernels",
    "top_patches",
]

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

    A lone convolution is followed to its normalization and activation. So the same code finds
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


_SPECTRUM = 32  # side of the spectrum of a kernel, which is padded with zeros to this size


class KernelStatistics(NamedTuple):
    """What can be measured in kernels (K, C, k, k); each field has shape (K,).

    Attributes
    ----------
    color : share of the energy that is not gray, from 0 to 1
    orientation : share of the spectral energy within 22.5° of the strongest wave, from 0 to 1
    angle : direction in which the strongest wave runs, 0 ≤ angle < 180 degrees, 90 is down
    frequency : of the strongest wave, in cycles a pixel, from 0 to 0.71
    """

    color: Tensor
    orientation: Tensor
    angle: Tensor
    frequency: Tensor


def kernel_statistics(weight: Tensor) -> KernelStatistics:
    """Measure color, orientation and frequency of the kernels of a first layer.

    Energy is the sum of squares; by Parseval's theorem it is the same in the spectrum. The mean
    of each color channel is taken out before the spectrum: it has no direction.

    Parameters
    ----------
    weight : Tensor
        Shape (K, 3, k, k).

    Examples
    --------
    >>> stripes = torch.cos(torch.arange(8) * torch.pi / 2).expand(1, 3, 8, 8)  # four pixels a wave
    >>> [round(value.item(), 2) for value in kernel_statistics(stripes)]
    [0.0, 0.87, 0.0, 0.25]
    """
    kernels = weight.detach().cpu().double()
    gray = kernels.mean(dim=1, keepdim=True).expand_as(kernels)
    color = 1 - gray.square().sum(dim=(1, 2, 3)) / kernels.square().sum(dim=(1, 2, 3))
    waves = kernels - kernels.mean(dim=(2, 3), keepdim=True)
    spectrum = torch.fft.fft2(waves, s=(_SPECTRUM, _SPECTRUM))
    energy = spectrum.abs().square().sum(dim=1).flatten(1)  # (K, 32·32)
    steps = torch.fft.fftfreq(_SPECTRUM, dtype=torch.float64)
    fy, fx = (f.flatten() for f in torch.meshgrid(steps, steps, indexing="ij"))
    angles = torch.rad2deg(torch.atan2(fy, fx)) % 180  # f and -f are the same wave
    strongest = energy.argmax(dim=1)
    apart = (angles - angles[strongest, None]).abs()  # (K, 32·32)
    near = torch.minimum(apart, 180 - apart) <= 22.5
    orientation = (energy * near).sum(dim=1) / energy.sum(dim=1)
    frequency = torch.hypot(fy, fx)[strongest]
    return KernelStatistics(color, orientation, angles[strongest], frequency)


def telling_kernels(statistics: KernelStatistics) -> list[int]:
    """Return the clearest gray wave that runs down, the one to the side, and the two most colored.

    Examples
    --------
    >>> len(telling_kernels(kernel_statistics(torch.randn(16, 3, 7, 7))))
    4
    """
    clear = statistics.orientation * (1 - statistics.color)
    down = (statistics.angle - 90).abs() < 45
    waves = [(clear * down).argmax(), (clear * ~down).argmax()]
    return [int(i) for i in (*waves, *statistics.color.topk(2).indices)]


def kernel_responses(convolution: nn.Conv2d, X: Tensor) -> Tensor:
    """Slide the kernels over one picture with stride 1, so that the maps are as large as it is.

    Parameters
    ----------
    convolution : nn.Conv2d
        A first layer; its stride and bias are left out.
    X : Tensor
        A preprocessed picture, shape (3, H, W).

    Returns
    -------
    Tensor
        Shape (K, H, W) for kernels of odd size; zero where the picture does not match.

    Examples
    --------
    >>> kernel_responses(nn.Conv2d(3, 8, kernel_size=7, stride=2), torch.zeros(3, 32, 32)).shape
    torch.Size([8, 32, 32])
    """
    weight = convolution.weight.detach()
    edge = weight.shape[-1] // 2
    framed = F.pad(X[None].to(weight.device), (edge, edge, edge, edge), mode="replicate")
    return F.conv2d(framed, weight)[0].cpu()


def movement(before: nn.Module, after: nn.Module) -> dict[str, float]:
    """Return how far the filters of each convolution moved, as a share of their length.

    The length of a layer's filters is the root of the sum of their squares.

    Raises
    ------
    ValueError
        If a convolution of ``before`` is missing in ``after``, or has another shape there.

    Examples
    --------
    >>> import copy
    >>> before = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    >>> after = copy.deepcopy(before)
    >>> _ = after[2].weight.data.mul_(1.1)
    >>> {name: round(share, 3) for name, share in movement(before, after).items()}
    {'0': 0.0, '2': 0.1}
    """
    others = dict(after.named_modules())
    moved = {}
    for name, module in before.named_modules():
        if not isinstance(module, nn.Conv2d):
            continue
        other, old = others.get(name), module.weight.detach().cpu()
        if not isinstance(other, nn.Conv2d) or other.weight.shape != old.shape:
            raise ValueError(f"the second model has no convolution {name!r} of shape {old.shape}")
        moved[name] = float((other.weight.detach().cpu() - old).norm() / old.norm())
    return moved


def sample_photographs(size: int) -> Tensor:
    """Return scikit-learn's two photographs, a Chinese temple and a flower, as squares.

    Returns
    -------
    Tensor
        uint8, shape (2, 3, size, size).

    Examples
    --------
    >>> sample_photographs(64).shape
    torch.Size([2, 3, 64, 64])
    """
    pictures = torch.from_numpy(np.stack(load_sample_images().images))
    pixels = pictures.permute(0, 3, 1, 2).float()  # (2, 3, 427, 640)
    left = (pixels.shape[-1] - pixels.shape[-2]) // 2
    square = pixels[..., left : left + pixels.shape[-2]]
    small = F.interpolate(square, size=(size, size), mode="bilinear", antialias=True)
    return small.round().to(torch.uint8)


class Peaks(NamedTuple):
    """The strongest response of every channel to every picture; each field has shape (N, C)."""

    values: Tensor
    rows: Tensor
    columns: Tensor


def find_peaks(
    model: nn.Module, layers: Sequence[str], batches: Sequence[Tensor] | Tensor
) -> dict[str, Peaks]:
    """Find where each channel of some layers responds most to each picture.

    Parameters
    ----------
    model : nn.Module
        The network.
    layers : sequence of str
        Names of layers that give maps (B, C, H, W).
    batches : sequence of Tensor
        Preprocessed pictures, each of shape (B, 3, H, W).

    Returns
    -------
    dict
        Layer -> Peaks, whose rows and columns count positions in the layer's map.

    Examples
    --------
    >>> model = nn.Sequential(nn.Identity(), nn.Conv2d(3, 2, 1))
    >>> peaks = find_peaks(model, ["0"], [torch.eye(4).expand(5, 3, 4, 4)])["0"]
    >>> peaks.values.shape, int(peaks.rows[0, 0]), int(peaks.columns[0, 0])
    (torch.Size([5, 3]), 0, 0)
    """
    found: dict[str, list[Peaks]] = {name: [] for name in layers}
    for X in batches:
        for name, maps in activations(model, layers, X).items():
            values, places = maps.flatten(2).max(dim=2)  # (B, C)
            width = maps.shape[-1]
            found[name].append(Peaks(values, places // width, places % width))
    return {name: Peaks(*map(torch.cat, zip(*found[name], strict=True))) for name in layers}


def cut_patches(
    images: Tensor, boxes: Sequence[tuple[int, int, int, int]], size: int = 64
) -> Tensor:
    """Cut one box out of each picture and enlarge it, on white where it is not square.

    Parameters
    ----------
    images : Tensor
        uint8, shape (N, 3, H, W).
    boxes : sequence of (top, left, bottom, right)
        As `Field.at` of ``receptive_field`` gives them; bottom and right lie outside.
    size : int
        Side of the result in pixels.

    Returns
    -------
    Tensor
        uint8, shape (N, 3, size, size).

    Examples
    --------
    >>> patches = cut_patches(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), [(0, 4, 8, 20)])
    >>> patches.shape, patches[0, 0, :, 0].float().mean().item()  # twice as wide as high
    (torch.Size([1, 3, 64, 64]), 127.5)
    """
    patches = torch.full((len(boxes), 3, size, size), 255, dtype=torch.uint8)
    for patch, image, (top, left, bottom, right) in zip(patches, images, boxes, strict=True):
        if not (0 <= top < bottom <= image.shape[1] and 0 <= left < right <= image.shape[2]):
            raise ValueError(
                f"box ({top}, {left}, {bottom}, {right}) does not lie in a picture of "
                f"{image.shape[1]} × {image.shape[2]} pixels"
            )
        scale = size / max(bottom - top, right - left)
        height, width = (max(1, round(n * scale)) for n in (bottom - top, right - left))
        part = image[None, :, top:bottom, left:right].float()
        up, aside = (size - height) // 2, (size - width) // 2
        patch[:, up : up + height, aside : aside + width] = F.interpolate(part, (height, width))[0]
    return patches


def top_patches(images: Tensor, peaks: Peaks, field: Field, channel: int, count: int = 8) -> Tensor:
    """Cut out what a channel saw where it responded most, the strongest response first.

    Parameters
    ----------
    images : Tensor
        The pictures behind the peaks, uint8 (N, 3, H, W).
    peaks : Peaks
        Of the layer, from `find_peaks`.
    field : Field
        Of the same layer, from ``receptive_field`` for pictures of this size.
    channel : int
        Which one.
    count : int
        Number of pictures; one patch of each.

    Returns
    -------
    Tensor
        uint8, shape (count, 3, 64, 64).

    Examples
    --------
    >>> from cnnlab.fields import receptive_field
    >>> model = nn.Sequential(nn.Conv2d(3, 2, 3))
    >>> images = torch.zeros(5, 3, 16, 16, dtype=torch.uint8)
    >>> peaks = find_peaks(model, ["0"], [images.float()])["0"]
    >>> top_patches(images, peaks, receptive_field(model, (3, 16, 16))["0"], 1, count=4).shape
    torch.Size([4, 3, 64, 64])
    """
    values, rows, columns = (part[:, channel] for part in peaks)
    best = values.topk(count).indices
    boxes = [field.at(int(rows[i]), int(columns[i])) for i in best]
    return cut_patches(images[best], boxes)


@torch.no_grad()
def features_of(model: nn.Module, X: Tensor) -> Tensor:
    """Return what the head of the model receives, in eval mode.

    Parameters
    ----------
    model : nn.Module
        A network with a head, see ``find_head``.
    X : Tensor
        Preprocessed pictures, shape (B, 3, H, W).

    Returns
    -------
    Tensor
        Shape (B, D), on the CPU.

    Examples
    --------
    >>> from cnnlab import TinyResNet
    >>> features_of(TinyResNet(), torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 256])
    """
    received: list[Tensor] = []
    _, head = find_head(model)
    hook = head.register_forward_pre_hook(lambda _head, inputs: received.append(inputs[0].cpu()))
    was_training = model.training
    model.eval()
    try:
        for batch in X.split(32):
            model(batch.to(model_device(model)))
    finally:
        model.train(was_training)
        hook.remove()
    return torch.cat(received).flatten(1)


def neighbor_agreement(features: Tensor, labels: Tensor, count: int = 5) -> float:
    """Return the share of each picture's nearest neighbors that have its label.

    Parameters
    ----------
    features : Tensor
        Shape (N, D).
    labels : Tensor
        Shape (N,).
    count : int
        Neighbors of each picture, which does not count as its own.

    Examples
    --------
    >>> features, labels = torch.tensor([[0.0], [1.0], [9.0], [8.0]]), torch.tensor([0, 0, 1, 1])
    >>> neighbor_agreement(features, labels, count=1)
    1.0
    """
    apart = torch.cdist(features, features).fill_diagonal_(torch.inf)
    neighbors = apart.topk(count, largest=False).indices  # (N, count)
    return (labels[neighbors] == labels[:, None]).double().mean().item()


def coherence(features: Tensor, directions: Tensor, count: int = 9) -> Tensor:
    """Return how alike the pictures are that lie furthest along each direction.

    Source of the question: Szegedy et al. (2014), *ICLR*, section 3.

    Parameters
    ----------
    features : Tensor
        Shape (N, D).
    directions : Tensor
        Shape (D, K); the identity stands for the channels themselves.
    count : int
        Pictures to compare for each direction.

    Returns
    -------
    Tensor
        Mean cosine similarity of their centered features, shape (K,); about 0 for random pictures.

    Examples
    --------
    >>> coherence(torch.randn(50, 8), torch.eye(8)).shape
    torch.Size([8])
    """
    centered = features - features.mean(dim=0)
    unit = F.normalize(centered, dim=1)
    top = (centered @ directions).topk(count, dim=0).indices.T  # (K, count)
    alike = unit[top] @ unit[top].mT  # (K, count, count)
    return (alike.sum(dim=(1, 2)) - count) / (count * (count - 1))  # without self-similarity
