"""The blocks of lesson 02 against torchvision's own, and against what the papers claim."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.convnext import CNBlock
from torchvision.models.mobilenetv2 import InvertedResidual as TheirInvertedResidual
from torchvision.models.resnet import Bottleneck as TheirBottleneck
from torchvision.ops import SqueezeExcitation

from cnnlab import count_macs
from cnnlab.lessons import blocks


def with_the_same_numbers(ours: nn.Module, theirs: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Fill both with the same random numbers, in the order in which they hold them."""
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.copy_(mine.view_as(other))
    return ours.eval(), theirs.eval()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (blocks.Bottleneck(64, 16), TheirBottleneck(64, 16)),
        (
            blocks.Bottleneck(256, 128, groups=32),
            TheirBottleneck(256, 64, groups=32, base_width=4),
        ),
        (blocks.SqueezeExcite(64), SqueezeExcitation(64, 16)),
    ],
    ids=["ResNet", "ResNeXt", "squeeze and excite"],
)
def test_a_block_computes_what_torchvision_computes(ours: nn.Module, theirs: nn.Module) -> None:
    ours, theirs = with_the_same_numbers(ours, theirs)
    channels = next(p for p in ours.parameters() if p.ndim == 4).shape[1]
    x = torch.randn(2, channels, 9, 9)
    torch.testing.assert_close(ours(x), theirs(x))


def test_mobilenet_differs_only_in_the_ceiling_of_its_relu() -> None:
    ours, theirs = with_the_same_numbers(
        blocks.InvertedResidual(16), TheirInvertedResidual(16, 16, stride=1, expand_ratio=6)
    )
    x = torch.randn(2, 16, 9, 9) / 10  # small: torchvision's ReLU6 cuts at 6
    torch.testing.assert_close(ours(x), theirs(x))


def test_convnext_is_torchvisions_with_a_scale_of_one() -> None:
    theirs = CNBlock(16, layer_scale=1.0, stochastic_depth_prob=0.0)
    theirs.block[2].eps = 1e-5  # torchvision's LayerNorm divides by a little less
    ours = blocks.ConvNeXtBlock(16)
    own = [p for name, p in theirs.named_parameters() if name != "layer_scale"]
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), own, strict=True):
            other.copy_(mine)
    x = torch.randn(2, 16, 9, 9)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_1x1_convolutions_save_most_of_an_inception_block() -> None:
    with_1x1, without = blocks.Inception(64, 64), blocks.Inception(64, 64, squeeze=None)
    assert count_macs(with_1x1, (64, 28, 28)) < 0.4 * count_macs(without, (64, 28, 28))


def test_a_dense_block_keeps_everything_it_was_given() -> None:
    x = torch.rand(2, 16, 7, 7)
    out: Tensor = blocks.DenseBlock(16, 32)(x)
    assert torch.equal(out[:, :16], x) and out.shape[1] == 32


def test_patches_without_places_are_a_bag() -> None:
    encoder = blocks.PatchEncoder(32, patch=8).eval()
    x = torch.rand(1, 3, 32, 32)
    order = torch.randperm(16)
    columns = nn.functional.unfold(x, 8, stride=8)[:, :, order]
    shuffled = nn.functional.fold(columns, (32, 32), 8, stride=8)
    torch.testing.assert_close(encoder(shuffled), encoder(x)[:, order])
    places = torch.randn(1, 16, 32)
    assert not torch.allclose(encoder(shuffled, places), encoder(x, places)[:, order], atol=1e-2)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: blocks.Inception(16, 30), "30 channels cannot be shared among four"),
        (lambda: blocks.DenseBlock(16, 30), "4 layers cannot share 14 channels"),
    ],
)
def test_channels_that_do_not_divide_are_refused(build: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()  # type: ignore[operator]


def test_a_reduction_halves_the_sides() -> None:
    assert blocks.Reduction(8, 24)(torch.zeros(1, 8, 12, 12)).shape == (1, 32, 6, 6)
