"""The embedded backbone as it is shipped: how good it is, and whether its card says so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from cnnlab import load_backbone
from cnnlab.data import downloads
from cnnlab.data.folders import read_split
from cnnlab.pretraining.train import top_accuracy

CARD = downloads.packaged("weights", "tiny_resnet.md")


@pytest.fixture
def tiny_imagenet() -> Path:
    """The archive that the backbone was trained on, or a skip that says why it cannot be had."""
    path = Path(downloads.mirror() or "") / "tiny-imagenet-200-webp.zip"
    if not path.is_file():
        pytest.skip("tiny-imagenet-200-webp.zip is not in CNNLAB_MIRROR")
    return path


def test_top_1_of_the_shipped_file(tiny_imagenet):
    images = read_split(tiny_imagenet, "val", 64)
    backbone = load_backbone("tiny_resnet")
    assert backbone.categories == images.classes
    top = top_accuracy(backbone.model, images.inputs, images.labels)
    print(f"top-1 {top['top1']:.2%}, top-5 {top['top5']:.2%} of {len(images):,} pictures")
    assert top["top1"] >= 0.48
    said = re.search(r"Top-1 ([\d.]+)% and top-5 ([\d.]+)%", CARD.read_text(encoding="utf-8"))
    measured = [100 * top["top1"], 100 * top["top5"]]
    assert [float(number) for number in said.groups()] == pytest.approx(measured, abs=0.1)


def test_the_first_filters_are_smooth_and_oriented():
    """Structure, in numbers: neighboring weights agree, which random ones do not."""

    def roughness(kernels: torch.Tensor) -> torch.Tensor:
        steps = kernels.diff(dim=-1).square().mean((1, 2, 3)) / kernels.var((1, 2, 3))
        return steps  # 2 for independent weights, 0 for a constant

    kernels = load_backbone("tiny_resnet").model.conv1.weight.detach()  # (32, 3, 7, 7)
    noise = torch.randn(kernels.shape, generator=torch.Generator().manual_seed(0))
    assert roughness(kernels).median() < 0.5 * roughness(noise).median()
