"""Pretrained networks: torchvision's where they can be had, the embedded one everywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnnlab.data import storage
from cnnlab.data.transfers import HURRIED, PATIENT, Patience
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


_DAMAGED = (
    "the weights {path} cannot be used: {why}. Restore the file from the repository, "
    "or install cnnlab again."
)


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
        """Map uint8, or floats in [0, 1], of shape (B, 3, H, W) to mean 0 and deviation 1."""
        pixels = x.float() / 255 if x.dtype == torch.uint8 else x
        mean, std = torch.tensor([self.mean, self.std], device=x.device)[:, :, None, None]
        return (pixels - mean) / std


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
    convolutions = [(name, m) for name, m in layers if isinstance(m, nn.Conv2d)]
    pointwise = [(name, m) for name, m in convolutions if m.kernel_size == (1, 1)]
    heads = linear or pointwise  # SqueezeNet classifies with a convolution
    if not heads:
        raise ValueError(
            f"{type(model).__name__} has no linear layer and no 1×1 convolution that could be "
            "its head"
        )
    return heads[-1]


def load_backbone(name: str = "auto") -> Backbone:
    """Load a network that was trained on ImageNet, or on a small piece of it.

    Parameters
    ----------
    name : str
        "tiny_resnet" (embedded), any torchvision classification model such as "resnet18", or
        "auto": ResNet-18 if its weights are here or can be fetched, otherwise tiny_resnet.

    Raises
    ------
    ValueError
        If torchvision has no such model with weights.
    cnnlab.data.storage.DownloadError
        If the weights that were asked for cannot be had.

    Examples
    --------
    >>> backbone = load_backbone("tiny_resnet")
    Backbone: tiny_resnet...
    >>> backbone.num_features
    256
    """
    if name == "auto":
        try:
            backbone, how = _load_torchvision("resnet18", HURRIED), ""  # a class is waiting
        except storage.DownloadError:
            backbone = _load_tiny()
            how = " For ImageNet weights: `cnnlab fetch resnet18`."
    else:
        backbone, how = (_load_tiny() if name == TINY_RESNET else _load_torchvision(name)), ""
    print(f"Backbone: {backbone.source}.{how}")
    return backbone


def fetch_weights(name: str, patience: Patience = PATIENT) -> Path:
    """Make sure that the weights of a torchvision model are in the data folder."""
    weights = _weights_of(name)
    file = weights.url.rsplit("/", 1)[-1]  # such as resnet18-f37072fd.pth
    digest = file.rsplit("-", 1)[-1].split(".")[0]
    key, known_hash = f"weights/{file}", f"sha256:{digest}"
    return storage.download(key, [weights.url], known_hash, patience=patience)


def _weights_of(name: str) -> Any:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(
            f"torchvision has no model {name!r}; try 'tiny_resnet' or one of {', '.join(known)}"
        )
    return models.get_model_weights(name).DEFAULT


def _load_torchvision(name: str, patience: Patience = PATIENT) -> Backbone:
    from torchvision import models

    weights = _weights_of(name)
    path = fetch_weights(name, patience)
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
        num_features=_inputs_of(find_head(model)[1]),
        image_size=recipe.crop_size[0],
    )


def _load_tiny() -> Backbone:
    path = storage.packaged("weights", f"{TINY_RESNET}.safetensors")
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


def _inputs_of(head: nn.Linear | nn.Conv2d) -> int:
    return int(head.weight.shape[1])  # (outputs, inputs, …), linear or convolution


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
    from safetensors import SafetensorError, safe_open

    try:
        if (
            hashlib.sha256(path.read_bytes()).hexdigest()
            != _checksum_file(path).read_text().strip()
        ):
            raise WeightsError(_DAMAGED.format(path=path, why="its checksum is another"))
        with safe_open(path, framework="pt") as file:
            card = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise WeightsError(_DAMAGED.format(path=path, why=error)) from error
    floats = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
    return floats, card


def _checksum_file(path: Path) -> Path:
    return path.with_suffix(".sha256")
