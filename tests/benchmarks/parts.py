"""What several benchmarks need: images in three parts, and features computed in the plain way."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from cnnlab import ImageData
from cnnlab.data.splits import Split
from cnnlab.models.backbones import find_head

SHARE = 0.25  # of the pictures to learn from, for choosing the epoch


def with_validation(folder: Path, target: Path, seed: int, *, test: bool = True) -> Path:
    """Split val/ off train/, the same share of each class; the old val/ is test/ or left out."""
    learned, tested = (sorted(folder.glob(f"{part}/*/*.*")) for part in ("train", "val"))
    train, val = train_test_split(
        learned, test_size=SHARE, random_state=seed, stratify=[path.parent.name for path in learned]
    )
    parts = {"train": train, "val": val} | ({"test": tested} if test else {})
    for part, paths in parts.items():
        for path in paths:
            link = target / part / path.parent.name / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
    return target


def together(data: ImageData) -> ImageData:
    """Return the data with the validation images among those for training."""
    inputs = torch.cat([data.train.inputs, data.val.inputs])
    labels = torch.cat([data.train.labels, data.val.labels])
    return dataclasses.replace(data, train=Split(inputs, labels, classes=data.classes))


@torch.inference_mode()
def head_inputs(model: nn.Module, X: Tensor) -> Tensor:
    """Return what the head of the model receives for a batch, shape (B, D)."""
    received = []
    _, head = find_head(model)
    hook = head.register_forward_pre_hook(lambda head, inputs: received.append(inputs[0]))
    model.eval()(X)
    hook.remove()
    return received[0].flatten(1)
