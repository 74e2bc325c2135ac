"""The blocks in the cells of lesson 02 against torchvision's own, and against torch's layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from taught import taught
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.convnext import CNBlock, LayerNorm2d
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import Bottleneck
from torchvision.ops import SqueezeExcitation

TORCH = {"nn": nn, "F": F, "torch": torch, "LayerNorm2d": LayerNorm2d}


def block(name: str, *needs: str) -> Any:
    """Return a block of the lesson, with what its code refers to."""
    names = dict(TORCH)
    for need in needs:
        names[need] = taught("02", need, **names)
    return taught("02", name, **names)


def with_the_same_numbers(ours: nn.Module, theirs: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Fill both with the same random numbers, in the order in which they hold them."""
    own = [p for name, p in theirs.named_parameters() if name != "layer_scale"]
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), own, strict=True):
            other.copy_(mine.view_as(other))
    return ours.eval(), theirs.eval()


def convnext() -> nn.Module:
    theirs = CNBlock(16, layer_scale=1.0, stochastic_depth_prob=0.0)
    theirs.block[2].eps = 1e-5  # torchvision's LayerNorm divides by a little less
    return theirs


@pytest.mark.parametrize(
    ("ours", "theirs", "channels"),
    [
        (lambda: block("Bottleneck", "conv")(64, 16), lambda: Bottleneck(64, 16), 64),
        (
            lambda: block("Bottleneck", "conv")(256, 128, groups=32),
            lambda: Bottleneck(256, 64, groups=32, base_width=4),
            256,
        ),
        (lambda: block("SqueezeExcite")(64), lambda: SqueezeExcitation(64, 16), 64),
        (
            lambda: block("mobile_block", "conv", "SqueezeExcite", "Residual")(16),
            lambda: InvertedResidual(16, 16, stride=1, expand_ratio=6),  # its ReLU6 cuts at 6
            16,
        ),
        (lambda: block("convnext_block", "Residual")(16), convnext, 16),
    ],
    ids=["ResNet", "ResNeXt", "squeeze and excite", "MobileNet-v2", "ConvNeXt"],
)
def test_a_block_computes_what_torchvision_computes(ours: Any, theirs: Any, channels: int) -> None:
    first, second = with_the_same_numbers(ours(), theirs())
    x = torch.randn(2, channels, 9, 9) / 10
    torch.testing.assert_close(first(x), second(x))


def test_a_residual_block_adds_its_projection_and_a_plain_one_does_not() -> None:
    make = block("Block")
    x = torch.randn(2, 6, 8, 8)
    for stride in (1, 2):
        ours = make(6, 10, stride).eval()
        nn.init.zeros_(ours.conv2.weight)
        nn.init.zeros_(ours.conv2.bias)
        assert torch.equal(ours(x), F.relu(ours.projection(x)))
        assert ours(x).shape == (2, 10, 8 // stride, 8 // stride)
    plain = make(6, 6, residual=False, norm=False)
    torch.testing.assert_close(plain(x), F.relu(plain.conv2(F.relu(plain.conv1(x)))))


def test_batch_normalization_in_four_lines_is_torchs() -> None:
    x, scale, shift = torch.randn(5, 3, 4, 6) * 2 + 7, torch.randn(3), torch.randn(3)
    ours: Tensor = block("batch_norm")(x, scale[:, None, None], shift[:, None, None])
    torch.testing.assert_close(ours, F.batch_norm(x, None, None, scale, shift, training=True))


def test_blocks_keep_the_sides_and_give_the_channels_that_they_promise() -> None:
    x = torch.rand(2, 16, 12, 12)
    assert block("Inception", "conv")(16, 32)(x).shape == (2, 32, 12, 12)
    assert block("Reduction", "conv")(16, 24)(x).shape == (2, 40, 6, 6)
    dense = block("DenseBlock", "conv")(16, 32)(x)
    assert dense.shape == (2, 32, 12, 12) and torch.equal(dense[:, :16], x)
